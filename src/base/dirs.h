/* SPDX-License-Identifier: Apache-2.0 */
/* Where Lodge keeps things. Root uses the system's places, other users their own:
 *
 *              root               others                               override
 *   state      /var/lib/lodge     $XDG_STATE_HOME/lodge (~/.local/state)
 * LODGE_STATE_DIR run        /run/lodge         $XDG_RUNTIME_DIR/lodge (/tmp/lodge-UID)
 * LODGE_RUN_DIR cache      /var/cache/lodge   $XDG_CACHE_HOME/lodge (~/.cache)
 * LODGE_CACHE_DIR config     $sysconfdir/lodge  $XDG_CONFIG_HOME/lodge (~/.config)
 * LODGE_CONFIG_DIR data       $datadir/lodge (schemas, shipped profiles and images)
 * LODGE_DATA_DIR libexec    $libexecdir/lodge (lodge-agent, lodge-vmm, ...)
 * LODGE_LIBEXEC_DIR
 */
#pragma once
#include "base/err.h"

enum dirs_kind {
    DIRS_STATE,
    DIRS_RUN,
    DIRS_CACHE,
    DIRS_CONFIG,
    DIRS_DATA,
    DIRS_LIBEXEC
};

/* The directory with `leaf` (printf style, may be NULL) below it; the caller's to free.
 * Nothing is created. NULL without memory. */
char *dirs_path(enum dirs_kind kind, const char *leaf, ...)
    __attribute__((format(printf, 2, 3)));
/* Nothing of the directory may be believed if it is the one in /tmp and somebody else made
 * it: E_PERM. One that is missing is fine. */
int dirs_ours(enum dirs_kind kind, struct err *err);
/* Create the directory itself (0700, for root 0755 but state 0711) if it is missing. */
int dirs_make(enum dirs_kind kind, struct err *err);
