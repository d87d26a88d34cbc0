/* SPDX-License-Identifier: Apache-2.0 */
/* Order of modules from modules.dep; see the header. */
#include "image/modules.h"

#include <string.h>

#include "base/str.h"

struct order {
    const char *dep, *builtin;
    struct words *out;
    struct err *err;
};

/* Does the file name of path[0..len) mean this module? '-' and '_' are the same. */
static bool is_module(const char *path, size_t len, const char *name)
{
    size_t at = len;
    while (at > 0 && path[at - 1] != '/')
        at--;
    const char *p = path + at, *end = path + len;
    for (; p < end && *name; p++, name++) {
        char a = *p == '-' ? '_' : *p, b = *name == '-' ? '_' : *name;
        if (a != b)
            return false;
    }
    return !*name && end - p >= 3 && !strncmp(p, ".ko", 3);
}

/* The line of modules.dep (or .builtin) whose path matches; NULL if none. */
static const char *line_of(const char *text, const char *path, size_t len,
                           const char *name)
{
    for (const char *line = text; *line;) {
        size_t n = strcspn(line, ":\n");
        if (name ? is_module(line, n, name)
                 : path && n == len && !strncmp(line, path, len))
            return line;
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    return NULL;
}

static int add(struct order *o, const char *path, size_t len)
{
    for (size_t i = 0; i < o->out->count; i++)
        if (strlen(o->out->item[i]) == len && !strncmp(o->out->item[i], path, len))
            return 0;
    char **item = realloc(o->out->item, (o->out->count + 2) * sizeof *item);
    if (!item)
        return err_oom(o->err);
    o->out->item = item;
    if (!(item[o->out->count] = strndup(path, len)))
        return err_oom(o->err);
    item[++o->out->count] = NULL;
    return 0;
}

/* modules.dep lists all that is needed, the farthest last; depth guards a bad file. */
static int add_line(struct order *o, const char *line, int depth)
{
    size_t self = strcspn(line, ":\n");
    size_t end = strcspn(line, "\n");
    if (depth > 64)
        return err_set(o->err, E_INPUT, "modules.dep goes in circles");
    size_t at = end;
    while (at > self + 1) {
        size_t to = at;
        while (to > self + 1 && line[to - 1] == ' ')
            to--;
        at = to;
        while (at > self + 1 && line[at - 1] != ' ')
            at--;
        if (to == at)
            break;
        const char *need = line_of(o->dep, line + at, to - at, NULL);
        if (need && add_line(o, need, depth + 1) < 0)
            return -1;
        if (add(o, line + at, to - at) < 0)
            return -1;
    }
    return add(o, line, self);
}

int modules_order(const char *dep, const char *builtin, const struct words *names,
                  struct words *out, struct err *err)
{
    struct words got = {0};
    struct order o = {.dep = dep, .builtin = builtin, .out = &got, .err = err};
    for (size_t i = 0; i < names->count; i++) {
        const char *line = line_of(dep, NULL, 0, names->item[i]);
        int r = 0;
        if (line)
            r = add_line(&o, line, 0);
        else if (!line_of(builtin, NULL, 0, names->item[i]))
            r = err_set(err, E_INPUT, "the kernel has no module '%s'", names->item[i]);
        if (r < 0) {
            modules_free(&got);
            return -1;
        }
    }
    *out = got;
    return 0;
}

void modules_free(struct words *paths)
{
    for (size_t i = 0; i < paths->count; i++)
        free(paths->item[i]);
    free(paths->item);
    *paths = (struct words){0};
}
