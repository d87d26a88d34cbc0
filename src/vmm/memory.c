/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's RAM: one memfd, mapped in pieces (cut at the hole below 4 GiB and where a
 * NUMA node ends) at addresses that agree with the guest's modulo 1 GiB, bound before it
 * is touched; KVM's slots of it; access to it from here; what was written to it. */
#include "vmm/ckpt.h"
#include "vmm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif
enum { NUMA_NODES_MAX = 1024 };

static uint64_t round_up(uint64_t v, uint64_t to)
{
    return (v + to - 1) / to * to;
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
    if (memory_pool_check(vm, err) < 0 || create_memfd(vm, err) < 0 ||
        map_all(vm, err) < 0)
        return -1;
    /* What comes from a checkpoint bit by bit is not filled with zeros first. */
    if (vm->config->memory.prealloc &&
        vm->config->restore.mode <= CONFIG_RESTORE_READ && memory_fill(vm, err) < 0)
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

int vm_window_new(struct vm *vm, struct err *err)
{
    if (vm->nwindows == VM_WINDOWS_MAX)
        return err_set(err, E_CONFIG, "devices: more than %d windows of memory",
                       VM_WINDOWS_MAX);
    return VM_MEMORY_MAX + (int)vm->nwindows++;
}

int vm_window_map(struct vm *vm, int window, uint64_t gpa, uint64_t size, void *hva)
{
    const struct vm_memory m = {.gpa = gpa, .size = size, .hva = hva, .slot = window};
    return add_slot(vm, &m, 0, NULL);
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
    uint64_t told = vm->mmio64_base + vm->mmio64_size, end = cpuid_address_end(vm);
    uint64_t at =
        window_take(&vm->mmio64_next, end > told ? end : told, size, align, err);
    if (vm->mmio64_next > told)
        vm->mmio64_size = round_up(vm->mmio64_next, GIB) - vm->mmio64_base;
    return at;
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
