/* SPDX-License-Identifier: Apache-2.0 */
/* A kernel package taken apart once, in the cache: kernels/SHA256/ has vmlinux (ELF,
 * not compressed), vmlinuz, release, and lib/modules/RELEASE with modules.dep. */
#pragma once
#include "base/err.h"
#include "base/own.h"

#include "image/def.h"
#include "image/pkg.h"

struct kernel {
    char *dir;     /* in the cache */
    char *release; /* "6.1.0-50-cloud-amd64" */
};

int kernel_open(const struct pkg *p, const char *cache, const char *work,
                const struct run *run, struct kernel **out, struct err *err);
void kernel_free(struct kernel *k);
OWN_DEFINE(kernel)
/* The named modules and what they need, as modules_order() (modules.h) gives them. */
int kernel_modules(const struct kernel *k, const struct words *names, struct words *out,
                   struct err *err);

/* Write the ELF kernel that the bzImage at `from` holds, whatever compressed it. */
int kernel_extract(const char *from, const char *to, struct err *err);
