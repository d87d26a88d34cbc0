/* SPDX-License-Identifier: Apache-2.0 */
/* How the columns of a table share a terminal that is too narrow for them: figures and
 * short words stay as they are, what is long goes on below itself. */
#include "cli/fit.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "base/str.h"

enum { LONG = 16, NARROWEST = 8 };

/* The letter at s: its bytes in *len, and how many columns it takes. */
static size_t letter(const char *s, size_t *len)
{
    wchar_t c;
    mbstate_t state = {0};
    size_t n = mbrtowc(&c, s, MB_CUR_MAX, &state);
    int width = n && n < (size_t)-2 ? wcwidth(c) : 1;
    *len = n && n < (size_t)-2 ? n : 1;
    return width > 0 ? (size_t)width : 0;
}

size_t fit_width(const char *text)
{
    size_t width = 0;
    for (size_t len; *text; text += len)
        width += letter(text, &len);
    return width;
}

static bool gives(size_t width, bool words)
{
    return words && width > LONG;
}

/* What those that give take if none may have more than `most`. */
static size_t taken(const size_t *widths, const bool *words, size_t count, size_t most)
{
    size_t sum = 0;
    for (size_t i = 0; i < count; i++)
        if (gives(widths[i], words[i]))
            sum += widths[i] < most ? widths[i] : most;
    return sum;
}

void fit_columns(size_t *widths, const bool *words, size_t count, size_t terminal)
{
    size_t room = terminal > count ? terminal - count + 1 : 1, total = 0;
    for (size_t i = 0; i < count; i++) {
        total += widths[i];
        if (!gives(widths[i], words[i]))
            room = room > widths[i] ? room - widths[i] : 0;
    }
    if (total + count <= terminal + 1)
        return;
    /* Who needs less than an even part has what it needs. */
    size_t even = NARROWEST;
    while (even < terminal && taken(widths, words, count, even + 1) <= room)
        even++;
    for (size_t i = 0; i < count; i++)
        if (gives(widths[i], words[i]) && widths[i] > even)
            widths[i] = even;
}

char *fit_fold(const char *text, size_t width)
{
    AUTO_BUF b = {0};
    while (fit_width(text) > width) {
        size_t at = 0, used = 0, blank = 0;
        for (size_t len; text[at]; at += len) {
            size_t w = letter(text + at, &len);
            if (text[at] == ' ')
                blank = at;
            if (used + w > width && at)
                break;
            used += w;
        }
        size_t n = blank ? blank : at;
        str_buf_printf(&b, "%.*s\n", (int)n, text);
        text += n + (blank != 0);
    }
    str_buf_puts(&b, text);
    return str_buf_take(&b);
}
