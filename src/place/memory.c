/* SPDX-License-Identifier: Apache-2.0 */
/* Memory by NUMA node; see the header. Called by the agent's reservation. */
#include "place/memory.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"

bool place_memory_is_bound(enum profile_numa policy)
{
    return policy == PROFILE_NUMA_BIND || policy == PROFILE_NUMA_INTERLEAVE ||
           policy == PROFILE_NUMA_MIRROR;
}

uint64_t place_memory_part(uint64_t bytes, size_t i, size_t n)
{
    uint64_t mib = bytes >> 20, each = mib / n;
    return i ? each << 20 : bytes - ((each * (n - 1)) << 20);
}

/* What h holds of node id. */
static uint64_t held_on(const struct place_held *h, int id)
{
    if (id == PLACE_ALL)
        return h->bytes;
    for (size_t i = 0; i < h->count; i++)
        if ((int)h->nodes[i] == id)
            return place_memory_part(h->bytes, i, h->count);
    return 0;
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

uint64_t place_memory_left(const struct place_memory *m, int id)
{
    uint64_t total = 0, now = 0;
    bool looked = false;
    for (size_t i = 0; i < m->nnuma; i++) {
        if (id != PLACE_ALL && (int)m->numa[i].id != id)
            continue;
        total += m->numa[i].total;
        looked |= m->numa[i].free != UINT64_MAX;
        now += m->numa[i].free != UINT64_MAX ? m->numa[i].free : 0;
    }
    uint64_t left =
        less(total, id == PLACE_ALL ? m->keeps : m->keeps / (m->nnuma ? m->nnuma : 1));
    for (size_t i = 0; i < m->nheld; i++)
        left = less(left, held_on(&m->held[i], id));
    return looked && now < left ? now : left;
}

/* "a (2G), b (512M)": who holds memory there. */
static bool holders(const struct place_memory *m, int id, char *text, size_t size)
{
    size_t n = 0;
    text[0] = '\0';
    for (size_t i = 0; i < m->nheld; i++) {
        char amount[24];
        uint64_t bytes = held_on(&m->held[i], id);
        if (!bytes || n + 40 > size)
            continue;
        int more =
            snprintf(text + n, size - n, "%s%.60s (%s)", n ? ", " : "", m->held[i].name,
                     str_from_bytes(bytes, amount, sizeof amount));
        n = n + more < size ? n + more : size - 1;
    }
    if (!n)
        snprintf(text, size, "no VM of this agent");
    return n > 0;
}

static uint64_t total_on(const struct place_memory *m, int id)
{
    uint64_t total = 0;
    for (size_t i = 0; i < m->nnuma; i++)
        if (id == PLACE_ALL || (int)m->numa[i].id == id)
            total += m->numa[i].total;
    return total;
}

static int refuse(const struct place_memory *m, uint64_t bytes, int id, struct err *err)
{
    char want[24], have[24], page[24], where[32] = "", who[140];
    bool held = holders(m, id, who, sizeof who);
    str_from_bytes(m->page_bytes, page, sizeof page);
    if (id != PLACE_ALL)
        snprintf(where, sizeof where, " on NUMA node %d", id);
    bool huge = m->page_bytes > 4096;
    /* Pages that no machine of ours has: the pool leaks, which is the node's fault. */
    bool leaked = huge && !held && bytes <= total_on(m, id);
    return err_set(err, leaked ? E_UNAVAIL : E_BUSY,
                   "wants %s of memory%s%s%s but %s is left; held by: %s",
                   str_from_bytes(bytes, want, sizeof want),
                   huge ? " in pages of " : "", huge ? page : "", where,
                   str_from_bytes(place_memory_left(m, id), have, sizeof have), who);
}

static bool is_there(const struct place_memory *m, uint32_t id)
{
    for (size_t i = 0; i < m->nnuma; i++)
        if (m->numa[i].id == id)
            return true;
    return false;
}

static int fit_on(const struct place_memory *m, uint64_t bytes, const uint32_t *nodes,
                  size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!is_there(m, nodes[i]))
            return err_set(err, E_INPUT, "there is no NUMA node %u here",
                           (unsigned)nodes[i]);
        uint64_t part = place_memory_part(bytes, i, n);
        if (part > place_memory_left(m, nodes[i]))
            return refuse(m, part, nodes[i], err);
    }
    return 0;
}

/* The node with most left that has room for all, else all of them. */
static int choose(const struct place_memory *m, uint64_t bytes, bool all,
                  struct profile_u32s *out, struct err *err)
{
    uint32_t *ids = calloc(m->nnuma, sizeof *ids);
    size_t n = 0;
    if (!ids)
        return err_oom(err);
    for (size_t i = 0; i < m->nnuma; i++) {
        uint64_t left = place_memory_left(m, m->numa[i].id);
        if (!all && left >= bytes && (!n || left > place_memory_left(m, (int)ids[0]))) {
            ids[0] = m->numa[i].id;
            n = 1;
        }
    }
    for (size_t i = 0; !n && i < m->nnuma; i++)
        ids[i] = m->numa[i].id;
    n = n ? n : m->nnuma;
    if (fit_on(m, bytes, ids, n, err) < 0) {
        free(ids);
        return -1;
    }
    free(out->at);
    *out = (struct profile_u32s){.at = ids, .count = n};
    return 0;
}

int place_memory_fit(const struct place_memory *m, uint64_t bytes,
                     enum profile_numa policy, struct profile_u32s *nodes,
                     struct err *err)
{
    if (bytes > place_memory_left(m, PLACE_ALL))
        return refuse(m, bytes, PLACE_ALL, err);
    if (!place_memory_is_bound(policy) || !m->nnuma)
        return 0;
    if (nodes->count)
        return fit_on(m, bytes, nodes->at, nodes->count, err);
    return choose(m, bytes, policy != PROFILE_NUMA_BIND, nodes, err);
}
