/* SPDX-License-Identifier: Apache-2.0 */
/* A place to build in: a child process in its own mount and process-id namespace, and,
 * without root, in a user namespace with the ids that /etc/subuid grants. Whatever it
 * mounts or starts goes away with it, also when it or its parent is killed. */
#pragma once
#include "base/err.h"

#include <stdbool.h>

struct sandbox_spec {
    bool rootless;   /* a user namespace; needed unless we are root */
    const char *dir; /* gets a tmpfs of its own before work() starts; NULL: none */
    /* What is done inside, as (namespace) root; mounts are private. */
    int (*work)(void *arg, struct err *err);
    void *arg;
};

/* Run it to its end; the error of work() becomes ours. */
int sandbox_run(const struct sandbox_spec *spec, struct err *err);
