/* SPDX-License-Identifier: Apache-2.0 */
/* The list of packages and the lock that pins it; see pkg.h. Pure but for nothing. */
#include "image/pkg.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

static void pkg_clear(struct pkg *p)
{
    free(p->name);
    free(p->version);
    free(p->arch);
    free(p->uri);
    free(p->sha256);
}

void pkgs_free(struct pkgs *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->count; i++)
        pkg_clear(&p->item[i]);
    free(p->item);
    pkg_clear(&p->kernel);
    free(p);
}

static void format_one(struct str_buf *b, const char *lead, const struct pkg *p)
{
    str_buf_printf(b, "%s%s %s %s %s %llu %s\n", lead, p->name, p->version, p->arch,
                   p->sha256, (unsigned long long)p->size, p->uri);
}

char *pkgs_format(const struct pkgs *p)
{
    AUTO_BUF b = {0};
    str_buf_puts(&b, "# lodge lock 1: name version architecture sha256 bytes uri\n");
    for (size_t i = 0; i < p->count; i++)
        format_one(&b, "", &p->item[i]);
    if (p->kernel.name)
        format_one(&b, "kernel ", &p->kernel);
    return str_buf_take(&b);
}

static bool plain(const char *s, const char *more)
{
    if (!isalnum((unsigned char)*s))
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr(more, *s))
            return false;
    return true;
}

static bool is_sha256(const char *s)
{
    return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

static bool is_uri(const char *s)
{
    for (const char *p = s; *p; p++)
        if (!isgraph((unsigned char)*p))
            return false;
    return str_starts(s, "http://") || str_starts(s, "https://") ||
           str_starts(s, "file:/") || str_starts(s, "copy:/");
}

/* One line, cut up in place. */
static bool parse_line(char *line, struct pkg *p)
{
    char *field[6];
    for (size_t i = 0; i < ARRAY_SIZE(field); i++)
        if (!(field[i] = strsep(&line, " ")) || !*field[i])
            return false;
    if (line || !plain(field[0], "+-.") || !plain(field[1], "+-.:~") ||
        !plain(field[2], "-") || !is_sha256(field[3]) ||
        !str_to_u64(field[4], &p->size) || !is_uri(field[5]))
        return false;
    p->name = strdup(field[0]);
    p->version = strdup(field[1]);
    p->arch = strdup(field[2]);
    p->sha256 = strdup(field[3]);
    p->uri = strdup(field[5]);
    return p->name && p->version && p->arch && p->sha256 && p->uri;
}

int pkgs_parse(const char *text, const char *path, struct pkgs **out, struct err *err)
{
    AUTO(pkgs) all = calloc(1, sizeof *all);
    AUTO_STR copy = strdup(text);
    if (!all || !copy)
        return err_oom(err);
    char *rest = copy;
    int number = 0;
    for (char *line; (line = strsep(&rest, "\n"));) {
        number++;
        if (!*line || *line == '#')
            continue;
        bool kernel = str_starts(line, "kernel ");
        struct pkg p = {0};
        if (!parse_line(kernel ? line + 7 : line, &p) || (kernel && all->kernel.name)) {
            pkg_clear(&p);
            return err_set(
                err, E_INPUT,
                "%s:%d: not a line of a lock; '--update-lock' writes it anew", path,
                number);
        }
        if (kernel) {
            all->kernel = p;
            continue;
        }
        struct pkg *item = realloc(all->item, (all->count + 1) * sizeof *item);
        if (!item) {
            pkg_clear(&p);
            return err_oom(err);
        }
        all->item = item;
        item[all->count++] = p;
    }
    *out = move(all);
    return 0;
}

char *pkg_path(const struct pkg *p, const char *cache)
{
    return str_printf("%s/debs/%s.deb", cache, p->sha256);
}
