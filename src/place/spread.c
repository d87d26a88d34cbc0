/* SPDX-License-Identifier: Apache-2.0 */
/* Placement of a virtual cluster's machines; see the header. Greedy, largest machine
 * first: good enough for tens of thousands of machines, and easy to explain. */
#include "place/spread.h"

#include <stdlib.h>

#include "base/str.h"

struct room {
    uint32_t cpus;
    uint64_t memory_bytes;
    uint32_t vms;
};

/* NULL: it fits; else why not. */
static const char *refusal(const struct spread_vm *vm, const struct spread_node *node,
                           const struct room *room, uint32_t per_node)
{
    if (node->out)
        return node->out;
    if (!(node->types & vm->types))
        return "cannot run its type";
    if (per_node && room->vms >= per_node)
        return "has its share of machines";
    if (room->cpus < vm->cpus)
        return "too few free CPUs";
    return room->memory_bytes < vm->memory_bytes ? "too little free memory" : NULL;
}

/* Is node a a better place than b? Only asked of nodes that fit. */
static bool better(const struct room *a, const struct room *b,
                   enum spread_policy policy)
{
    if (policy == SPREAD_EVEN)
        return a->vms != b->vms ? a->vms < b->vms : a->memory_bytes > b->memory_bytes;
    return a->vms != b->vms ? a->vms > b->vms : a->memory_bytes < b->memory_bytes;
}

static int fits_nowhere(const struct spread_vm *vm, const struct spread_node *nodes,
                        const struct room *rooms, size_t nnodes, uint32_t per_node,
                        struct err *err)
{
    enum { TOLD_MAX = 4 };
    AUTO_BUF b = {0};
    for (size_t i = 0; i < nnodes && i < TOLD_MAX; i++)
        str_buf_printf(&b, "%s%s: %s", i ? "; " : "", nodes[i].name,
                       refusal(vm, &nodes[i], &rooms[i], per_node));
    if (nnodes > TOLD_MAX)
        str_buf_printf(&b, "; and %zu more nodes", nnodes - TOLD_MAX);
    char size[16];
    return err_set(err, E_BUSY, "'%s' (%u CPUs, %s) fits on no node%s%s%s", vm->name,
                   vm->cpus, str_from_bytes(vm->memory_bytes, size, sizeof size),
                   b.len ? " (" : "", b.len ? b.data : "", b.len ? ")" : "");
}

struct turn {
    const struct spread_vm *vm;
    size_t index;
};

static int larger_first(const void *x, const void *y)
{
    const struct turn *a = x, *b = y;
    if (a->vm->memory_bytes != b->vm->memory_bytes)
        return a->vm->memory_bytes > b->vm->memory_bytes ? -1 : 1;
    if (a->vm->cpus != b->vm->cpus)
        return a->vm->cpus > b->vm->cpus ? -1 : 1;
    return a->index < b->index ? -1 : 1;
}

static int place_all(const struct turn *turns, size_t nvms,
                     const struct spread_node *nodes, struct room *rooms, size_t nnodes,
                     enum spread_policy policy, uint32_t per_node, size_t *choice,
                     struct err *err)
{
    for (size_t i = 0; i < nvms; i++) {
        const struct spread_vm *vm = turns[i].vm;
        size_t best = nnodes;
        for (size_t n = 0; n < nnodes; n++)
            if (!refusal(vm, &nodes[n], &rooms[n], per_node) &&
                (best == nnodes || better(&rooms[n], &rooms[best], policy)))
                best = n;
        if (best == nnodes)
            return fits_nowhere(vm, nodes, rooms, nnodes, per_node, err);
        rooms[best].cpus -= vm->cpus;
        rooms[best].memory_bytes -= vm->memory_bytes;
        rooms[best].vms++;
        choice[turns[i].index] = best;
    }
    return 0;
}

int spread(const struct spread_vm *vms, size_t nvms, const struct spread_node *nodes,
           size_t nnodes, enum spread_policy policy, uint32_t per_node, size_t *choice,
           struct err *err)
{
    struct turn *turns = calloc(nvms + 1, sizeof *turns);
    struct room *rooms = calloc(nnodes + 1, sizeof *rooms);
    size_t *chosen = calloc(nvms + 1, sizeof *chosen);
    int r = turns && rooms && chosen ? 0 : err_oom(err);
    for (size_t i = 0; r == 0 && i < nvms; i++)
        turns[i] = (struct turn){.vm = &vms[i], .index = i};
    for (size_t n = 0; r == 0 && n < nnodes; n++)
        rooms[n] =
            (struct room){.cpus = nodes[n].cpus, .memory_bytes = nodes[n].memory_bytes};
    if (r == 0) {
        qsort(turns, nvms, sizeof *turns, larger_first);
        r = place_all(turns, nvms, nodes, rooms, nnodes, policy, per_node, chosen, err);
    }
    for (size_t i = 0; r == 0 && i < nvms; i++)
        choice[i] = chosen[i];
    free(turns);
    free(rooms);
    free(chosen);
    return r;
}
