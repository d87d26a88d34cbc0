/* SPDX-License-Identifier: Apache-2.0 */
/* What the host has free of the pages that are asked for, in all and on each node. A pool
 * that is short is refused here, with numbers and the way to get more, before anything is
 * taken. memory.c calls it. */
#include "vmm/vm.h"

#include "base/fd.h"

#include <stdio.h>
#include <string.h>

/* Free pages of that size on one node (-1: on all), or -1 when the kernel has no pool. */
static int64_t pool_free(uint64_t page, int node)
{
    char path[160];
    if (node < 0)
        snprintf(path, sizeof path, "/sys/kernel/mm/hugepages/hugepages-%llukB/%s",
                 (unsigned long long)page >> 10, "free_hugepages");
    else
        snprintf(path, sizeof path,
                 "/sys/devices/system/node/node%d/hugepages/hugepages-%llukB/%s", node,
                 (unsigned long long)page >> 10, "free_hugepages");
    AUTO_STR text = NULL;
    uint64_t n;
    if (fd_read_file(path, 64, &text, NULL, NULL) < 0)
        return -1;
    text[strcspn(text, "\n")] = 0;
    return str_to_u64(text, &n) ? (int64_t)n : -1;
}

static int64_t node_free_bytes(int node)
{
    char path[80];
    AUTO_STR text = NULL;
    snprintf(path, sizeof path, "/sys/devices/system/node/node%d/meminfo", node);
    if (fd_read_file(path, 1 << 16, &text, NULL, NULL) < 0)
        return -1;
    const char *p = strstr(text, "MemFree:");
    unsigned long long kib;
    return p && sscanf(p, "MemFree: %llu", &kib) == 1 ? (int64_t)(kib << 10) : -1;
}

static int refuse_short(uint64_t page, int node, uint64_t want, int64_t have,
                        struct err *err)
{
    char size[32], where[64] = "";
    str_from_bytes(page, size, sizeof size);
    if (node >= 0)
        snprintf(where, sizeof where, " on node %d", node);
    if (have < 0)
        return err_set(err, E_UNAVAIL,
                       "memory: this kernel has no pool of %s pages%s; choose another "
                       "page size",
                       size, where);
    const char *dir = node >= 0 ? "/sys/devices/system/node/node" : "/sys/kernel/mm";
    char number[16] = "";
    if (node >= 0)
        snprintf(number, sizeof number, "%d", node);
    return err_set(
        err, E_BUSY,
        "memory: %llu pages of %s wanted%s, %lld free; get more by writing to "
        "%s%s/hugepages/hugepages-%llukB/nr_hugepages%s",
        (unsigned long long)want, size, where, (long long)have, dir, number,
        (unsigned long long)page >> 10,
        page == GIB ? ", or boot the host with hugepagesz=1G hugepages=N" : "");
}

int memory_pool_check(const struct vm *vm, struct err *err)
{
    const struct config *c = vm->config;
    uint64_t page = c->memory.page, total = c->memory.size / page;
    for (unsigned i = 0; i < c->memory.nnodes; i++) {
        const struct config_node *n = &c->memory.nodes[i];
        if (n->host_node < 0)
            continue;
        uint64_t want = 0;
        for (unsigned j = 0; j < c->memory.nnodes; j++)
            if (c->memory.nodes[j].host_node == n->host_node)
                want += c->memory.nodes[j].size;
        int64_t bytes = node_free_bytes(n->host_node);
        if (bytes < 0)
            return err_set(err, E_UNAVAIL, "memory: this host has no NUMA node %d",
                           n->host_node);
        if (page == 4 * KIB) {
            if (c->memory.prealloc && (uint64_t)bytes < want)
                return err_set(
                    err, E_BUSY,
                    "memory: %llu MiB wanted on node %d, %lld MiB free there",
                    (unsigned long long)(want / MIB), n->host_node,
                    (long long)(bytes / (int64_t)MIB));
            continue;
        }
        int64_t have = pool_free(page, n->host_node);
        if (have < 0 || (uint64_t)have < want / page)
            return refuse_short(page, n->host_node, want / page, have, err);
    }
    if (page == 4 * KIB)
        return 0;
    int64_t have = pool_free(page, -1);
    return have < 0 || (uint64_t)have < total ? refuse_short(page, -1, total, have, err)
                                              : 0;
}
