/* SPDX-License-Identifier: Apache-2.0 */
/* What tar_pack.c and tar_unpack.c share. */
#pragma once
#include "proto/tar.h"

#include <stdbool.h>

enum {
    TAR_BLOCK = 512,
    TAR_COPY = 65536,
    TAR_PAX_MAX = 1 << 16,
    TAR_DEPTH_MAX = 256,
    TAR_PROGRESS_EVERY = 4 << 20
};

struct tar_header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8];
    char type, link[100], magic[6], version[2], uname[32], gname[32];
    char major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct tar_header) == TAR_BLOCK, "a tar header is a block");

unsigned tar_sum(const struct tar_header *h);

/* What the hooks are told of. */
struct tar_tally {
    const struct tar_hooks *hooks; /* may be NULL */
    uint64_t files, bytes, told;
};
void tar_progress(struct tar_tally *t, bool file);
void tar_warn(const struct tar_tally *t, const char *name, const char *why);
