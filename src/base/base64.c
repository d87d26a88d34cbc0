/* SPDX-License-Identifier: Apache-2.0 */
/* Base64; see the header. Pure. */
#include "base/base64.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const char letters[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const void *data, size_t len)
{
    const uint8_t *p = data;
    char *out = malloc((len + 2) / 3 * 4 + 1);
    char *to = out;
    if (!out)
        return NULL;
    for (; len > 0; p += 3) {
        size_t n = len < 3 ? len : 3;
        uint32_t v = p[0] << 16 | (n > 1 ? p[1] << 8 : 0) | (n > 2 ? p[2] : 0);
        *to++ = letters[v >> 18];
        *to++ = letters[v >> 12 & 63];
        *to++ = n > 1 ? letters[v >> 6 & 63] : '=';
        *to++ = n > 2 ? letters[v & 63] : '=';
        len -= n;
    }
    *to = '\0';
    return out;
}

void *base64_decode(const char *text, size_t *len)
{
    size_t n = strlen(text);
    if (n % 4)
        return NULL;
    uint8_t *out = malloc(n / 4 * 3 + 1);
    size_t got = 0;
    if (!out)
        return NULL;
    for (size_t i = 0; i < n; i += 4) {
        size_t pad = 0;
        uint32_t v = 0;
        for (size_t k = 0; k < 4; k++) {
            char ch = text[i + k];
            const char *at = ch ? strchr(letters, ch) : NULL;
            if (!at && (ch != '=' || i + 4 < n || k < 2))
                goto bad;
            if (at && pad)
                goto bad;
            pad += !at;
            v = v << 6 | (at ? (uint32_t)(at - letters) : 0);
        }
        for (size_t k = 0; k < 3 - pad; k++)
            out[got++] = v >> (16 - 8 * k);
    }
    out[got] = '\0';
    *len = got;
    return out;
bad:
    free(out);
    return NULL;
}
