/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 of bytes, descriptors and files, as 64 hex digits. */
#pragma once
#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

enum { HASH_HEX_SIZE = 65 };

void hash_bytes(const void *data, size_t len, char hex[HASH_HEX_SIZE]);
/* From where the descriptor stands to its end; size may be NULL. */
int hash_fd(int fd, char hex[HASH_HEX_SIZE], uint64_t *size, struct err *err);
int hash_file(const char *path, char hex[HASH_HEX_SIZE], uint64_t *size,
              struct err *err);
