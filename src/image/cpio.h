/* SPDX-License-Identifier: Apache-2.0 */
/* An initramfs in memory: the "newc" format, owner 0, time 0, so that the same content
 * is the same bytes; written compressed by zstd. */
#pragma once
#include "base/err.h"
#include "base/str.h"

#include <sys/types.h>

struct cpio {
    struct str_buf data;
    unsigned inode;
};

void cpio_dir(struct cpio *c, const char *name);
void cpio_node(struct cpio *c, const char *name, mode_t mode, unsigned major,
               unsigned minor);
int cpio_file(struct cpio *c, const char *name, mode_t mode, const char *from,
              struct err *err);
void cpio_bytes(struct cpio *c, const char *name, mode_t mode, const void *data,
                size_t len);
/* End the archive and write it to path; c is empty afterwards. */
int cpio_write(struct cpio *c, const char *path, struct err *err);
