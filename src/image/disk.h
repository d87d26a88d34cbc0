/* SPDX-License-Identifier: Apache-2.0 */
/* Where in a disk is the file system? */
#pragma once
#include "base/err.h"

#include <sys/types.h>

/* Where the largest ext4 of the disk begins: the whole disk, or a partition. */
int disk_find_ext4(int fd, off_t *at, struct err *err);
