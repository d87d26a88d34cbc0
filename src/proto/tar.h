/* SPDX-License-Identifier: Apache-2.0 */
/* Files and trees as a tar stream (ustar with pax headers), for copying into and out of
 * a guest. Each end runs as the user whose files they are. The stream is not trusted:
 * what is unpacked stays below the destination, follows no link, makes no device, sets
 * no set-id bit. All names in it begin with one component, the base name of what was
 * packed; modes and modification times are kept, owners are not. */
#pragma once
#include "base/err.h"

#include <stdint.h>

struct tar_hooks {
    /* After each file and, in long ones, now and then. May be NULL. */
    void (*progress)(uint64_t files, uint64_t bytes, void *arg);
    /* Something was left out (a socket, a device, a file that shrank). May be NULL. */
    void (*warn)(const char *text, void *arg);
    void *arg;
};

/* Write the file or tree at path to the stream. */
int tar_pack(int fd, const char *path, const struct tar_hooks *hooks, struct err *err);
/* Read the stream to its end. With dest an existing directory things keep their name in
 * it, else dest is the new name. */
int tar_unpack(int fd, const char *dest, const struct tar_hooks *hooks,
               struct err *err);
