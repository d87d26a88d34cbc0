/* SPDX-License-Identifier: Apache-2.0 */
/* For a worker of root's: act with a user's right to files for a while. Elsewhere the
 * agent is that user, and nothing changes. */
#pragma once
#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>

struct owner_was {
    gid_t groups[256];
    int n;
    bool changed;
};
int owner_enter(uid_t uid, gid_t gid, struct owner_was *was, struct err *err);
/* Keeps errno. */
void owner_leave(struct owner_was *was);
