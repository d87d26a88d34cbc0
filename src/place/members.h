/* SPDX-License-Identifier: Apache-2.0 */
/* A virtual cluster on the nodes of a job. Every node computes this for itself, from the
 * signed ticket and its own number, and all come to the same: so only what all of them
 * know counts, and nodes are taken to be alike. Pure. */
#pragma once
#include "base/err.h"
#include "profile/profile.h"

#include <jansson.h>
#include <stdint.h>

enum { MEMBERS_VMS_MAX = 4096, MEMBERS_NODES_MAX = 65536 };

/* One machine of the cluster. Borrowed from the grant. */
struct members_vm {
    char name[80]; /* MEMBERn */
    json_t *profile;
    const char *digest; /* of its image, or NULL */
    uint32_t vcpus;
    uint64_t memory_bytes;
    uint32_t node; /* number of its node in the job */
};
struct members {
    size_t count;
    struct members_vm *vm;
};
void members_free(struct members *m);
OWN_DEFINE(members)

/* grant: {"members": [{"name", "count", "profile": {...}, "digest"?}...], "placement",
 * "per_node", "memory_mib", "cpus"}; the last two are what a node of the job has, 0 when
 * the submission did not say. nodes 0: expand only, do not place. Machine 0 is always on
 * node 0, where the batch script runs. E_INPUT when they do not fit, with the way out. */
int members_place(const json_t *grant, uint32_t nodes, struct members **out,
                  struct err *err);
