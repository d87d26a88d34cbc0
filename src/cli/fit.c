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

void fit_columns(size_t *widths, const bool *words, size_t count, size_t terminal)
{
    size_t room = terminal > count ? terminal - count + 1 : 1, left = 0, total = 0;
    for (size_t i = 0; i < count; i++) {
        bool gives = words[i] && widths[i] > LONG;
        total += widths[i];
        left += gives;
        if (!gives)
            room = room > widths[i] ? room - widths[i] : 0;
    }
    if (total + count <= terminal + 1)
        return;
    /* Who needs less than an even part has what it needs. */
    for (bool again = true; again && left;) {
        size_t part = room / left;
        again = false;
        for (size_t i = 0; i < count && left; i++)
            if (words[i] && widths[i] > LONG && widths[i] <= part &&
                !(widths[i] & FIT_SETTLED)) {
                room -= widths[i];
                widths[i] |= FIT_SETTLED;
                left--;
                again = true;
                part = left ? room / left : 0;
            }
    }
    size_t even = left ? room / left : 0;
    for (size_t i = 0; i < count; i++) {
        if (words[i] && widths[i] > LONG && !(widths[i] & FIT_SETTLED))
            widths[i] = even > NARROWEST ? even : NARROWEST;
        widths[i] &= ~FIT_SETTLED;
    }
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
