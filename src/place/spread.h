/* SPDX-License-Identifier: Apache-2.0 */
/* Which node each machine of a virtual cluster goes to. Pure: what the nodes have and
 * what the machines want in, a choice with its reasons out. */
#pragma once
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum spread_policy {
    SPREAD_EVEN,     /* the emptiest node first */
    SPREAD_PACK,     /* as few nodes as possible */
    SPREAD_PER_NODE, /* per_node machines on each node, nodes in the order given */
};

struct spread_node {
    const char *name;
    uint32_t cpus;         /* free */
    uint64_t memory_bytes; /* free */
    uint32_t types;        /* bit (1 << enum profile_type) for each it can run */
    const char *out; /* why it takes no new machines ("drained: fan"); NULL: it does */
};
struct spread_vm {
    const char *name;
    uint32_t cpus;
    uint64_t memory_bytes;
    uint32_t types; /* any of these will do */
};

/* choice[i] is the index of vms[i]'s node; a node gets at most per_node of them (0: as fits). All or nothing: E_BUSY with the machine that
 * fits nowhere, and why each node refused it. Machines keep their order; the same input
 * always gives the same choice. */
int spread(const struct spread_vm *vms, size_t nvms, const struct spread_node *nodes,
           size_t nnodes, enum spread_policy policy, uint32_t per_node, size_t *choice,
           struct err *err);
