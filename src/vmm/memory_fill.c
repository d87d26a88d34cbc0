/* SPDX-License-Identifier: Apache-2.0 */
/* Every page of the guest's RAM is touched before the guest runs, each node's by threads
 * pinned to that node. memory.c calls it when the pages are mapped and bound. */
#include "vmm/vm.h"

#include "base/fd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
enum { FILL_THREADS_MAX = 8 }; /* a piece */

/* One thread's share. */
struct fill {
    char *at;
    uint64_t size, step;
    cpu_set_t cpus;
    bool pinned;
    pthread_t thread;
    bool started;
    int failed; /* errno */
};

static void *fill_run(void *arg)
{
    struct fill *f = arg;
    for (uint64_t done = 0; done < f->size && !f->failed; done += f->step) {
        uint64_t n = f->size - done < f->step ? f->size - done : f->step;
        while (madvise(f->at + done, n, MADV_POPULATE_WRITE) < 0)
            if (errno != EINTR && errno != EAGAIN) {
                f->failed = errno;
                break;
            }
    }
    return NULL;
}

/* The CPUs of a host node, from sysfs ("0-3,8"). */
static bool node_cpus(int node, cpu_set_t *out)
{
    char path[80];
    AUTO_STR text = NULL;
    CPU_ZERO(out);
    snprintf(path, sizeof path, "/sys/devices/system/node/node%d/cpulist", node);
    if (node < 0 || fd_read_file(path, 4096, &text, NULL, NULL) < 0)
        return false;
    for (char *p = text; *p >= '0' && *p <= '9';) {
        long first = strtol(p, &p, 10), last = first;
        if (*p == '-')
            last = strtol(p + 1, &p, 10);
        for (long c = first; c <= last && c < CPU_SETSIZE; c++)
            CPU_SET((int)c, out);
        if (*p == ',')
            p++;
    }
    return CPU_COUNT(out) > 0;
}

static int fill_start(struct fill *f, struct err *err)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 64 << 10);
    if (f->pinned)
        pthread_attr_setaffinity_np(&attr, sizeof f->cpus, &f->cpus);
    int e = pthread_create(&f->thread, &attr, fill_run, f);
    pthread_attr_destroy(&attr);
    if (e != 0) {
        errno = e;
        return err_sys(err, "memory: thread to fill it");
    }
    f->started = true;
    return 0;
}

int memory_fill(struct vm *vm, struct err *err)
{
    uint64_t page = vm->config->memory.page;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned per = (unsigned)(cpus < 1 ? 1 : cpus) / (unsigned)vm->nmemory;
    per = per < 1 ? 1 : per > FILL_THREADS_MAX ? FILL_THREADS_MAX : per;
    struct fill *fills = calloc(vm->nmemory * per, sizeof *fills);
    if (!fills)
        return err_oom(err);
    int result = 0;
    unsigned n = 0;
    for (size_t i = 0; i < vm->nmemory && result == 0; i++) {
        struct vm_memory *m = &vm->memory[i];
        uint64_t pages = m->size / page, share = (pages + per - 1) / per * page;
        for (uint64_t done = 0; done < m->size && result == 0; done += share) {
            struct fill *f = &fills[n++];
            f->at = (char *)m->hva + done;
            f->size = m->size - done < share ? m->size - done : share;
            f->step = page > 256 * MIB ? page : 256 * MIB;
            f->pinned =
                node_cpus(vm->config->memory.nodes[m->node].host_node, &f->cpus);
            result = fill_start(f, err);
        }
    }
    int failed = 0;
    for (unsigned i = 0; i < n; i++)
        if (fills[i].started) {
            pthread_join(fills[i].thread, NULL);
            failed = failed ? failed : fills[i].failed;
        }
    free(fills);
    if (result == 0 && failed) {
        errno = failed == EFAULT ? ENOMEM : failed;
        char size[32];
        return err_sys(err, "memory: the pool of %s pages ran out while filling",
                       str_from_bytes(page, size, sizeof size));
    }
    return result;
}
