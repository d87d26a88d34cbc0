/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel modules by name: what to load, in which order. Pure. */
#pragma once
#include "base/err.h"

#include "image/def.h"

/* What depmod wrote: the texts of modules.dep, .builtin, .softdep and .alias. */
struct modules {
    const char *dep, *builtin, *softdep, *alias;
};

/* The paths (as in modules.dep) of the named modules and of all they need, each once,
 * those needed first. What is listed in `builtin` is there already. What a module asks to
 * have loaded before it ("softdep ... pre:", libcrc32c's crc32c) is among what it needs; of
 * several that serve, the generic one, which any CPU can run. E_NOENT if there is no such
 * module. *out is the caller's, for modules_free(). */
int modules_order(const struct modules *m, const struct words *names, struct words *out,
                  struct err *err);
void modules_free(struct words *paths);
