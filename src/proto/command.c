/* SPDX-License-Identifier: Apache-2.0 */
/* Commands as JSON; see the header. */
#include "proto/command.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/base64.h"
#include "base/fd.h"
#include "base/str.h"
#include "proto/rpc.h"

static const struct {
    const char *name;
    int which;
} limits[] = {
    {"cpu", RLIMIT_CPU},           {"fsize", RLIMIT_FSIZE},
    {"data", RLIMIT_DATA},         {"stack", RLIMIT_STACK},
    {"core", RLIMIT_CORE},         {"rss", RLIMIT_RSS},
    {"nproc", RLIMIT_NPROC},       {"nofile", RLIMIT_NOFILE},
    {"memlock", RLIMIT_MEMLOCK},   {"as", RLIMIT_AS},
    {"locks", RLIMIT_LOCKS},       {"sigpending", RLIMIT_SIGPENDING},
    {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE},
    {"rtprio", RLIMIT_RTPRIO},     {"rttime", RLIMIT_RTTIME},
};

struct command *command_new(void)
{
    struct command *c = calloc(1, sizeof *c);
    if (c) {
        c->umask = -1;
        c->linger_ms = COMMAND_LINGER_MS;
    }
    return c;
}

static void words_free(char **words)
{
    for (char **w = words; w && *w; w++)
        free(*w);
    free(words);
}

/* In the place of *words, which keeps what it had if there is no memory. */
static int words_copy(char *const *from, char ***words, struct err *err)
{
    size_t n = 0;
    while (from[n])
        n++;
    char **own = calloc(n + 1, sizeof *own);
    for (size_t i = 0; own && i < n; i++)
        if (!(own[i] = strdup(from[i]))) {
            words_free(own);
            own = NULL;
        }
    if (!own)
        return err_oom(err);
    words_free(*words);
    *words = own;
    return 0;
}

int command_set_argv(struct command *c, char *const *argv, struct err *err)
{
    return words_copy(argv, &c->argv, err);
}

void command_free(struct command *c)
{
    if (!c)
        return;
    words_free(c->argv);
    words_free(c->env);
    free(c->path);
    free(c->script);
    free(c->cwd);
    free(c->groups);
    free(c);
}

int command_draw_token(struct command *c, struct err *err)
{
    unsigned char raw[COMMAND_TOKEN / 2];
    if (getrandom(raw, sizeof raw, 0) != sizeof raw)
        return err_sys(err, "random numbers");
    for (size_t i = 0; i < sizeof raw; i++)
        snprintf(c->token + 2 * i, 3, "%02x", raw[i]);
    return 0;
}

int command_load_script(struct command *c, const char *path, struct err *err)
{
    enum { MAX = 700 << 10 }; /* as base64 within a message */
    char *text;
    size_t len;
    if (fd_read_file(path, MAX, &text, &len, err) < 0)
        return err_at(err, "script");
    free(c->script);
    c->script = text;
    c->script_len = len;
    return 0;
}

int command_from_self(struct command *c, struct err *err)
{
    if (words_copy(environ, &c->env, err) < 0)
        return -1;
    free(c->cwd);
    c->cwd = getcwd(NULL, 0); /* a directory that was removed has no name: none then */
    c->umask = umask(022);
    umask(c->umask);
    for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
        c->has_limit[limits[i].which] =
            getrlimit(limits[i].which, &c->limit[limits[i].which]) == 0;
    int ngroups = getgroups(0, NULL);
    free(c->groups);
    c->groups = calloc(ngroups > 0 ? ngroups : 1, sizeof *c->groups);
    if (!c->groups)
        return err_oom(err);
    if (ngroups > 0 && (ngroups = getgroups(ngroups, c->groups)) < 0)
        return err_sys(err, "groups");
    c->ngroups = ngroups;
    c->has_ids = true;
    c->uid = geteuid();
    c->gid = getegid();
    return 0;
}

json_t *command_text_encode(const char *s)
{
    json_t *text = json_string(s);
    if (text)
        return text;
    AUTO_STR raw = base64_encode(s, strlen(s));
    return raw ? json_pack("{s:s}", "base64", raw) : NULL;
}

int command_text_decode(const json_t *from, const char *what, char **out,
                        struct err *err)
{
    const char *plain = json_string_value(from);
    const char *coded = json_string_value(json_object_get(from, "base64"));
    size_t len = 0;
    AUTO_STR got = plain ? strdup(plain) : coded ? base64_decode(coded, &len) : NULL;
    if (!got && plain)
        return err_oom(err);
    if (!got || (coded && memchr(got, '\0', len)))
        return err_set(err, E_PROTO, "%s: not a string, nor base64 without zero bytes",
                       what);
    *out = move(got);
    return 0;
}

static json_t *words_encode(char **words)
{
    AUTO_JSON list = json_array();
    for (char **w = words; list && *w; w++)
        if (json_array_append_new(list, command_text_encode(*w)) < 0)
            return NULL;
    return move(list);
}

static int words_decode(const json_t *from, const char *what, char ***out,
                        struct err *err)
{
    size_t n = json_array_size(from);
    if (!json_is_array(from) || n > COMMAND_WORDS_MAX)
        return err_set(err, E_PROTO, "%s: not a list of at most %d strings", what,
                       COMMAND_WORDS_MAX);
    char **words = calloc(n + 1, sizeof *words);
    if (!words)
        return err_oom(err);
    for (size_t i = 0; i < n; i++)
        if (command_text_decode(json_array_get(from, i), what, &words[i], err) < 0) {
            words_free(words);
            return -1;
        }
    *out = words;
    return 0;
}

static json_int_t limit_number(rlim_t v)
{
    return v == RLIM_INFINITY || v > INT64_MAX ? -1 : (json_int_t)v;
}

static json_t *limits_encode(const struct command *c)
{
    AUTO_JSON all = json_object();
    for (size_t i = 0; all && i < ARRAY_SIZE(limits); i++) {
        int w = limits[i].which;
        if (c->has_limit[w] &&
            json_object_set_new(all, limits[i].name,
                                json_pack("[I,I]", limit_number(c->limit[w].rlim_cur),
                                          limit_number(c->limit[w].rlim_max))) < 0)
            return NULL;
    }
    return move(all);
}

static int limits_decode(const json_t *from, struct command *c, struct err *err)
{
    const char *name;
    json_t *pair;
    json_object_foreach ((json_t *)from, name, pair) {
        size_t i = 0;
        while (i < ARRAY_SIZE(limits) && strcmp(limits[i].name, name))
            i++;
        json_int_t soft, hard;
        if (i == ARRAY_SIZE(limits) || json_unpack(pair, "[I,I!]", &soft, &hard) < 0 ||
            soft < -1 || hard < -1)
            return err_set(err, E_PROTO, "rlimits: '%s' is wrong", name);
        c->has_limit[limits[i].which] = true;
        c->limit[limits[i].which] =
            (struct rlimit){soft < 0 ? RLIM_INFINITY : (rlim_t)soft,
                            hard < 0 ? RLIM_INFINITY : (rlim_t)hard};
    }
    return 0;
}

/* Set a member; false without memory. Steals value. */
static bool put(json_t *to, const char *name, json_t *value)
{
    return value && json_object_set_new(to, name, value) == 0;
}

static bool ids_encode(const struct command *c, json_t *to)
{
    AUTO_JSON groups = json_array();
    for (size_t i = 0; groups && i < c->ngroups; i++)
        if (json_array_append_new(groups, json_integer(c->groups[i])) < 0)
            return false;
    return groups && put(to, "uid", json_integer(c->uid)) &&
           put(to, "gid", json_integer(c->gid)) && put(to, "groups", move(groups));
}

static json_t *script_encode(const struct command *c)
{
    AUTO_STR text = base64_encode(c->script, c->script_len);
    return text ? json_string(text) : NULL;
}

json_t *command_encode(const struct command *c)
{
    AUTO_JSON to = json_object();
    bool ok = to && (!c->argv || put(to, "argv", words_encode(c->argv))) &&
              (!c->env || put(to, "env", words_encode(c->env))) &&
              (!c->path || put(to, "path", command_text_encode(c->path))) &&
              (!c->script || put(to, "script", script_encode(c))) &&
              (!c->cwd || put(to, "cwd", command_text_encode(c->cwd))) &&
              (!c->has_ids || ids_encode(c, to)) &&
              (c->umask < 0 || put(to, "umask", json_integer(c->umask))) &&
              put(to, "rlimits", limits_encode(c)) &&
              (!c->pty || put(to, "pty",
                              json_pack("{s:i, s:i}", "rows", (int)c->rows, "cols",
                                        (int)c->cols))) &&
              (!c->die || put(to, "die", json_true())) &&
              (!*c->token || (put(to, "token", json_string(c->token)) &&
                              put(to, "linger_ms", json_integer(c->linger_ms))));
    return ok ? move(to) : NULL;
}

static int ids_decode(const json_t *from, struct command *c, struct err *err)
{
    json_t *uid = json_object_get(from, "uid"), *gid = json_object_get(from, "gid");
    json_t *groups = json_object_get(from, "groups"), *g;
    size_t i, n = json_array_size(groups);
    if (!uid && !gid && !groups)
        return 0;
    /* The highest number is "no change" to setresuid(): never let it in. */
    if (!json_is_integer(uid) || !json_is_integer(gid) ||
        (uint64_t)json_integer_value(uid) >= UINT32_MAX ||
        (uint64_t)json_integer_value(gid) >= UINT32_MAX || n > COMMAND_GROUPS_MAX ||
        (groups && !json_is_array(groups)))
        return err_set(err, E_PROTO, "uid, gid or groups is wrong");
    c->has_ids = true;
    c->uid = json_integer_value(uid);
    c->gid = json_integer_value(gid);
    if (!(c->groups = calloc(n + 1, sizeof *c->groups)))
        return err_oom(err);
    json_array_foreach (groups, i, g) {
        if (!json_is_integer(g) || (uint64_t)json_integer_value(g) >= UINT32_MAX)
            return err_set(err, E_PROTO, "groups: not a list of numbers");
        c->groups[c->ngroups++] = json_integer_value(g);
    }
    return 0;
}

static int token_decode(const char *token, struct command *c, struct err *err)
{
    size_t n = 0;
    while (token[n] && isxdigit((unsigned char)token[n]))
        n++;
    if (token[n] || n != COMMAND_TOKEN)
        return err_set(err, E_PROTO, "token: not %d hexadecimal digits", COMMAND_TOKEN);
    memcpy(c->token, token, n);
    return 0;
}

int command_decode(const json_t *from, struct command **out, struct err *err)
{
    AUTO(command) c = command_new();
    json_t *argv = NULL, *env = NULL, *path = NULL, *cwd = NULL, *lim = NULL,
           *pty = NULL;
    const char *token = NULL, *script = NULL;
    int die = 0;
    if (!c)
        return err_oom(err);
    if (rpc_unpack((json_t *)from, err, "command",
                   "{s?o, s?o, s?o, s?o, s?o, s?o, s?b, s?s, s?i, s?i, s?s}", "argv",
                   &argv, "env", &env, "path", &path, "cwd", &cwd, "rlimits", &lim,
                   "pty", &pty, "die", &die, "token", &token, "linger_ms",
                   &c->linger_ms, "umask", &c->umask, "script", &script) < 0)
        return -1;
    if ((argv && words_decode(argv, "argv", &c->argv, err) < 0) ||
        (env && words_decode(env, "env", &c->env, err) < 0) ||
        (path && command_text_decode(path, "path", &c->path, err) < 0) ||
        (cwd && command_text_decode(cwd, "cwd", &c->cwd, err) < 0) ||
        ids_decode(from, c, err) < 0 || (lim && limits_decode(lim, c, err) < 0) ||
        (token && *token && token_decode(token, c, err) < 0))
        return -1;
    if (script && !(c->script = base64_decode(script, &c->script_len)))
        return err_set(err, E_PROTO, "script: not base64");
    if (argv && !c->argv[0])
        return err_set(err, E_PROTO, "argv: no command");
    if (c->umask < -1 || c->umask > 0777)
        return err_set(err, E_PROTO, "umask: %d is none", c->umask);
    if (c->linger_ms < 0 || c->linger_ms > COMMAND_LINGER_MAX_MS)
        return err_set(err, E_PROTO, "linger_ms: more than %d", COMMAND_LINGER_MAX_MS);
    int rows = 0, cols = 0;
    if (pty && (json_unpack(pty, "{s?i, s?i}", "rows", &rows, "cols", &cols) < 0 ||
                rows < 0 || cols < 0 || rows > 65535 || cols > 65535))
        return err_set(err, E_PROTO, "pty: rows or cols is wrong");
    c->pty = pty != NULL;
    c->rows = rows;
    c->cols = cols;
    c->die = die;
    *out = move(c);
    return 0;
}
