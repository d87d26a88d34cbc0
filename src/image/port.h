/* SPDX-License-Identifier: Apache-2.0 */
/* Images from and to the rest of the world, and a look inside. */
#pragma once
#include "base/err.h"

#include "image/build.h"

struct port_import {
    const char *name, *version;
    const char
        *source; /* oci:DIR[:TAG], docker-archive:FILE, tar:, dir:, qcow2:, raw: */
    const char *kernel; /* package; NULL: the cloud kernel of Debian */
    const char *init;   /* NULL: lodge-guest */
    const char *mode;   /* of the root; NULL: "tmpfs" */
    bool as_is;         /* a disk stays a disk and boots by its own means */
};

int port_import(const struct port_import *what, const struct build_options *opt,
                struct build_result *out, struct err *err);
/* target: tar:FILE, dir:DIR, oci:DIR, erofs:, squashfs:, ext4:, raw:, qcow2:FILE. */
int port_export(const char *ref, const char *target, bool rootless, struct err *err);
/* Run argv in a copy of the image's root, without a machine, on our own terminal;
 * changes are lost. *status is its exit status. */
int port_exec(const char *ref, const char *const *argv, bool rootless, int *status,
              struct err *err);
/* Copy the image with its blobs into the store at dir. */
int port_copy(const char *ref, const char *dir, struct err *err);
/* Sign the digest with an SSH key (ssh-keygen -Y); check it against allowed signers. */
int port_sign(const char *ref, const char *key, struct err *err);
int port_check_signature(const char *ref, const char *signers, const char *who,
                         struct err *err);
