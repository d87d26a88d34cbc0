/* SPDX-License-Identifier: Apache-2.0 */
/* Text, words and attributes out of the document; see the header. */
#include "image/def_read.h"

#include <ctype.h>
#include <limits.h>
#include <string.h>

#include "base/str.h"

enum { LIST_MAX = 4096 };

int read_bad(struct reader *r, const xmlNode *at, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_vset(r->err, E_INPUT, fmt, ap);
    va_end(ap);
    return err_at(r->err, "%s:%ld", r->def->path, xmlGetLineNo((xmlNode *)at));
}

static char *attr(xmlNode *node, const char *name)
{
    return (char *)xmlGetNoNsProp(node, (const xmlChar *)name);
}

/* The text of an element without the blanks around it; the caller's. */
char *read_text_of(xmlNode *node)
{
    char *all = (char *)xmlNodeGetContent(node);
    if (!all)
        return NULL;
    char *begin = all;
    while (isspace((unsigned char)*begin))
        begin++;
    char *end = begin + strlen(begin);
    while (end > begin && isspace((unsigned char)end[-1]))
        end--;
    char *own = strndup(begin, end - begin);
    xmlFree(all);
    return own;
}

int read_split(struct reader *r, const char *text, struct words *w)
{
    while (*text) {
        size_t n = strcspn(text, " \t\r\n");
        if (n) {
            if (w->count >= LIST_MAX)
                return err_set(r->err, E_INPUT, "%s: more than %d words in a list",
                               r->def->path, LIST_MAX);
            char **item = realloc(w->item, (w->count + 2) * sizeof *item);
            if (!item)
                return err_oom(r->err);
            w->item = item;
            if (!(item[w->count] = strndup(text, n)))
                return err_oom(r->err);
            item[++w->count] = NULL;
        }
        text += n + (text[n] != '\0');
    }
    return 0;
}

int read_words(struct reader *r, xmlNode *node, struct words *w)
{
    AUTO_STR text = read_text_of(node);
    return text ? read_split(r, text, w) : err_oom(r->err);
}

int read_text(struct reader *r, xmlNode *node, char **to)
{
    if (!(*to = read_text_of(node)))
        return err_oom(r->err);
    return **to ? 0 : read_bad(r, node, "<%s> is empty", node->name);
}

/* One of a fixed set; `allowed` ends in NULL. */
int read_one_of(struct reader *r, xmlNode *node, const char *value,
                const char *const *allowed)
{
    AUTO_BUF list = {0};
    for (const char *const *a = allowed; *a; a++) {
        if (!strcmp(value, *a))
            return 0;
        str_buf_printf(&list, "%s%s", a == allowed ? "" : ", ", *a);
    }
    return read_bad(r, node, "<%s>: '%s' is none of: %s", node->name, value,
                    list.data ? list.data : "");
}

/* An optional attribute as a new string; 0 also when it is not there. */
int read_attr(struct reader *r, xmlNode *node, const char *name, char **to)
{
    char *v = attr(node, name);
    if (!v)
        return 0;
    free(*to);
    *to = strdup(v);
    xmlFree(v);
    return *to ? 0 : err_oom(r->err);
}

/* A path inside the root: absolute, without "." and ".." parts. */
bool read_is_inside(const char *p)
{
    if (p[0] != '/' || !p[1] || strlen(p) >= PATH_MAX)
        return false;
    for (const char *s = p; (s = strchr(s, '/')); s++)
        if (s[1] == '/' || !s[1] ||
            (s[1] == '.' &&
             (s[2] == '/' || !s[2] || (s[2] == '.' && (s[3] == '/' || !s[3])))))
            return false;
    return true;
}

/* Package, module and unit names become arguments and file names. */
bool read_is_word(const char *s)
{
    if (!isalnum((unsigned char)*s))
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("+-._:@=~", *s))
            return false;
    return true;
}

int read_names(struct reader *r, xmlNode *node, struct words *w)
{
    if (read_words(r, node, w) < 0)
        return -1;
    for (size_t i = 0; i < w->count; i++)
        if (!read_is_word(w->item[i]))
            return read_bad(r, node, "<%s>: '%s' is not a name", node->name,
                            w->item[i]);
    return 0;
}
