/* SPDX-License-Identifier: Apache-2.0 */
/* The list of what is wrong with a document; bounded, since documents are hostile. */
#include "profile/problems.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static void add(struct profile_problems *p, unsigned line, const char *where,
                bool warning, const char *fmt, va_list ap)
    __attribute__((format(printf, 5, 0)));
__attribute__((format(printf, 5, 0))) static void add(struct profile_problems *p,
                                                      unsigned line, const char *where,
                                                      bool warning, const char *fmt,
                                                      va_list ap)
{
    p->errors += !warning;
    if (p->count >= PROFILE_PROBLEMS_MAX) {
        p->full = true;
        return;
    }
    struct profile_problem *at = realloc(p->at, (p->count + 1) * sizeof *at);
    if (at)
        p->at = at;
    struct profile_problem got = {.line = line, .warning = warning};
    if (!at || (where && !(got.where = strdup(where))) ||
        vasprintf(&got.text, fmt, ap) < 0) {
        free(got.where);
        p->full = true;
        return;
    }
    p->at[p->count++] = got;
}

void profile_problem(struct profile_problems *p, unsigned line, const char *where,
                     const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add(p, line, where, false, fmt, ap);
    va_end(ap);
}

void profile_warning(struct profile_problems *p, unsigned line, const char *where,
                     const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add(p, line, where, true, fmt, ap);
    va_end(ap);
}

/* Stable: what was found first on a line stays first. */
void profile_problems_sort(struct profile_problems *p)
{
    for (size_t i = 1; i < p->count; i++) {
        struct profile_problem x = p->at[i];
        size_t k = i;
        for (; k && p->at[k - 1].line - 1u > x.line - 1u; k--)
            p->at[k] = p->at[k - 1];
        p->at[k] = x;
    }
}

static void put(struct str_buf *b, const struct profile_problem *x, const char *file)
{
    str_buf_puts(b, file);
    if (x->line)
        str_buf_printf(b, ":%u", x->line);
    str_buf_puts(b, x->warning ? ": warning: " : ": ");
    if (x->where)
        str_buf_printf(b, "%s: ", x->where);
    str_buf_puts(b, x->text);
}

char *profile_problems_text(const struct profile_problems *p, const char *file)
{
    AUTO_BUF b = {0};
    for (size_t i = 0; i < p->count; i++) {
        put(&b, &p->at[i], file);
        str_buf_puts(&b, "\n");
    }
    if (p->full)
        str_buf_printf(&b, "%s: and more\n", file);
    return str_buf_take(&b);
}

int profile_problems_err(const struct profile_problems *p, const char *file,
                         struct err *err)
{
    if (!p->errors)
        return 0;
    AUTO_BUF b = {0};
    for (size_t i = 0; i < p->count; i++) {
        if (p->at[i].warning)
            continue;
        put(&b, &p->at[i], file);
        break;
    }
    if (p->errors > 1)
        str_buf_printf(&b, " (and %zu more)", p->errors - 1);
    return err_set(err, E_INPUT, "%s", b.data ? b.data : "is wrong");
}

void profile_problems_done(struct profile_problems *p)
{
    for (size_t i = 0; i < p->count; i++) {
        free(p->at[i].where);
        free(p->at[i].text);
    }
    free(p->at);
    *p = (struct profile_problems){0};
}
