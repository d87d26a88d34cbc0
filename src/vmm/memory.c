/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's RAM: one memfd, mapped in pieces (cut at the hole below 4 GiB and where a
 * NUMA node ends) at addresses that agree with the guest's modulo 1 GiB, bound before it
 * is touched, then filled by pinned threads. A pool that is short is refused here, with
 * numbers, before anything boots. */
#include "vmm/ckpt.h"
#include "vmm/vm.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif
enum { FILL_THREADS_MAX = 32, NUMA_NODES_MAX = 1024 };

static uint64_t round_up(uint64_t v, uint64_t to)
{
    return (v + to - 1) / to * to;
}

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

/* Is there enough, before anything is taken? */
static int check_pool(const struct vm *vm, struct err *err)
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

static int create_memfd(struct vm *vm, struct err *err)
{
    uint64_t page = vm->config->memory.page;
    if (vm->config->restore.mode == CONFIG_RESTORE_MAP)
        return (vm->memfd = vm_ckpt_map_fd(vm, err)) < 0 ? -1 : 0;
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    if (page > 4 * KIB)
        flags |= MFD_HUGETLB | (unsigned)__builtin_ctzll(page) << MFD_HUGE_SHIFT;
    vm->memfd = memfd_create("guest-ram", flags);
    if (vm->memfd < 0)
        return err_sys(err, "memory: memfd");
    if (ftruncate(vm->memfd, (off_t)vm->config->memory.size) < 0)
        return err_sys(err, "memory: %llu MiB",
                       (unsigned long long)(vm->config->memory.size / MIB));
    /* Nobody who gets the descriptor (vhost-user) can pull it from under us. */
    fcntl(vm->memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    return 0;
}

static int bind_node(void *at, uint64_t size, int node, struct err *err)
{
    unsigned long mask[NUMA_NODES_MAX / 64] = {0};
    if (node < 0)
        return 0;
    mask[node / 64] = 1ul << node % 64;
    if (syscall(SYS_mbind, at, size, MPOL_BIND, mask, NUMA_NODES_MAX + 1ul, 0) < 0)
        return err_sys(err, "memory: bind to node %d", node);
    return 0;
}

static int add_slot(struct vm *vm, const struct vm_memory *m, uint32_t flags,
                    struct err *err)
{
    struct kvm_userspace_memory_region r = {.slot = (uint32_t)m->slot,
                                            .flags = flags,
                                            .guest_phys_addr = m->gpa,
                                            .memory_size = m->size,
                                            .userspace_addr = (uintptr_t)m->hva};
    if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &r) < 0)
        return err_sys(err, "KVM: memory at 0x%llx, %llu MiB",
                       (unsigned long long)m->gpa, (unsigned long long)(m->size / MIB));
    return 0;
}

static int map_piece(struct vm *vm, uint64_t gpa, uint64_t offset, uint64_t size,
                     unsigned node, struct err *err)
{
    if (vm->nmemory == VM_MEMORY_MAX)
        return err_set(err, E_CONFIG, "memory: more than %d pieces", VM_MEMORY_MAX);
    struct vm_memory *m = &vm->memory[vm->nmemory];
    /* The reserve starts at a multiple of 1 GiB: the same offset keeps them congruent. */
    void *want = (char *)vm->reserve + offset;
    int share =
        vm->config->restore.mode == CONFIG_RESTORE_MAP ? MAP_PRIVATE : MAP_SHARED;
    void *at = mmap(want, size, PROT_READ | PROT_WRITE, share | MAP_FIXED, vm->memfd,
                    (off_t)offset);
    if (at == MAP_FAILED)
        return err_sys(err, "memory: map %llu MiB", (unsigned long long)(size / MIB));
    *m = (struct vm_memory){.gpa = gpa,
                            .size = size,
                            .hva = at,
                            .fd = vm->memfd,
                            .offset = offset,
                            .ram = true,
                            .node = (int)node,
                            .slot = (int)vm->nmemory};
    vm->nmemory++;
    madvise(at, size, MADV_UNMERGEABLE);
    madvise(at, size, MADV_DONTDUMP);
    madvise(at, size, MADV_DONTFORK);
    if (vm->config->memory.page == 4 * KIB)
        madvise(at, size, vm->config->memory.thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    return bind_node(at, size, vm->config->memory.nodes[node].host_node, err);
}

static int map_all(struct vm *vm, struct err *err)
{
    uint64_t size = vm->config->memory.size, offset = 0;
    vm->reserve_size = size + GIB;
    char *p = mmap(NULL, vm->reserve_size, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return err_sys(err, "memory: address space for %llu MiB",
                       (unsigned long long)(size / MIB));
    /* Cut both ends off so that the start is a multiple of 1 GiB. */
    char *start = (char *)round_up((uintptr_t)p, GIB);
    if (start > p)
        munmap(p, (size_t)(start - p));
    munmap(start + size, vm->reserve_size - size - (size_t)(start - p));
    vm->reserve = start;
    vm->reserve_size = size;
    for (unsigned i = 0; i < vm->config->memory.nnodes; i++) {
        uint64_t left = vm->config->memory.nodes[i].size;
        while (left > 0) {
            bool low = offset < LAYOUT_LOW_RAM_MAX;
            uint64_t part = left;
            if (low && offset + part > LAYOUT_LOW_RAM_MAX)
                part = LAYOUT_LOW_RAM_MAX - offset;
            uint64_t gpa =
                low ? offset : LAYOUT_HIGH_RAM_BASE + offset - LAYOUT_LOW_RAM_MAX;
            if (map_piece(vm, gpa, offset, part, i, err) < 0)
                return -1;
            offset += part;
            left -= part;
        }
    }
    return 0;
}

/* One thread's share of the filling. */
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

/* Touch every page, each node's by threads on that node. */
static int fill_all(struct vm *vm, struct err *err)
{
    uint64_t page = vm->config->memory.page;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned per = (unsigned)(cpus < 1 ? 1 : cpus) / (unsigned)vm->nmemory;
    per = per < 1 ? 1 : per > 8 ? 8 : per;
    struct fill *fills = calloc(vm->nmemory * per, sizeof *fills);
    if (!fills)
        return err_oom(err);
    int result = 0;
    unsigned n = 0;
    for (size_t i = 0; i < vm->nmemory && result == 0; i++) {
        struct vm_memory *m = &vm->memory[i];
        uint64_t share = round_up(round_up(m->size, per) / per, page);
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

static int init_windows(struct vm *vm, struct err *err)
{
    struct vm_memory *last = &vm->memory[vm->nmemory - 1];
    uint64_t end = last->gpa + last->size;
    vm->mmio32_next = LAYOUT_PCI32_BASE;
    vm->mmio64_base =
        round_up(end < LAYOUT_HIGH_RAM_BASE ? LAYOUT_HIGH_RAM_BASE : end, GIB);
    vm->mmio64_size = 64 * GIB;
    vm->mmio64_next = vm->mmio64_base;
    return 0;
}

int memory_init(struct vm *vm, struct err *err)
{
    vm->memfd = vm->pagemap = -1;
    if (check_pool(vm, err) < 0 || create_memfd(vm, err) < 0 || map_all(vm, err) < 0)
        return -1;
    /* What comes from a checkpoint bit by bit is not filled with zeros first. */
    if (vm->config->memory.prealloc &&
        vm->config->restore.mode <= CONFIG_RESTORE_READ && fill_all(vm, err) < 0)
        return -1;
    /* Opened now: with the rights we have before the sandbox it tells frame numbers. */
    vm->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    for (size_t i = 0; i < vm->nmemory; i++)
        if (add_slot(vm, &vm->memory[i], 0, err) < 0)
            return -1;
    return init_windows(vm, err);
}

void memory_done(struct vm *vm)
{
    if (vm->reserve)
        munmap(vm->reserve, vm->reserve_size);
    if (vm->memfd >= 0)
        close(vm->memfd);
    if (vm->pagemap >= 0)
        close(vm->pagemap);
    for (size_t i = 0; i < vm->nmemory; i++)
        free((void *)vm->memory[i].dirty);
    vm->reserve = NULL;
    vm->memfd = vm->pagemap = -1;
    vm->nmemory = 0;
}

uint64_t memory_low_end(const struct vm *vm)
{
    uint64_t size = vm->config->memory.size;
    return size < LAYOUT_LOW_RAM_MAX ? size : LAYOUT_LOW_RAM_MAX;
}

const struct vm_memory *vm_memory_list(const struct vm *vm, size_t *count)
{
    *count = vm->nmemory;
    return vm->memory;
}

static const struct vm_memory *piece_of(const struct vm *vm, uint64_t gpa, bool ram)
{
    for (size_t i = 0; i < vm->nmemory; i++) {
        const struct vm_memory *m = &vm->memory[i];
        if (gpa >= m->gpa && gpa - m->gpa < m->size && (m->ram || !ram))
            return m;
    }
    return NULL;
}

void *vm_hva(const struct vm *vm, uint64_t gpa, uint64_t len)
{
    const struct vm_memory *m = piece_of(vm, gpa, true);
    if (!m || len == 0 || len > m->size - (gpa - m->gpa))
        return NULL;
    return (char *)m->hva + (gpa - m->gpa);
}

void vm_mark_dirty(const struct vm *vm, uint64_t gpa, uint64_t len)
{
    const struct vm_memory *m = piece_of(vm, gpa, false);
    if (!m || !m->dirty || len == 0)
        return;
    uint64_t first = (gpa - m->gpa) >> 12, last = (gpa - m->gpa + len - 1) >> 12;
    for (uint64_t p = first; p <= last && p << 12 < m->size; p++)
        atomic_fetch_or_explicit(&m->dirty[p / 64], 1ull << p % 64,
                                 memory_order_relaxed);
}

static int copy(const struct vm *vm, uint64_t gpa, void *in, const void *out,
                uint64_t len)
{
    uint64_t done = 0;
    while (done < len) {
        const struct vm_memory *m = piece_of(vm, gpa + done, true);
        if (!m || gpa + done < gpa)
            return -1;
        uint64_t offset = gpa + done - m->gpa, n = m->size - offset;
        n = n < len - done ? n : len - done;
        if (in)
            memcpy((char *)in + done, (char *)m->hva + offset, n);
        else
            memcpy((char *)m->hva + offset, (const char *)out + done, n);
        done += n;
    }
    if (!in)
        vm_mark_dirty(vm, gpa, len);
    return 0;
}

int vm_read(const struct vm *vm, uint64_t gpa, void *out, uint64_t len)
{
    return copy(vm, gpa, out, NULL, len);
}

int vm_write(const struct vm *vm, uint64_t gpa, const void *data, uint64_t len)
{
    return copy(vm, gpa, NULL, data, len);
}

int vm_memory_add(struct vm *vm, uint64_t gpa, uint64_t size, void *hva, int fd,
                  uint64_t offset, bool readonly, struct err *err)
{
    if (vm->nmemory == VM_MEMORY_MAX)
        return err_set(err, E_CONFIG, "memory: more than %d pieces", VM_MEMORY_MAX);
    for (size_t i = 0; i < vm->nmemory; i++)
        if (gpa < vm->memory[i].gpa + vm->memory[i].size &&
            vm->memory[i].gpa < gpa + size)
            return err_set(err, E_BUG, "memory: window at 0x%llx overlaps",
                           (unsigned long long)gpa);
    struct vm_memory *m = &vm->memory[vm->nmemory];
    *m = (struct vm_memory){.gpa = gpa,
                            .size = size,
                            .hva = hva,
                            .fd = fd,
                            .offset = offset,
                            .readonly = readonly,
                            .slot = (int)vm->nmemory};
    if (add_slot(vm, m, readonly ? KVM_MEM_READONLY : 0, err) < 0)
        return -1;
    vm->nmemory++;
    return 0;
}

static uint64_t window_take(uint64_t *next, uint64_t end, uint64_t size, uint64_t align,
                            struct err *err)
{
    uint64_t at = round_up(*next, align ? align : 1);
    if (size == 0 || at < *next || at > end || size > end - at) {
        err_set(err, E_CONFIG, "devices: no room for %llu MiB in the PCI window",
                (unsigned long long)(size / MIB));
        return 0;
    }
    *next = at + size;
    return at;
}

uint64_t vm_alloc_mmio32(struct vm *vm, uint64_t size, uint64_t align, struct err *err)
{
    return window_take(&vm->mmio32_next, LAYOUT_PCI32_BASE + LAYOUT_PCI32_SIZE, size,
                       align, err);
}

uint64_t vm_alloc_mmio64(struct vm *vm, uint64_t size, uint64_t align, struct err *err)
{
    return window_take(&vm->mmio64_next, vm->mmio64_base + vm->mmio64_size, size, align,
                       err);
}

void vm_pci64_window(const struct vm *vm, uint64_t *base, uint64_t *size)
{
    *base = vm->mmio64_base;
    *size = vm->mmio64_size;
}

int memory_dirty_log(struct vm *vm, bool on, struct err *err)
{
    for (size_t i = 0; i < vm->nmemory; i++) {
        struct vm_memory *m = &vm->memory[i];
        if (m->readonly)
            continue;
        size_t words = (m->size / (4 * KIB) + 63) / 64;
        if (on && !m->dirty && !(m->dirty = calloc(words, sizeof *m->dirty)))
            return err_oom(err);
        if (add_slot(vm, m, on ? KVM_MEM_LOG_DIRTY_PAGES : 0, err) < 0)
            return -1;
        /* Off, the bits stay: others may be setting one just now. */
        for (size_t w = 0; on && w < words; w++)
            atomic_store(&m->dirty[w], 0);
    }
    return 0;
}

int memory_dirty_fetch(struct vm *vm, uint64_t *map, struct err *err)
{
    for (size_t i = 0; i < vm->nmemory; i++) {
        const struct vm_memory *m = &vm->memory[i];
        if (!m->ram || !m->dirty)
            continue;
        size_t words = (m->size / (4 * KIB) + 63) / 64;
        uint64_t *got = calloc(words, sizeof *got);
        struct kvm_dirty_log log = {.slot = (uint32_t)m->slot, .dirty_bitmap = got};
        if (!got)
            return err_oom(err);
        if (ioctl(vm->fd, KVM_GET_DIRTY_LOG, &log) < 0) {
            free(got);
            return err_sys(err, "KVM: dirty pages");
        }
        uint64_t *to = map + m->offset / (4 * KIB) / 64;
        for (size_t w = 0; w < words; w++)
            to[w] |= got[w] | atomic_exchange(&m->dirty[w], 0);
        free(got);
    }
    return 0;
}

/* --- report --------------------------------------------------------------- */

struct runs {
    uint64_t pages, present, runs, longest, current, previous;
    bool known;
};

static void count_frames(struct vm *vm, const struct vm_memory *m, struct runs *r)
{
    enum { CHUNK = 512 };
    uint64_t entries[CHUNK], total = m->size / (4 * KIB);
    uint64_t step = vm->config->memory.page / (4 * KIB);
    r->pages = total / step;
    for (uint64_t p = 0; p < total;) {
        uint64_t want = step == 1 ? (total - p < CHUNK ? total - p : CHUNK) : 1;
        off_t at = (off_t)(((uintptr_t)m->hva / (4 * KIB) + p) * sizeof entries[0]);
        ssize_t n = pread(vm->pagemap, entries, want * sizeof entries[0], at);
        if (n < (ssize_t)sizeof entries[0])
            return;
        uint64_t got = (uint64_t)n / sizeof entries[0];
        for (uint64_t i = 0; i < got; i++) {
            uint64_t frame = entries[i] & ((1ull << 55) - 1);
            bool present = entries[i] >> 63;
            r->present += present;
            r->known |= present && frame != 0;
            if (!present || frame == 0) {
                r->previous = 0;
                continue;
            }
            bool next = r->previous && frame == r->previous + step;
            r->runs += !next;
            r->current = next ? r->current + 1 : 1;
            r->longest = r->current > r->longest ? r->current : r->longest;
            r->previous = frame;
        }
        p += step == 1 ? got : step;
    }
}

/* On which host nodes a sample of its pages lies: [{"node":0,"sampled":64}]. */
static json_t *sample_nodes(const struct vm_memory *m, uint64_t page)
{
    enum { SAMPLES = 64 };
    void *at[SAMPLES];
    int status[SAMPLES];
    uint64_t pages = m->size / page, n = pages < SAMPLES ? pages : SAMPLES;
    for (uint64_t i = 0; i < n; i++)
        at[i] = (char *)m->hva + pages * i / n * page;
    json_t *out = json_object();
    if (syscall(SYS_move_pages, 0, n, at, NULL, status, 0) < 0)
        return out;
    for (uint64_t i = 0; i < n; i++) {
        char key[16];
        if (status[i] < 0)
            continue;
        snprintf(key, sizeof key, "%d", status[i]);
        json_int_t was = json_integer_value(json_object_get(out, key));
        json_object_set_new(out, key, json_integer(was + 1));
    }
    return out;
}

json_t *memory_report(struct vm *vm)
{
    json_t *list = json_array();
    uint64_t page = vm->config->memory.page;
    for (size_t i = 0; i < vm->nmemory; i++) {
        const struct vm_memory *m = &vm->memory[i];
        if (!m->ram)
            continue;
        struct runs r = {0};
        if (vm->pagemap >= 0)
            count_frames(vm, m, &r);
        json_t *o =
            json_pack("{s:I, s:I, s:I, s:i, s:i, s:o, s:I, s:I}", "guest_address",
                      (json_int_t)m->gpa, "bytes", (json_int_t)m->size, "page_bytes",
                      (json_int_t)page, "guest_node", m->node, "bound_to_node",
                      vm->config->memory.nodes[m->node].host_node,
                      "pages_on_node_sampled", sample_nodes(m, page), "pages",
                      (json_int_t)r.pages, "present", (json_int_t)r.present);
        if (r.known) {
            json_object_set_new(o, "contiguous_runs", json_integer((json_int_t)r.runs));
            json_object_set_new(o, "longest_run_bytes",
                                json_integer((json_int_t)(r.longest * page)));
        } else {
            json_object_set_new(o, "contiguous_runs", json_null());
            json_object_set_new(o, "why",
                                json_string(r.present
                                                ? "frame numbers need CAP_SYS_ADMIN"
                                                : "no page is there yet"));
        }
        json_array_append_new(list, o);
    }
    return list;
}
