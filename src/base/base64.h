/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 (RFC 4648, with padding), for bytes inside JSON. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Both give memory of the caller's, or NULL: without memory, or (decode) for text that
 * is not base64. What was decoded has a NUL behind it that *len does not count. */
char *base64_encode(const void *data, size_t len);
void *base64_decode(const char *text, size_t *len);
