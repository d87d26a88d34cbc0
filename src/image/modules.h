/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel modules by name: what to load, in which order. Pure. */
#pragma once
#include "base/err.h"

#include "image/def.h"

/* The paths (as in modules.dep) of the named modules and of all they need, each once,
 * those needed first. `builtin` is modules.builtin: what is listed there is there
 * already. *out is the caller's, for modules_free(). */
int modules_order(const char *dep, const char *builtin, const struct words *names,
                  struct words *out, struct err *err);
void modules_free(struct words *paths);
