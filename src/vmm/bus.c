/* SPDX-License-Identifier: Apache-2.0 */
/* The bus: who answers which I/O port and which guest-physical register. Two sorted
 * arrays of ranges; one lock around every access and change. Called by vCPU threads on
 * MMIO and PIO exits; what the guest does often is caught by ioeventfd in the kernel. */
#include "vmm/vm.h"

#include <string.h>

void bus_init(struct vm *vm)
{
    pthread_mutex_init(&vm->bus.lock, NULL);
}

static struct bus_range **side(struct bus *b, bool pio, size_t **count)
{
    *count = pio ? &b->npio : &b->nmmio;
    return pio ? b->pio : b->mmio;
}

/* Index of the first range whose end lies behind addr. */
static size_t find(struct bus_range *const *list, size_t n, uint64_t addr)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (list[mid]->base + list[mid]->size - 1 < addr)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool meets_memory(const struct vm *vm, uint64_t base, uint64_t size)
{
    for (size_t i = 0; i < vm->nmemory; i++) {
        const struct vm_memory *m = &vm->memory[i];
        if (base < m->gpa + m->size && m->gpa < base + size)
            return true;
    }
    return false;
}

static bool insert(struct vm *vm, struct bus_range *r)
{
    size_t *n;
    struct bus_range **list = side(&vm->bus, r->pio, &n);
    uint64_t last = r->base + r->size - 1;
    if (r->size == 0 || last < r->base || *n == VM_RANGES_MAX || r->on ||
        (r->pio && last > 0xffff) || (!r->pio && meets_memory(vm, r->base, r->size)))
        return false;
    size_t at = find(list, *n, r->base);
    if (at < *n && list[at]->base <= last)
        return false;
    memmove(list + at + 1, list + at, (*n - at) * sizeof *list);
    list[at] = r;
    ++*n;
    return r->on = true;
}

int bus_add(struct vm *vm, struct bus_range *r, struct err *err)
{
    pthread_mutex_lock(&vm->bus.lock);
    bool ok = insert(vm, r);
    pthread_mutex_unlock(&vm->bus.lock);
    return ok ? 0
              : err_set(err, E_BUG, "%s: no room on the bus for %s 0x%llx, %llu bytes",
                        r->name, r->pio ? "port" : "address",
                        (unsigned long long)r->base, (unsigned long long)r->size);
}

void bus_off(struct vm *vm, struct bus_range *r)
{
    if (!r->on)
        return;
    size_t *n;
    struct bus_range **list = side(&vm->bus, r->pio, &n);
    size_t at = find(list, *n, r->base);
    memmove(list + at, list + at + 1, (*n - at - 1) * sizeof *list);
    --*n;
    r->on = false;
}

void bus_remove(struct vm *vm, struct bus_range *r)
{
    pthread_mutex_lock(&vm->bus.lock);
    bus_off(vm, r);
    pthread_mutex_unlock(&vm->bus.lock);
}

bool bus_move(struct vm *vm, struct bus_range *r, uint64_t base)
{
    bus_off(vm, r);
    r->base = base;
    return insert(vm, r);
}

/* An access of len (1 to 8) bytes; what nobody claims reads as ones. An access that
 * hangs over the end of a range is not that range's. */
void bus_access(struct vm *vm, bool pio, uint64_t addr, unsigned len, bool write,
                void *data)
{
    uint64_t value = 0;
    if (len > sizeof value)
        return;
    if (write)
        memcpy(&value, data, len);
    pthread_mutex_lock(&vm->bus.lock);
    size_t *n;
    struct bus_range **list = side(&vm->bus, pio, &n);
    size_t at = find(list, *n, addr);
    struct bus_range *r = at < *n ? list[at] : NULL;
    bool ok = r && addr >= r->base && addr - r->base <= r->size - len && r->size >= len;
    if (!ok) {
        vm->bus.unclaimed++;
        value = ~0ull;
    } else if (write) {
        if (r->write)
            r->write(r->arg, addr - r->base, len, value);
    } else {
        value = r->read ? r->read(r->arg, addr - r->base, len) : ~0ull;
    }
    pthread_mutex_unlock(&vm->bus.lock);
    if (!write)
        memcpy(data, &value, len);
}
