/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 by libsodium; see the header. */
#include "image/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/own.h"

void hash_bytes(const void *data, size_t len, char hex[HASH_HEX_SIZE])
{
    unsigned char sum[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(sum, data, len);
    sodium_bin2hex(hex, HASH_HEX_SIZE, sum, sizeof sum);
}

int hash_fd(int fd, char hex[HASH_HEX_SIZE], uint64_t *size, struct err *err)
{
    enum { PART = 256 << 10 };
    AUTO_STR part = malloc(PART);
    if (!part)
        return err_oom(err);
    crypto_hash_sha256_state state;
    crypto_hash_sha256_init(&state);
    uint64_t total = 0;
    ssize_t n;
    while ((n = read(fd, part, PART)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, "read");
        crypto_hash_sha256_update(&state, (unsigned char *)part, n);
        total += n;
    }
    unsigned char sum[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_final(&state, sum);
    sodium_bin2hex(hex, HASH_HEX_SIZE, sum, sizeof sum);
    if (size)
        *size = total;
    return 0;
}

int hash_file(const char *path, char hex[HASH_HEX_SIZE], uint64_t *size,
              struct err *err)
{
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return err_sys(err, "'%s'", path);
    return hash_fd(fd, hex, size, err) < 0 ? err_at(err, "'%s'", path) : 0;
}
