/* SPDX-License-Identifier: Apache-2.0 */
/* Where a machine's memory comes from: which NUMA nodes, and whether there is enough
 * beside what others hold. Only computes. */
#pragma once
#include "base/err.h"
#include "profile/profile.h"

/* A NUMA node's memory of one page size. */
struct place_numa {
    unsigned id;
    uint64_t total;
    uint64_t free; /* now, whoever uses the rest; UINT64_MAX: not looked at */
};

/* What somebody holds of this page size. */
struct place_held {
    const char *name;
    uint64_t bytes;
    const uint32_t *nodes; /* in equal parts on these; */
    size_t count;          /* 0: anywhere */
};

struct place_memory {
    uint64_t page_bytes; /* for the words of a refusal; 0: ordinary pages */
    const struct place_numa *numa;
    size_t nnuma;
    const struct place_held *held;
    size_t nheld;
    uint64_t keeps; /* the host's own share */
};

/* Does this policy take its memory from certain nodes only? */
bool place_memory_is_bound(enum profile_numa policy);
/* The part of `bytes` that lies on the i-th of n nodes: whole MiB, the first takes what
 * does not divide. */
uint64_t place_memory_part(uint64_t bytes, size_t i, size_t n);
/* What nobody holds of node id, or of all of them. */
enum { PLACE_ALL = -1 };
uint64_t place_memory_left(const struct place_memory *m, int id);
/* Is there room for bytes? Where the policy wants nodes and `nodes` names none, they are
 * chosen: one that has room for all of it, else all of them. E_BUSY names what is
 * missing, where, and who holds it; E_INPUT a node that is not there. */
int place_memory_fit(const struct place_memory *m, uint64_t bytes,
                     enum profile_numa policy, struct profile_u32s *nodes,
                     struct err *err);
