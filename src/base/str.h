/* SPDX-License-Identifier: Apache-2.0 */
/* Strings: a growing buffer, number and size parsing, quoting, nearest word. */
#pragma once
#include "base/own.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A growing buffer. After a failed allocation it is marked and takes nothing more;
 * check once at the end with str_buf_take(), which gives NULL then. {0} is valid. */
struct str_buf {
    char *data; /* always ends in NUL once anything was added */
    size_t len, size;
    bool failed;
};
void str_buf_add(struct str_buf *b, const void *data, size_t len);
void str_buf_puts(struct str_buf *b, const char *s);
void str_buf_printf(struct str_buf *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void str_buf_vprintf(struct str_buf *b, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));
/* For a buffer used as a queue: *at bytes at its front are consumed. Gives their room back
 * when that is cheap, and sets *at to 0 then. */
void str_buf_compact(struct str_buf *b, size_t *at);
/* The string, owned by the caller ("" when nothing was added); NULL without memory. */
char *str_buf_take(struct str_buf *b);
void str_buf_done(struct str_buf *b);
static inline void own_str_buf_cleanup(struct str_buf *b)
{
    str_buf_done(b);
}
#define AUTO_BUF __attribute__((cleanup(own_str_buf_cleanup))) struct str_buf

/* As asprintf, but gives the string or NULL. */
char *str_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
static inline bool str_empty(const char *s)
{
    return !s || !*s;
}

/* Whole string, decimal, no sign or blanks for unsigned; false on anything else. */
bool str_to_u64(const char *s, uint64_t *out);
bool str_to_i64(const char *s, int64_t *out);

/* "512", "4K", "2M", "1G", "3 GiB", "2MiB", "1T": bytes, powers of 1024; a bare number
 * counts in `unit` bytes, and is refused if unit is 0. Refuses overflow. */
bool str_to_bytes(const char *s, uint64_t unit, uint64_t *out);
/* "1.5G", "512M", "4K": at most one decimal; into buf, which is returned. */
const char *str_from_bytes(uint64_t bytes, char *buf, size_t size);
/* "90", "90s", "15m", "2h", "1d", "250ms": milliseconds; a bare number is seconds. */
bool str_to_ms(const char *s, uint64_t *out);

/* Of text that stays one line, whoever wrote it: control characters as "\n", "\t", "\x1b",
 * line feeds at its end away. What then does not fit into size is cut off. */
void str_one_line(char *text, size_t size);

/* The word of the list (ends in NULL) nearest to `word`, or NULL if none is near. */
const char *str_nearest(const char *word, const char *const *list);

/* May `s` name a VM, profile, node...: [A-Za-z0-9][A-Za-z0-9._-]{0,62}. */
bool str_is_name(const char *s);
