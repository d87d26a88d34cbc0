/* SPDX-License-Identifier: Apache-2.0 */
/* Order of modules from depmod's lists; see the header. */
#include "image/modules.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

enum { NAME_MAX_LEN = 64 };

struct order {
    const struct modules *m;
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

/* "softdep" and "alias" name modules by words, in which '-' and '_' are the same. */
static bool same_word(const char *word, size_t len, const char *name)
{
    for (; len && *name; len--, word++, name++)
        if ((*word == '-' ? '_' : *word) != (*name == '-' ? '_' : *name))
            return false;
    return !len && !*name;
}

/* The module that a word of "softdep" means, by its own name or as an alias: its line of
 * modules.dep; NULL if it is built in, or there is none. */
static const char *meant(const struct order *o, const char *word)
{
    static const char generic[] = "_generic";
    const char *line = line_of(o->m->dep, NULL, 0, word), *found = NULL;
    if (line || line_of(o->m->builtin, NULL, 0, word))
        return line;
    for (line = o->m->alias; *line;
         line += strcspn(line, "\n"), line += *line == '\n') {
        char name[NAME_MAX_LEN], of[NAME_MAX_LEN];
        if (sscanf(line, "alias %63s %63s", name, of) != 2 ||
            !same_word(name, strlen(name), word))
            continue;
        if (line_of(o->m->builtin, NULL, 0, of))
            return NULL;
        if (!found || str_ends(of, generic))
            found = line_of(o->m->dep, NULL, 0, of);
    }
    return found;
}

static int add_line(struct order *o, const char *line, int depth);

/* What the module at path wants to have loaded before it. */
static int add_soft(struct order *o, const char *path, size_t len, int depth)
{
    const char *line = o->m->softdep, *next;
    for (; *line; line = next) {
        char of[NAME_MAX_LEN], word[NAME_MAX_LEN];
        int at = 0, n;
        next = line + strcspn(line, "\n");
        next += *next == '\n';
        if (sscanf(line, "softdep %63s pre:%n", of, &at) != 1 || !at ||
            !is_module(path, len, of))
            continue;
        for (const char *p = line + at;
             p < next && sscanf(p, "%63s%n", word, &n) == 1 && p + n <= next &&
             strcmp(word, "post:") != 0;
             p += n) {
            const char *need = meant(o, word);
            if (need && add_line(o, need, depth + 1) < 0)
                return -1;
        }
    }
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
        const char *need = line_of(o->m->dep, line + at, to - at, NULL);
        if (need && add_line(o, need, depth + 1) < 0)
            return -1;
        if (add(o, line + at, to - at) < 0)
            return -1;
    }
    if (add_soft(o, line, self, depth) < 0)
        return -1;
    return add(o, line, self);
}

int modules_order(const struct modules *m, const struct words *names, struct words *out,
                  struct err *err)
{
    struct words got = {0};
    struct order o = {.m = m, .out = &got, .err = err};
    for (size_t i = 0; i < names->count; i++) {
        const char *line = line_of(m->dep, NULL, 0, names->item[i]);
        int r = 0;
        if (line)
            r = add_line(&o, line, 0);
        else if (!line_of(m->builtin, NULL, 0, names->item[i]))
            r = err_set(err, E_NOENT, "the kernel has no module '%s'", names->item[i]);
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
