/* SPDX-License-Identifier: Apache-2.0 */
/* Copying files and trees into and out of a guest. */
#pragma once
#include "base/err.h"
#include "proto/client.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct client_cp {
    const char *vm, *job;  /* which machine, as in struct client_exec */
    bool into;             /* from here into the guest; else out of it */
    const char *from, *to; /* `to` an existing directory: things keep their name */
    bool has_ids;          /* as whom in the guest; else the agent decides */
    uid_t uid;
    gid_t gid;
    int (*connect)(struct rpc_client **out, struct err *err); /* NULL: find */
    /* Now and then. May be NULL. */
    void (*progress)(uint64_t files, uint64_t bytes, void *arg);
    void *arg;
};

/* Warnings (what was left out) go to standard error. */
int client_cp(const struct client_cp *x, struct err *err);
