/* SPDX-License-Identifier: Apache-2.0 */
/* lodge vm checkpoint, lodge vm restore: asked of the agent, which writes and reads the
 * directory with our rights. */
#include "cli/ckpt.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/dirs.h"
#include "base/fd.h"
#include "base/str.h"
#include "cli/vm.h"

enum {
    KEY_TO = 0x2300,
    KEY_STOP,
    KEY_CONTINUE,
    KEY_NODE,
    KEY_NAME,
    KEY_NO_WAIT,
    KEY_TRACK,
    KEY_PARENT,
    KEY_COMPRESS,
    KEY_MODE
};

const struct argp_option ckpt_make_options[] = {
    {"to", KEY_TO, "DIR", 0,
     "the checkpoint's directory, a new one; else one named by machine and time where "
     "'lodge ckpt list' looks"},
    {"stop", KEY_STOP, 0, 0, "end the machine when the checkpoint is whole"},
    {"continue", KEY_CONTINUE, 0, 0, "let the machine go on (the default)"},
    {"track", KEY_TRACK, 0, 0,
     "remember what is written from now on, so that the next one can be --parent's "
     "child"},
    {"parent", KEY_PARENT, "CKPT", 0,
     "keep of the memory only what was written since CKPT, which must stay beside it; "
     "type hpc"},
    {"compress", KEY_COMPRESS, 0, 0, "the memory by zstd; type hpc"},
    {"node", KEY_NODE, "NODE", 0, "of this node of the cluster; needs --to"},
    {0},
};
const struct argp_option ckpt_restore_options[] = {
    {"name", KEY_NAME, "NAME", 0,
     "as another machine, with a name, addresses and keys of its own"},
    {"mode", KEY_MODE, "MODE", 0,
     "how the memory comes back: read (whole, the default), map (the file is mapped "
     "and "
     "shared until it is written), uffd (page by page, as it is touched); type hpc"},
    {"node", KEY_NODE, "NODE", 0, "on this node of the cluster"},
    {"no-wait", KEY_NO_WAIT, 0, 0, "do not wait until it is ready"},
    {0},
};

error_t ckpt_make_parse(int key, char *arg, struct argp_state *state)
{
    struct ckpt_make *m = state->input;
    switch (key) {
    case KEY_TO:
        m->to = arg;
        return 0;
    case KEY_STOP:
        m->stop = true;
        return 0;
    case KEY_CONTINUE:
        m->go_on = true;
        return 0;
    case KEY_NODE:
        m->node = arg;
        return 0;
    case KEY_TRACK:
        m->track = true;
        return 0;
    case KEY_PARENT:
        m->parent = arg;
        return 0;
    case KEY_COMPRESS:
        m->compress = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

error_t ckpt_restore_parse(int key, char *arg, struct argp_state *state)
{
    struct ckpt_restore *r = state->input;
    switch (key) {
    case KEY_NAME:
        r->name = arg;
        return 0;
    case KEY_NODE:
        r->node = arg;
        return 0;
    case KEY_MODE:
        r->mode = arg;
        return 0;
    case KEY_NO_WAIT:
        r->no_wait = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* --- where ---------------------------------------------------------------------------- */

char *ckpt_home(void)
{
    return dirs_path(DIRS_STATE, "checkpoints");
}

char *ckpt_path(const char *word)
{
    char *kept =
        strchr(word, '/') ? NULL : dirs_path(DIRS_STATE, "checkpoints/%s", word);
    if (kept && (access(kept, F_OK) == 0 || access(word, F_OK) < 0))
        return kept;
    free(kept);
    return strdup(word);
}

/* As the agent wants it; what does not exist yet stands in a directory that does. */
static char *absolute(const char *path)
{
    char cwd[PATH_MAX];
    if (*path == '/')
        return strdup(path);
    return getcwd(cwd, sizeof cwd) ? str_printf("%s/%s", cwd, path) : NULL;
}

static char *new_path(const char *vm, struct err *err)
{
    AUTO_STR home = ckpt_home();
    char when[32];
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(when, sizeof when, "%Y%m%dT%H%M%SZ", &tm);
    if (!home || fd_mkdirs(home, 0700, err) < 0)
        return NULL;
    for (unsigned i = 1; i < 1000; i++) {
        char *path = i == 1 ? str_printf("%s/%s-%s", home, vm, when)
                            : str_printf("%s/%s-%s.%u", home, vm, when, i);
        if (!path || access(path, F_OK) < 0)
            return path;
        free(path);
    }
    return NULL;
}

/* The parent's name, if it lies beside the new one: a child knows it by that alone. */
static char *parent_of(const char *word, const char *path, struct err *err)
{
    AUTO_STR kept = ckpt_path(word);
    AUTO_STR full = kept ? absolute(kept) : NULL;
    const char *name = full ? strrchr(full, '/') + 1 : NULL;
    AUTO_STR beside =
        full ? str_printf("%.*s%s", (int)(strrchr(path, '/') + 1 - path), path, name)
             : NULL;
    struct stat a, b;
    if (!beside) {
        err_oom(err);
        return NULL;
    }
    if (strcmp(full, beside) && (stat(full, &a) < 0 || stat(beside, &b) < 0 ||
                                 a.st_dev != b.st_dev || a.st_ino != b.st_ino)) {
        err_set(err, E_USAGE,
                "--parent: '%s' does not lie beside '%s', where a child looks for it; "
                "choose --to accordingly",
                full, path);
        return NULL;
    }
    return strdup(name);
}

/* --- checkpoint --------------------------------------------------------------------------- */

static const struct cli_column made_columns[] = {
    {"vm", CLI_TEXT, .help = "the machine"},
    {"path", CLI_TEXT, .help = "the checkpoint's directory"},
    {"stored_bytes", CLI_BYTES, .help = "what it takes"},
    {"downtime_ms", CLI_MS, .help = "how long the machine stood still"},
    {"took_ms", CLI_MS, .help = "until all was written"},
    {"id", CLI_TEXT, .help = "names it for ever"},
    {0},
};

/* One line that is written over, on a terminal only. */
static void on_progress(const char *event, json_t *data, void *arg)
{
    const char *phase = NULL;
    json_int_t done = 0, total = 0;
    char a[32], b[32];
    if (event || !isatty(STDERR_FILENO) ||
        json_unpack(data, "{s:s, s?I, s?I}", "phase", &phase, "done", &done, "total",
                    &total) < 0)
        return;
    fprintf(stderr, "\r\033[K%s %s of %s", phase, str_from_bytes(done, a, sizeof a),
            str_from_bytes(total, b, sizeof b));
    fflush(stderr);
}

static void progress_end(void)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K");
}

static json_int_t number(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

int ckpt_run_make(struct cli *cli, int nargs, char **args, struct err *err)
{
    const struct ckpt_make *m = cli->verb->input;
    AUTO(rpc_client) agent = NULL;
    AUTO_JSON got = NULL;
    const struct rpc_client_opts opts = {.note = cli->json ? NULL : on_progress};
    if (m->stop && m->go_on)
        return err_set(err, E_USAGE, "--stop and --continue exclude each other");
    if (m->stop && m->track)
        return err_set(err, E_USAGE, "--stop and --track exclude each other");
    if (m->node && !m->to)
        return err_set(err, E_USAGE, "--node needs --to: a directory of that node");
    if (strchr(args[0], '/'))
        return err_set(err, E_NOENT, "no VM '%s' here", args[0]);
    AUTO_STR path = m->to ? absolute(m->to) : new_path(args[0], err);
    if (!path)
        return err && err->code ? -1 : err_oom(err);
    AUTO_STR parent = m->parent ? parent_of(m->parent, path, err) : NULL;
    if (m->parent && !parent)
        return err && err->code ? -1 : err_oom(err);
    if (cli->dry_run) {
        cli_say(cli, "would: checkpoint '%s' to '%s'", args[0], path);
        return 0;
    }
    if (vm_agent(m->node, &agent, err) < 0)
        return -1;
    int r = rpc_client_call(agent, "vm.checkpoint",
                            json_pack("{s:s, s:s, s:b, s:b, s:s*, s:b}", "vm", args[0],
                                      "to", path, "stop", m->stop, "track",
                                      m->track || (parent && !m->stop), "parent",
                                      parent, "compress", m->compress),
                            &opts, &got, err);
    progress_end();
    if (r < 0)
        return -1;
    char size[32];
    json_int_t down = number(got, "downtime_us"), took = number(got, "took_us");
    json_object_set_new(got, "vm", json_string(args[0]));
    json_object_set_new(got, "downtime_ms", json_integer((down + 999) / 1000));
    json_object_set_new(got, "took_ms", json_integer((took + 999) / 1000));
    if (cli->json || cli->parsable)
        return cli_show(cli, made_columns, got, err);
    cli_say(cli, "vm '%s' %s: '%s', %s, stood still for %.1f ms, %.1f s in all",
            args[0], m->stop ? "checkpointed and stopped" : "checkpointed", path,
            str_from_bytes(number(got, "stored_bytes"), size, sizeof size), down / 1e3,
            took / 1e6);
    return 0;
}

/* --- restore ------------------------------------------------------------------------------- */

int ckpt_run_restore(struct cli *cli, int nargs, char **args, struct err *err)
{
    const struct ckpt_restore *o = cli->verb->input;
    AUTO(rpc_client) agent = NULL;
    AUTO_JSON vm = NULL;
    AUTO_STR word = ckpt_path(args[0]);
    AUTO_STR path = word ? absolute(word) : NULL;
    if (!path)
        return err_oom(err);
    if (cli->dry_run) {
        cli_say(cli, "would: restore '%s'", path);
        return 0;
    }
    if (vm_agent(o->node, &agent, err) < 0 ||
        rpc_client_call(agent, "vm.restore",
                        json_pack("{s:s, s:s*, s:s*, s:b}", "checkpoint", path, "name",
                                  o->name, "mode", o->mode, "wait", !o->no_wait),
                        NULL, &vm, err) < 0)
        return -1;
    cli_say(cli, "vm '%s' %s (%s)", json_string_value(json_object_get(vm, "name")),
            o->no_wait ? "is being restored" : "restored",
            json_string_value(json_object_get(vm, "type")));
    return 0;
}
