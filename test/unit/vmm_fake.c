/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm_fake.h"

#include "vmm/pci.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum { RANGES = 64, WATCHES = 128, DEVICES = 8, PCI64 = 1 };

struct io_thread {
    struct io_watch *watch[WATCHES];
    uint32_t events[WATCHES];
};

struct vm {
    uint8_t *memory;
    struct vm_memory piece;
    struct bus_range *range[RANGES];
    struct io_thread io;
    struct device device[DEVICES];
    json_t *config[DEVICES];
    char ids[DEVICES][16];
    unsigned ndevices;
    void *pci;
    uint64_t next_bar;
    unsigned interrupts;
};

#define WINDOW_BASE (4 * GIB)
#define WINDOW_SIZE (4 * GIB)

struct vm *fake_new(void)
{
    struct vm *vm = calloc(1, sizeof *vm);
    vm->memory = calloc(1, FAKE_MEMORY);
    vm->next_bar = WINDOW_BASE;
    /* The descriptor is for servers of vhost-user, which get it and do nothing. */
    vm->piece = (struct vm_memory){.size = FAKE_MEMORY,
                                   .hva = vm->memory,
                                   .fd = memfd_create("guest", MFD_CLOEXEC),
                                   .ram = true};
    if (pci_host_init(vm, NULL) < 0)
        abort();
    return vm;
}

void fake_free(struct vm *vm)
{
    for (unsigned i = vm->ndevices; i--;) {
        vm->device[i].ops->done(&vm->device[i]);
        free(vm->device[i].state);
        json_decref(vm->config[i]);
    }
    pci_host_done(vm);
    close(vm->piece.fd);
    free(vm->memory);
    free(vm);
}

uint8_t *fake_memory(struct vm *vm)
{
    return vm->memory;
}

struct device *fake_device(struct vm *vm, const char *type, const char *json,
                           struct err *err)
{
    unsigned n = vm->ndevices;
    struct device *d = &vm->device[n];
    const struct device_ops *ops = device_type(type);
    json_t *in = json_loads(json, 0, NULL);
    if (n == DEVICES || !ops || !in)
        abort();
    snprintf(vm->ids[n], sizeof vm->ids[n], "%s%u", type, n);
    *d = (struct device){.ops = ops, .vm = vm, .id = vm->ids[n], .index = n};
    d->state = calloc(1, ops->state_size);
    if (ops->decode(d, in, err) < 0) {
        free(d->state);
        json_decref(in);
        return NULL;
    }
    vm->config[n] = in;
    vm->ndevices++;
    return ops->init(d, err) < 0 ? NULL : d;
}

static struct bus_range *find(struct vm *vm, bool pio, uint64_t addr, unsigned len)
{
    for (unsigned i = 0; i < RANGES; i++) {
        struct bus_range *r = vm->range[i];
        if (r && r->on && r->pio == pio && addr >= r->base && len <= r->size &&
            addr - r->base <= r->size - len)
            return r;
    }
    return NULL;
}

uint64_t fake_read(struct vm *vm, bool pio, uint64_t addr, unsigned len)
{
    struct bus_range *r = find(vm, pio, addr, len);
    uint64_t ones = len == 8 ? ~0ull : (1ull << 8 * len) - 1;
    return r && r->read ? r->read(r->arg, addr - r->base, len) & ones : ones;
}

void fake_write(struct vm *vm, bool pio, uint64_t addr, unsigned len, uint64_t v)
{
    struct bus_range *r = find(vm, pio, addr, len);
    if (r && r->write)
        r->write(r->arg, addr - r->base, len, v);
}

void fake_run(struct vm *vm, int ms, unsigned turns)
{
    while (turns--) {
        struct pollfd p[WATCHES];
        bool any = false;
        for (unsigned i = 0; i < WATCHES; i++)
            p[i] = (struct pollfd){.fd = vm->io.watch[i] ? vm->io.watch[i]->fd : -1,
                                   .events = (short)vm->io.events[i]};
        if (poll(p, WATCHES, ms) <= 0)
            return;
        for (unsigned i = 0; i < WATCHES; i++) {
            struct io_watch *w = vm->io.watch[i];
            if (!p[i].revents || !w || w->fd != p[i].fd)
                continue;
            w->ready(w, (uint32_t)p[i].revents);
            any = true;
        }
        if (!any)
            return;
        ms = ms ? 20 : 0; /* without patience from the start: none later */
    }
}

unsigned fake_interrupts(struct vm *vm)
{
    unsigned n = vm->interrupts;
    vm->interrupts = 0;
    return n;
}

/* --- what the machine gives to devices (device.h) ---------------------------------- */

const struct vm_memory *vm_memory_list(const struct vm *vm, size_t *count)
{
    *count = 1;
    return &vm->piece;
}

void *vm_hva(const struct vm *vm, uint64_t gpa, uint64_t len)
{
    return len && len <= FAKE_MEMORY && gpa <= FAKE_MEMORY - len ? vm->memory + gpa
                                                                 : NULL;
}

void vm_mark_dirty(const struct vm *vm, uint64_t gpa, uint64_t len)
{
    if (!vm_hva(vm, gpa, len))
        abort(); /* a device says it wrote outside of memory */
}

int vm_memory_add(struct vm *vm, uint64_t gpa, uint64_t size, void *hva, int fd,
                  uint64_t offset, bool readonly, struct err *err)
{
    return 0;
}

uint64_t vm_alloc_mmio32(struct vm *vm, uint64_t size, uint64_t align, struct err *err)
{
    return 0;
}

int vm_window_new(struct vm *vm, struct err *err)
{
    return 0;
}

int vm_window_map(struct vm *vm, int window, uint64_t gpa, uint64_t size, void *hva)
{
    return 0;
}

int vm_dma_group(struct vm *vm, const struct device_file *f, struct err *err)
{
    return err_set(err, E_UNAVAIL, "no VFIO");
}

void vm_fail(struct vm *vm, const struct err *err)
{
    abort(); /* no device here has a host that fails */
}

bool vm_dma_used(const struct vm *vm)
{
    return false;
}

uint64_t vm_alloc_mmio64(struct vm *vm, uint64_t size, uint64_t align, struct err *err)
{
    uint64_t at = (vm->next_bar + align - 1) & ~(align - 1);
    vm->next_bar = at + size;
    return at;
}

void vm_pci64_window(const struct vm *vm, uint64_t *base, uint64_t *size)
{
    *base = WINDOW_BASE;
    *size = WINDOW_SIZE;
}

static bool overlaps(struct vm *vm, const struct bus_range *r, uint64_t base)
{
    for (unsigned i = 0; i < RANGES; i++) {
        const struct bus_range *o = vm->range[i];
        if (o && o != r && o->on && o->pio == r->pio && base < o->base + o->size &&
            o->base < base + r->size)
            return true;
    }
    return false;
}

bool bus_move(struct vm *vm, struct bus_range *r, uint64_t base)
{
    bus_off(vm, r);
    if (overlaps(vm, r, base))
        return false;
    for (unsigned i = 0; i < RANGES; i++)
        if (!vm->range[i]) {
            vm->range[i] = r;
            r->base = base;
            return r->on = true;
        }
    return false;
}

void bus_off(struct vm *vm, struct bus_range *r)
{
    r->on = false;
    for (unsigned i = 0; i < RANGES; i++)
        if (vm->range[i] == r)
            vm->range[i] = NULL;
}

int bus_add(struct vm *vm, struct bus_range *r, struct err *err)
{
    return bus_move(vm, r, r->base) ? 0 : err_set(err, E_EXISTS, "overlap");
}

void bus_remove(struct vm *vm, struct bus_range *r)
{
    bus_off(vm, r);
}

void vm_irq_init(struct vm *vm, struct vm_irq *irq)
{
    *irq = (struct vm_irq){.vm = vm, .fd = -1, .gsi = -1};
    atomic_store(&irq->masked, true);
}

void vm_irq_set(struct vm_irq *irq, uint64_t addr, uint32_t data, bool masked)
{
    atomic_store(&irq->addr, addr);
    atomic_store(&irq->data, data);
    atomic_store(&irq->masked, masked);
    if (!masked && atomic_exchange(&irq->pending, false))
        irq->vm->interrupts++;
}

void vm_irq_raise(struct vm_irq *irq)
{
    if (atomic_load(&irq->masked))
        atomic_store(&irq->pending, true);
    else
        irq->vm->interrupts++;
}

bool vm_irq_pending(const struct vm_irq *irq)
{
    return atomic_load(&irq->pending);
}

void vm_irq_clear_pending(struct vm_irq *irq)
{
    atomic_store(&irq->pending, false);
}

/* Nobody listens: an interrupt by it is not counted. */
int vm_irq_fd(struct vm_irq *irq, struct err *err)
{
    if (irq->fd < 0)
        irq->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return irq->fd >= 0 ? irq->fd : err_sys(err, "eventfd");
}

void vm_irq_done(struct vm_irq *irq)
{
    if (irq->fd >= 0)
        close(irq->fd);
    irq->fd = -1;
}

void vm_pin_pulse(struct vm *vm, unsigned pin)
{
    vm->interrupts++;
}

void vm_ged_raise(struct vm *vm, uint32_t bits)
{
    vm->interrupts++;
}

int vm_ioeventfd(struct vm *vm, uint64_t gpa, unsigned len, int fd, bool on,
                 struct err *err)
{
    return err_set(err, E_UNAVAIL, "no kernel here");
}

struct io_thread *vm_io_thread(struct vm *vm, unsigned n)
{
    return &vm->io;
}

int io_watch_add(struct io_thread *t, struct io_watch *w, uint32_t events,
                 struct err *err)
{
    for (unsigned i = 0; i < WATCHES; i++) {
        if (t->watch[i])
            continue;
        t->watch[i] = w;
        t->events[i] = events;
        w->thread = t;
        return 0;
    }
    return err_set(err, E_BUG, "too many watches");
}

int io_watch_mod(struct io_watch *w, uint32_t events)
{
    for (unsigned i = 0; i < WATCHES; i++)
        if (w->thread->watch[i] == w)
            w->thread->events[i] = events;
    return 0;
}

void io_watch_del(struct io_watch *w)
{
    for (unsigned i = 0; w->thread && i < WATCHES; i++)
        if (w->thread->watch[i] == w)
            w->thread->watch[i] = NULL;
    w->thread = NULL;
}

void io_lock(struct io_thread *t)
{
}

void io_unlock(struct io_thread *t)
{
}

void **vm_pci(struct vm *vm)
{
    return &vm->pci;
}
