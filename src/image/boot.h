/* SPDX-License-Identifier: Apache-2.0 */
/* Try an image: boot it in QEMU, or under lodge-vmm, until its marker is on the console. */
#pragma once
#include "base/err.h"

#include "image/store.h"

#include <stdbool.h>

struct boot_options {
    int timeout_ms;
    unsigned memory_mib;
    bool show;          /* copy the console to standard error */
    bool accel;         /* use KVM if it is there; else emulate */
    bool vmm;           /* lodge-vmm, which needs a KVM, in place of QEMU */
    const char *append; /* more words for the kernel; NULL: none */
};

/* *ms is how long it took. E_TIMEOUT, or E_FAIL when the machine ends before, with the
 * last lines of the console. */
int image_boot(const struct image *img, const struct boot_options *opt, unsigned *ms,
               struct err *err);
