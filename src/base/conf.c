/* SPDX-License-Identifier: Apache-2.0 */
/* The site's configuration; see the header. */
#include "base/conf.h"

#include <ctype.h>
#include <string.h>

#include "base/dirs.h"
#include "base/fd.h"
#include "base/str.h"

enum { FILE_MAX = 1 << 20 };

static const struct {
    const char *name;
    enum conf_kind kind;
    const char *value, *help;
} keys[] = {
#define X(key, name, kind, value, help) [key] = {name, kind, value, help},
    CONF_KEYS(X)
#undef X
};

struct conf {
    char *values[CONF_COUNT]; /* NULL: the default */
};

void conf_free(struct conf *c)
{
    if (!c)
        return;
    for (int i = 0; i < CONF_COUNT; i++)
        free(c->values[i]);
    free(c);
}

const char *const conf_wants[] = {
    [CONF_TEXT] = "text",
    [CONF_YES_NO] = "'yes' or 'no'",
    [CONF_MS] = "a time like 30s, 15m, 2h or 7d",
    [CONF_BYTES] = "a size like 512M, 40G or 1T",
};

/* The value as a number, 1 for yes; text is 0. */
static bool number(enum conf_key key, const char *text, uint64_t *out)
{
    switch (keys[key].kind) {
    case CONF_YES_NO:
        *out = !strcmp(text, "yes");
        return *out || !strcmp(text, "no");
    case CONF_MS:
        return str_to_ms(text, out);
    case CONF_BYTES:
        return str_to_bytes(text, 0, out);
    default:
        *out = 0;
        return true;
    }
}

static int find(const char *name, struct err *err)
{
    const char *names[CONF_COUNT + 1] = {NULL};
    for (int i = 0; i < CONF_COUNT; i++) {
        if (!strcmp(keys[i].name, name))
            return i;
        names[i] = keys[i].name;
    }
    const char *near = str_nearest(name, names);
    return err_set(err, E_CONFIG, "unknown key '%s'%s%s%s", name,
                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static char *trim(char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    size_t n = strlen(s);
    while (n && isspace((unsigned char)s[n - 1]))
        s[--n] = '\0';
    return s;
}

static int parse_line(struct conf *c, char *line, struct err *err)
{
    char *name = trim(line), *equals = strchr(name, '=');
    if (!*name || *name == '#')
        return 0;
    if (!equals)
        return err_set(err, E_CONFIG, "'%s' is not of the form 'key = value'", name);
    *equals = '\0';
    char *value = trim(equals + 1);
    int key = find(trim(name), err);
    uint64_t ignored;
    if (key < 0)
        return -1;
    if (c->values[key])
        return err_set(err, E_CONFIG, "'%s' is given twice", keys[key].name);
    if (!number(key, value, &ignored))
        return err_set(err, E_CONFIG, "%s: '%s' is not %s", keys[key].name, value,
                       conf_wants[keys[key].kind]);
    return (c->values[key] = strdup(value)) ? 0 : err_oom(err);
}

static int parse(struct conf *c, const char *path, char *text, struct err *err)
{
    char *next = text;
    for (unsigned n = 1; next; n++) {
        char *line = next, *end = strchr(line, '\n');
        next = end ? end + 1 : NULL;
        if (end)
            *end = '\0';
        if (parse_line(c, line, err) < 0)
            return err_at(err, "%s:%u", path, n);
    }
    return 0;
}

int conf_load(const char *path, struct conf **out, struct err *err)
{
    AUTO(conf) c = calloc(1, sizeof *c);
    AUTO_STR usual = path ? NULL : dirs_path(DIRS_CONFIG, "lodge.conf");
    AUTO_STR text = NULL;
    struct err why = {0};
    if (!c || (!path && !usual))
        return err_oom(err);
    const char *from = path ? path : usual;
    size_t len;
    if (fd_read_file(from, FILE_MAX, &text, &len, &why) < 0) {
        if (path || why.code != E_NOENT)
            return err_set(err, E_CONFIG, "%s", why.text);
    } else if (strlen(text) != len) {
        return err_set(err, E_CONFIG, "%s: not a text file", from);
    } else if (parse(c, from, text, err) < 0) {
        return -1;
    }
    *out = move(c);
    return 0;
}

const char *conf_text(const struct conf *c, enum conf_key key)
{
    return c && c->values[key] ? c->values[key] : keys[key].value;
}

uint64_t conf_number(const struct conf *c, enum conf_key key)
{
    uint64_t n = 0;
    number(key, conf_text(c, key), &n);
    return n;
}

bool conf_yes(const struct conf *c, enum conf_key key)
{
    return conf_number(c, key) != 0;
}

int conf_outside_jobs(const struct conf *c, struct err *err)
{
    if (conf_yes(c, CONF_OUTSIDE_JOBS))
        return 0;
    return err_set(err, E_PERM,
                   "this site starts machines for jobs only; submit one with "
                   "--vm-profile (outside_jobs in lodge.conf)");
}

bool conf_is_default(const struct conf *c, enum conf_key key)
{
    return !c || !c->values[key] || !strcmp(c->values[key], keys[key].value);
}

const char *conf_name(enum conf_key key)
{
    return keys[key].name;
}

void conf_write_template(FILE *to)
{
    fprintf(to,
            "# Lodge's site configuration: lodge.conf(5). A line left out, or behind\n"
            "# '#', is at its default, which is what is shown.\n");
    for (int i = 0; i < CONF_COUNT; i++)
        fprintf(to, "\n# %s\n#%s = %s\n", keys[i].help, keys[i].name, keys[i].value);
}
