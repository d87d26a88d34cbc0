/* SPDX-License-Identifier: Apache-2.0 */
/* Hostlists; see the header. Pure. */
#include "base/hostlist.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

enum { MAX_NAMES = 65536, MAX_WIDTH = 9 };

void hostlist_free(struct hostlist *h)
{
    if (!h)
        return;
    for (size_t i = 0; i < h->count; i++)
        free(h->names[i]);
    free(h->names);
    free(h);
}

/* Takes name. */
static int push(struct hostlist *h, char *name, struct err *err)
{
    AUTO_STR own = name;
    if (!own)
        return err_oom(err);
    if (h->count >= MAX_NAMES)
        return err_set(err, E_INPUT, "hostlist names more than %d hosts", MAX_NAMES);
    char **names = realloc(h->names, (h->count + 2) * sizeof *names);
    if (!names)
        return err_oom(err);
    h->names = names;
    names[h->count++] = move(own);
    names[h->count] = NULL;
    return 0;
}

/* A run of digits at *p: its value and width; *p moves behind it. */
static bool number(const char **p, unsigned long *value, int *width)
{
    const char *start = *p;
    *value = 0;
    while (isdigit((unsigned char)**p) && *p - start < MAX_WIDTH)
        *value = *value * 10 + (*(*p)++ - '0');
    *width = *p - start;
    return *width > 0 && !isdigit((unsigned char)**p);
}

static int expand(struct hostlist *h, const char *head, const char *rest,
                  struct err *err);

/* One "lo-hi" or "n" inside brackets: for each number go on with what follows ']'. */
static int expand_range(struct hostlist *h, const char *head, const char **p,
                        const char *after, struct err *err)
{
    unsigned long lo, hi;
    int width, other;
    if (!number(p, &lo, &width))
        return err_set(err, E_INPUT, "hostlist: a number is missing at '%s'", *p);
    hi = lo;
    if (**p == '-') {
        ++*p;
        if (!number(p, &hi, &other))
            return err_set(err, E_INPUT, "hostlist: a number is missing at '%s'", *p);
    }
    if (hi < lo || hi - lo >= MAX_NAMES)
        return err_set(err, E_INPUT, "hostlist: the range %lu-%lu is empty or too long",
                       lo, hi);
    for (unsigned long n = lo; n <= hi; n++) {
        AUTO_STR next = str_printf("%s%0*lu", head, width, n);
        if (!next)
            return err_oom(err);
        if (expand(h, next, after, err) < 0)
            return -1;
    }
    return 0;
}

/* head is final; rest may still hold brackets. */
static int expand(struct hostlist *h, const char *head, const char *rest,
                  struct err *err)
{
    const char *open = strchr(rest, '[');
    if (!open && strchr(rest, ']'))
        return err_set(err, E_INPUT, "hostlist: unexpected ']' in '%s'", rest);
    if (!open)
        return push(h, str_printf("%s%s", head, rest), err);
    const char *close = strchr(open, ']');
    if (!close)
        return err_set(err, E_INPUT, "hostlist: ']' is missing in '%s'", rest);
    AUTO_STR front = str_printf("%s%.*s", head, (int)(open - rest), rest);
    if (!front)
        return err_oom(err);
    const char *p = open + 1;
    for (;;) {
        if (expand_range(h, front, &p, close + 1, err) < 0)
            return -1;
        if (p == close)
            return 0;
        if (*p++ != ',')
            return err_set(err, E_INPUT, "hostlist: unexpected '%s'", p - 1);
    }
}

static bool is_word(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && !strchr("[],-._", s[i]))
            return false;
    return n > 0;
}

int hostlist_parse(const char *text, struct hostlist **out, struct err *err)
{
    AUTO(hostlist) h = calloc(1, sizeof *h);
    if (!h || !(h->names = calloc(1, sizeof *h->names)))
        return err_oom(err);
    for (const char *p = text; *p;) {
        int depth = 0;
        size_t n = 0;
        for (; p[n] && (depth || p[n] != ','); n++)
            depth += p[n] == '[' ? 1 : p[n] == ']' ? -1 : 0;
        if (!is_word(p, n))
            return err_set(err, E_INPUT, "hostlist '%s' is not of the form n[01-16,20]",
                           text);
        AUTO_STR word = strndup(p, n);
        if (!word)
            return err_oom(err);
        if (expand(h, "", word, err) < 0)
            return -1;
        p += n + (p[n] == ',');
    }
    if (!h->count)
        return err_set(err, E_INPUT, "hostlist is empty");
    *out = move(h);
    return 0;
}

/* A name taken apart: prefix length, then a number of `width` digits up to the end;
 * width 0 if it has none that can be counted. */
struct split {
    size_t prefix;
    int width;
    unsigned long value;
};

static struct split split_name(const char *name)
{
    size_t n = strlen(name), start = n;
    while (start > 0 && isdigit((unsigned char)name[start - 1]) &&
           n - start < MAX_WIDTH)
        start--;
    struct split s = {.prefix = start, .width = (int)(n - start)};
    if (s.width)
        s.value = strtoul(name + start, NULL, 10);
    return s;
}

static bool same_group(const char *a, struct split x, const char *b, struct split y)
{
    return x.width && y.width && x.prefix == y.prefix && !strncmp(a, b, x.prefix);
}

/* All names with the prefix of names[first], from there on, as "p[1-3,7]". */
static void format_group(struct str_buf *b, const char *const *names,
                         const struct split *s, bool *done, size_t count, size_t first)
{
    size_t members = 0;
    for (size_t i = first; i < count; i++)
        members += !done[i] && same_group(names[first], s[first], names[i], s[i]);
    done[first] = true;
    if (members <= 1) {
        str_buf_puts(b, names[first]);
        return;
    }
    str_buf_printf(b, "%.*s[", (int)s[first].prefix, names[first]);
    struct split lo = s[first], hi = lo;
    const char *sep = "";
    for (size_t i = first + 1; i <= count; i++) {
        bool end = i == count;
        if (!end && (done[i] || !same_group(names[first], s[first], names[i], s[i])))
            continue;
        if (!end && s[i].width == hi.width && s[i].value == hi.value + 1) {
            hi = s[i];
        } else {
            str_buf_printf(b, "%s%0*lu", sep, lo.width, lo.value);
            if (hi.value != lo.value)
                str_buf_printf(b, "-%0*lu", hi.width, hi.value);
            sep = ",";
            if (!end)
                lo = hi = s[i];
        }
        if (!end)
            done[i] = true;
    }
    str_buf_puts(b, "]");
}

char *hostlist_format(const char *const *names, size_t count)
{
    AUTO_BUF b = {0};
    struct split *s = calloc(count + 1, sizeof *s);
    bool *done = calloc(count + 1, sizeof *done);
    if (s && done) {
        for (size_t i = 0; i < count; i++)
            s[i] = split_name(names[i]);
        for (size_t i = 0; i < count; i++) {
            if (done[i])
                continue;
            if (b.len)
                str_buf_puts(&b, ",");
            format_group(&b, names, s, done, count, i);
        }
    } else {
        b.failed = true;
    }
    free(s);
    free(done);
    return str_buf_take(&b);
}
