/* SPDX-License-Identifier: Apache-2.0 */
/* Compressed parts; see the header. */
#include "image/part.h"

#include <stdlib.h>

#include <zstd.h>

#include "base/own.h"
#include "base/str.h"
#include "image/cache.h"

enum { LEVEL = 1 }; /* quicker than any network that this is sent over is encrypted */

char *part_pack(const void *data, size_t n, size_t *len)
{
    /* What saves less than an eighth costs more than it gives. */
    size_t room = n - n / 8;
    AUTO_STR out = n ? malloc(room) : NULL;
    size_t z = out ? ZSTD_compress(out, room, data, n, LEVEL) : 0;
    if (!out || ZSTD_isError(z))
        return NULL;
    *len = z;
    return move(out);
}

int part_unpack(const void *frame, size_t len, char **data, size_t *n, struct err *err)
{
    unsigned long long size = ZSTD_getFrameContentSize(frame, len);
    /* Both of its ways to say "unknown" are larger than any size. */
    if (size > CACHE_PART_MAX)
        return err_set(err, E_INPUT, "not a compressed part of a blob");
    AUTO_STR out = malloc(size + 1);
    if (!out)
        return err_oom(err);
    size_t z = ZSTD_decompress(out, size, frame, len);
    if (ZSTD_isError(z) || z != size)
        return err_set(err, E_INPUT, "not a compressed part of a blob");
    out[z] = 0;
    *data = move(out);
    *n = z;
    return 0;
}
