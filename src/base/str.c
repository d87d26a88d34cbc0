/* SPDX-License-Identifier: Apache-2.0 */
/* String helpers; see the header. Pure functions, no locale. */
#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool reserve(struct str_buf *b, size_t more)
{
    if (b->failed || more > SIZE_MAX / 2 - b->len)
        return false;
    size_t need = b->len + more + 1;
    if (need <= b->size)
        return true;
    size_t size = b->size ? b->size : 64;
    while (size < need)
        size *= 2;
    char *data = realloc(b->data, size);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->size = size;
    return true;
}

void str_buf_add(struct str_buf *b, const void *data, size_t len)
{
    if (!reserve(b, len))
        return;
    if (len)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void str_buf_puts(struct str_buf *b, const char *s)
{
    str_buf_add(b, s, strlen(s));
}

void str_buf_vprintf(struct str_buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    if (n >= 0 && reserve(b, n)) {
        vsnprintf(b->data + b->len, b->size - b->len, fmt, again);
        b->len += n;
    }
    va_end(again);
}

void str_buf_printf(struct str_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    str_buf_vprintf(b, fmt, ap);
    va_end(ap);
}

void str_buf_compact(struct str_buf *b, size_t *at)
{
    enum { KEEP = 65536 };
    if (*at < b->len && *at < KEEP)
        return;
    b->len -= *at;
    if (b->len)
        memmove(b->data, b->data + *at, b->len);
    else if (b->size > KEEP)
        str_buf_done(b);
    *at = 0;
}

char *str_buf_take(struct str_buf *b)
{
    if (!b->data && !b->failed)
        str_buf_add(b, "", 0);
    char *s = b->failed ? NULL : move(b->data);
    str_buf_done(b);
    return s;
}

void str_buf_done(struct str_buf *b)
{
    free(b->data);
    *b = (struct str_buf){0};
}

char *str_printf(const char *fmt, ...)
{
    struct str_buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    str_buf_vprintf(&b, fmt, ap);
    va_end(ap);
    return str_buf_take(&b);
}

bool str_starts(const char *s, const char *prefix)
{
    return !strncmp(s, prefix, strlen(prefix));
}

bool str_ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && !strcmp(s + n - m, suffix);
}

bool str_to_u64(const char *s, uint64_t *out)
{
    if (!isdigit((unsigned char)*s))
        return false;
    char *end;
    errno = 0;
    unsigned long long v = strtoull(s, &end, 10);
    if (errno || *end)
        return false;
    *out = v;
    return true;
}

bool str_to_i64(const char *s, int64_t *out)
{
    if (!isdigit((unsigned char)(*s == '-' ? s[1] : *s)))
        return false;
    char *end;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (errno || *end)
        return false;
    *out = v;
    return true;
}

/* Splits "12 GiB" into 12 and "GiB"; false if there is no number in front. */
static bool number_and_unit(const char *s, uint64_t *number, const char **unit)
{
    if (!isdigit((unsigned char)*s))
        return false;
    char *end;
    errno = 0;
    *number = strtoull(s, &end, 10);
    if (errno)
        return false;
    while (*end == ' ')
        end++;
    *unit = end;
    return true;
}

struct unit {
    const char *name;
    uint64_t factor;
};

static bool scale(uint64_t number, const char *unit, const struct unit *units,
                  uint64_t *out)
{
    for (; units->name; units++)
        if (!strcasecmp(unit, units->name))
            return !__builtin_mul_overflow(number, units->factor, out);
    return false;
}

bool str_to_bytes(const char *s, uint64_t unit, uint64_t *out)
{
    static const struct unit units[] = {
        {"B", 1},
        {"K", 1ull << 10},
        {"KB", 1ull << 10},
        {"KiB", 1ull << 10},
        {"M", 1ull << 20},
        {"MB", 1ull << 20},
        {"MiB", 1ull << 20},
        {"G", 1ull << 30},
        {"GB", 1ull << 30},
        {"GiB", 1ull << 30},
        {"T", 1ull << 40},
        {"TB", 1ull << 40},
        {"TiB", 1ull << 40},
        {NULL, 0},
    };
    uint64_t number;
    const char *name;
    if (!number_and_unit(s, &number, &name))
        return false;
    if (!*name)
        return unit && !__builtin_mul_overflow(number, unit, out);
    return scale(number, name, units, out);
}

bool str_to_ms(const char *s, uint64_t *out)
{
    static const struct unit units[] = {
        {"", 1000},     {"ms", 1},      {"s", 1000},     {"m", 60000},
        {"min", 60000}, {"h", 3600000}, {"d", 86400000}, {NULL, 0},
    };
    uint64_t number;
    const char *name;
    return number_and_unit(s, &number, &name) && scale(number, name, units, out);
}

const char *str_from_bytes(uint64_t bytes, char *buf, size_t size)
{
    static const char units[] = "BKMGTPE";
    int u = 0;
    double v = bytes;
    while (v >= 1024 && u < 6) {
        v /= 1024;
        u++;
    }
    bool whole = v == (uint64_t)v || v >= 100;
    snprintf(buf, size, whole ? "%.0f%c" : "%.1f%c", v, units[u]);
    return buf;
}

/* Levenshtein distance with swaps of neighbours (optimal string alignment), case
 * folded; words longer than 63 bytes are never near. */
static size_t distance(const char *a, const char *b)
{
    enum { MAX = 64 };
    size_t n = strlen(a), m = strlen(b), row[3][MAX];
    if (n >= MAX || m >= MAX)
        return SIZE_MAX;
    size_t *before = row[0], *last = row[1], *now = row[2];
    for (size_t j = 0; j <= m; j++)
        last[j] = j;
    for (size_t i = 1; i <= n; i++) {
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            int x = tolower((unsigned char)a[i - 1]),
                y = tolower((unsigned char)b[j - 1]);
            size_t best = last[j - 1] + (x != y);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
                y == tolower((unsigned char)a[i - 2]) && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
        size_t *free_row = before;
        before = last;
        last = now;
        now = free_row;
    }
    return last[m];
}

const char *str_nearest(const char *word, const char *const *list)
{
    const char *best = NULL;
    size_t least = strlen(word) / 3 + 1;
    for (; *list; list++) {
        size_t d = distance(word, *list);
        if (d <= least && d < strlen(*list)) {
            least = d;
            best = *list;
            if (!d)
                break;
            least = d - 1;
        }
    }
    return best;
}

bool str_is_name(const char *s)
{
    size_t n = strlen(s);
    if (n < 1 || n > 63 || !isalnum((unsigned char)*s))
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("._-", *s))
            return false;
    return true;
}

void str_one_line(char *text, size_t size)
{
    size_t len = strlen(text);
    while (len && text[len - 1] == '\n')
        text[--len] = '\0';
    for (char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c >= ' ' && c != 0x7f)
            continue;
        char shown[8];
        if (c == '\n' || c == '\t')
            snprintf(shown, sizeof shown, c == '\n' ? "\\n" : "\\t");
        else
            snprintf(shown, sizeof shown, "\\x%02x", c);
        size_t n = strlen(shown), room = size - (size_t)(p - text);
        if (n >= room) {
            *p = '\0';
            return;
        }
        memmove(p + n, p + 1, room - n);
        memcpy(p, shown, n);
        text[size - 1] = '\0';
        p += n - 1;
    }
}
