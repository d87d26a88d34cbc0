/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of files; see the header. */
#include "image/list.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "image/hash.h"

OWN_CLEANUP(json_t, json_decref)
OWN_CLEANUP(FILE, fclose)
OWN_CLEANUP(DIR, closedir)

static void quoted(struct str_buf *b, const char *s)
{
    for (; *s; s++)
        if (*s == '%' || (unsigned char)*s <= ' ')
            str_buf_printf(b, "%%%02X", (unsigned char)*s);
        else
            str_buf_add(b, s, 1);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct names {
    char **v;
    size_t n;
};

static void names_done(struct names *n)
{
    for (size_t i = 0; i < n->n; i++)
        free(n->v[i]);
    free(n->v);
}
static inline void own_names_cleanup(struct names *n)
{
    names_done(n);
}

static int read_names(const char *path, struct names *out, struct err *err)
{
    AUTO_T(DIR) d = opendir(path);
    if (!d)
        return err_sys(err, "'%s'", path);
    for (struct dirent *e; (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        char **v = realloc(out->v, (out->n + 1) * sizeof *v);
        if (!v)
            return err_oom(err);
        out->v = v;
        if (!(v[out->n] = strdup(e->d_name)))
            return err_oom(err);
        out->n++;
    }
    if (out->n)
        qsort(out->v, out->n, sizeof *out->v, by_text);
    return 0;
}

static int one_line(FILE *to, const char *root, const char *inside,
                    const struct stat *st, struct err *err)
{
    AUTO_STR full = str_printf("%s%s", root, inside);
    AUTO_BUF b = {0};
    char hex[HASH_HEX_SIZE], link[4096];
    if (!full)
        return err_oom(err);
    char type = S_ISREG(st->st_mode)   ? 'f'
                : S_ISDIR(st->st_mode) ? 'd'
                : S_ISLNK(st->st_mode) ? 'l'
                                       : 'o';
    str_buf_printf(&b, "%c %04o %u %u %llu ", type, (unsigned)st->st_mode & 07777,
                   (unsigned)st->st_uid, (unsigned)st->st_gid,
                   type == 'f' ? (unsigned long long)st->st_size : 0);
    if (type == 'f') {
        if (hash_file(full, hex, NULL, err) < 0)
            return -1;
        str_buf_puts(&b, hex);
    } else if (type == 'l') {
        ssize_t n = readlink(full, link, sizeof link - 1);
        if (n < 0)
            return err_sys(err, "'%s'", full);
        link[n] = '\0';
        quoted(&b, link);
    } else {
        str_buf_puts(&b, "-");
    }
    str_buf_puts(&b, " ");
    quoted(&b, inside);
    if (b.failed)
        return err_oom(err);
    return fprintf(to, "%s\n", b.data) < 0 ? err_sys(err, "write the list") : 0;
}

static int walk(FILE *to, const char *root, const char *inside, dev_t dev, int depth,
                struct err *err)
{
    AUTO_STR path = str_printf("%s%s", root, inside);
    __attribute__((cleanup(own_names_cleanup))) struct names names = {0};
    if (!path)
        return err_oom(err);
    if (depth > 256)
        return err_set(err, E_INPUT, "'%s' is nested too deep", inside);
    if (read_names(path, &names, err) < 0)
        return -1;
    for (size_t i = 0; i < names.n; i++) {
        AUTO_STR sub = str_printf("%s/%s", inside, names.v[i]);
        AUTO_STR full = sub ? str_printf("%s%s", root, sub) : NULL;
        struct stat st;
        if (!full)
            return err_oom(err);
        if (lstat(full, &st) < 0)
            return err_sys(err, "'%s'", full);
        if (one_line(to, root, sub, &st, err) < 0 ||
            (S_ISDIR(st.st_mode) && st.st_dev == dev &&
             walk(to, root, sub, dev, depth + 1, err) < 0))
            return -1;
    }
    return 0;
}

int list_write(const char *root, const char *path, struct err *err)
{
    AUTO_T(FILE) to = fopen(path, "we");
    struct stat st;
    if (!to || stat(root, &st) < 0)
        return err_sys(err, "'%s'", to ? root : path);
    if (walk(to, root, "", st.st_dev, 0, err) < 0)
        return -1;
    return fflush(to) ? err_sys(err, "'%s'", path) : 0;
}

/* ---- differences ----------------------------------------------------------------- */

struct lines {
    char *text;
    char **v; /* begins of lines */
    size_t n;
};

static void lines_free(struct lines *l)
{
    if (l) {
        free(l->text);
        free(l->v);
    }
    free(l);
}
OWN_DEFINE(lines)

static const char *path_of(const char *line)
{
    const char *p = strrchr(line, ' ');
    return p ? p + 1 : line;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(path_of(*(char *const *)a), path_of(*(char *const *)b));
}

static int cut(const char *text, struct lines **out, struct err *err)
{
    AUTO(lines) l = calloc(1, sizeof *l);
    if (!l || !(l->text = strdup(text)))
        return err_oom(err);
    size_t count = 0;
    for (const char *p = text; *p; p++)
        count += *p == '\n';
    if (!(l->v = calloc(count + 2, sizeof *l->v)))
        return err_oom(err);
    char *rest = l->text;
    for (char *line; (line = strsep(&rest, "\n"));)
        if (*line)
            l->v[l->n++] = line;
    qsort(l->v, l->n, sizeof *l->v, by_path);
    *out = move(l);
    return 0;
}

static int add_row(json_t *rows, const char *change, const char *line, struct err *err)
{
    return json_array_append_new(rows, json_pack("{s:s, s:s}", "change", change, "path",
                                                 path_of(line))) < 0
               ? err_oom(err)
               : 0;
}

int list_diff(const char *a, const char *b, json_t **out, struct err *err)
{
    AUTO(lines) x = NULL;
    AUTO(lines) y = NULL;
    AUTO_T(json_t) rows = json_array();
    if (!rows)
        return err_oom(err);
    if (cut(a, &x, err) < 0 || cut(b, &y, err) < 0)
        return -1;
    size_t i = 0, j = 0;
    while (i < x->n || j < y->n) {
        int c = i == x->n ? 1 : j == y->n ? -1 : by_path(&x->v[i], &y->v[j]);
        int r = 0;
        if (c < 0)
            r = add_row(rows, "removed", x->v[i++], err);
        else if (c > 0)
            r = add_row(rows, "added", y->v[j++], err);
        else {
            if (strcmp(x->v[i], y->v[j]))
                r = add_row(rows, "changed", x->v[i], err);
            i++, j++;
        }
        if (r < 0)
            return -1;
    }
    *out = move(rows);
    return 0;
}

/* "name version" of each package, as lines whose last word is the name. */
static char *package_lines(const json_t *m)
{
    AUTO_BUF b = {0};
    const json_t *list = json_object_get(json_object_get(m, "content"), "packages");
    size_t i;
    json_t *p;
    json_array_foreach (list, i, p) {
        str_buf_printf(&b, "%s %s\n", json_string_value(json_object_get(p, "version")),
                       json_string_value(json_object_get(p, "name")));
    }
    return str_buf_take(&b);
}

static const char *version_in(const json_t *m, const char *name)
{
    const json_t *list = json_object_get(json_object_get(m, "content"), "packages");
    size_t i;
    json_t *p;
    json_array_foreach (list, i, p) {
        if (!strcmp(json_string_value(json_object_get(p, "name")), name))
            return json_string_value(json_object_get(p, "version"));
    }
    return "";
}

int list_diff_packages(const json_t *a, const json_t *b, json_t **out, struct err *err)
{
    AUTO_STR x = package_lines(a);
    AUTO_STR y = package_lines(b);
    AUTO_T(json_t) rows = NULL;
    if (!x || !y)
        return err_oom(err);
    if (list_diff(x, y, &rows, err) < 0)
        return -1;
    size_t i;
    json_t *row;
    json_array_foreach (rows, i, row) {
        AUTO_STR name = strdup(json_string_value(json_object_get(row, "path")));
        if (!name)
            return err_oom(err);
        json_object_del(row, "path");
        json_object_set_new(row, "package", json_string(name));
        json_object_set_new(row, "old", json_string(version_in(a, name)));
        json_object_set_new(row, "new", json_string(version_in(b, name)));
    }
    *out = move(rows);
    return 0;
}
