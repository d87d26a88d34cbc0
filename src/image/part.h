/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of blobs on their way to a node, compressed where that is worth it. */
#pragma once
#include "base/err.h"

#include <stddef.h>

/* One zstd frame of *len bytes, the caller's; NULL when it would hardly be smaller, or
 * there is no memory: then the part goes as it is and *len is untouched. */
char *part_pack(const void *data, size_t n, size_t *len);
/* Back, from hostile hands: E_INPUT if it is no such frame, does not tell its size, or is
 * more than CACHE_PART_MAX when unpacked. *data is the caller's; *n as base64_decode. */
int part_unpack(const void *frame, size_t len, char **data, size_t *n, struct err *err);
