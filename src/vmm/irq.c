/* SPDX-License-Identifier: Apache-2.0 */
/* Interrupts over a split irqchip: the local APICs are KVM's, the IOAPIC is here and has
 * few pins, all edge triggered in our tables (level works too). Devices in this process
 * send MSIs by one ioctl; vhost and VFIO raise theirs by irqfd and a GSI route. */
#include "vmm/vm.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    IOAPIC_SELECT = 0x00,
    IOAPIC_WINDOW = 0x10,
    IOAPIC_EOI = 0x40,
    REG_ID = 0,
    REG_VERSION = 1,
    REG_ARB = 2,
    REG_TABLE = 0x10,
    TAG_SELECT = 1,
    TAG_ID = 2,
    TAG_ENTRIES = 3,
};
#define ENTRY_MASKED    (1ull << 16)
#define ENTRY_LEVEL     (1ull << 15)
#define ENTRY_IRR       (1ull << 14)
#define ENTRY_READ_ONLY (ENTRY_IRR | 1ull << 12)

static void msi_send(const struct vm *vm, uint64_t addr, uint32_t data)
{
    struct kvm_msi msi = {.address_lo = (uint32_t)addr,
                          .address_hi = (uint32_t)(addr >> 32),
                          .data = data};
    ioctl(vm->fd, KVM_SIGNAL_MSI, &msi);
}

/* A redirection entry as the message it sends. Destination bits 55-49 hold bits 14-8 of
 * the id when the guest knows the extended form. */
static void entry_msi(uint64_t e, uint64_t *addr, uint32_t *data)
{
    uint64_t dest = e >> 56, ext = e >> 49 & 0x7f;
    *addr = LAYOUT_LAPIC_BASE | dest << 12 | ext << 5 | (e >> 11 & 1) << 2;
    *data = (e & 0xff) | (e >> 8 & 7) << 8 | (e >> 15 & 1) << 15 | 1u << 14;
}

static int routes_push(struct vm *vm)
{
    return ioctl(vm->fd, KVM_SET_GSI_ROUTING, vm->routes);
}

/* KVM must know level entries to tell us their end of interrupt. */
static void pin_route(struct vm *vm, unsigned pin)
{
    uint64_t addr;
    uint32_t data;
    entry_msi(vm->ioapic.entry[pin], &addr, &data);
    struct kvm_irq_routing_entry *r = &vm->routes->entries[pin];
    bool level = vm->ioapic.entry[pin] & ENTRY_LEVEL;
    bool was = r->u.msi.data & 1u << 15;
    r->u.msi.address_lo = (uint32_t)addr;
    r->u.msi.address_hi = (uint32_t)(addr >> 32);
    r->u.msi.data = data;
    if (level || was)
        routes_push(vm);
}

static uint64_t ioapic_read(void *arg, uint64_t offset, unsigned len)
{
    struct ioapic *io = &((struct vm *)arg)->ioapic;
    if (offset == IOAPIC_SELECT)
        return io->select;
    if (offset != IOAPIC_WINDOW)
        return 0;
    unsigned reg = io->select & 0xff;
    if (reg == REG_ID || reg == REG_ARB)
        return io->id;
    if (reg == REG_VERSION)
        return 0x20 | (LAYOUT_PINS - 1) << 16;
    unsigned pin = (reg - REG_TABLE) / 2;
    if (reg < REG_TABLE || pin >= LAYOUT_PINS)
        return 0;
    return io->entry[pin] >> (reg & 1 ? 32 : 0) & 0xffffffff;
}

static void ioapic_write(void *arg, uint64_t offset, unsigned len, uint64_t value)
{
    struct vm *vm = arg;
    struct ioapic *io = &vm->ioapic;
    if (offset == IOAPIC_EOI)
        irq_eoi(vm, (uint8_t)value);
    if (offset == IOAPIC_SELECT)
        io->select = value & 0xff;
    if (offset != IOAPIC_WINDOW)
        return;
    unsigned reg = io->select, pin = (reg - REG_TABLE) / 2;
    if (reg == REG_ID)
        io->id = value & 0x0f000000;
    if (reg < REG_TABLE || pin >= LAYOUT_PINS)
        return;
    pthread_mutex_lock(&io->lock);
    uint64_t e = io->entry[pin], keep = e & ENTRY_READ_ONLY;
    if (reg & 1)
        e = (e & 0xffffffff) | value << 32;
    else
        e = (e & ~0xffffffffull) | (value & 0xffffffff & ~ENTRY_READ_ONLY) | keep;
    if (!(e & ENTRY_LEVEL))
        e &= ~ENTRY_IRR;
    io->entry[pin] = e;
    pin_route(vm, pin);
    pthread_mutex_unlock(&io->lock);
}

void irq_eoi(struct vm *vm, uint8_t vector)
{
    struct ioapic *io = &vm->ioapic;
    pthread_mutex_lock(&io->lock);
    for (unsigned i = 0; i < LAYOUT_PINS; i++)
        if ((io->entry[i] & 0xff) == vector && io->entry[i] & ENTRY_LEVEL)
            io->entry[i] &= ~ENTRY_IRR;
    pthread_mutex_unlock(&io->lock);
}

void vm_pin_pulse(struct vm *vm, unsigned pin)
{
    struct ioapic *io = &vm->ioapic;
    if (pin >= LAYOUT_PINS)
        return;
    uint64_t addr = 0;
    uint32_t data;
    pthread_mutex_lock(&io->lock);
    uint64_t e = io->entry[pin];
    if (!(e & (ENTRY_MASKED | ENTRY_IRR))) {
        if (e & ENTRY_LEVEL)
            io->entry[pin] |= ENTRY_IRR;
        entry_msi(e, &addr, &data);
    }
    pthread_mutex_unlock(&io->lock);
    if (addr)
        msi_send(vm, addr, data);
}

int irq_init(struct vm *vm, struct err *err)
{
    struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {LAYOUT_PINS}};
    if (ioctl(vm->fd, KVM_ENABLE_CAP, &split) < 0)
        return err_sys(err, "KVM: split irqchip");
    vm->routes =
        calloc(1, sizeof *vm->routes + VM_ROUTES_MAX * sizeof vm->routes->entries[0]);
    if (!vm->routes)
        return err_oom(err);
    pthread_mutex_init(&vm->route_lock, NULL);
    pthread_mutex_init(&vm->ioapic.lock, NULL);
    for (unsigned i = 0; i < LAYOUT_PINS; i++) {
        vm->ioapic.entry[i] = ENTRY_MASKED;
        vm->routes->entries[i] =
            (struct kvm_irq_routing_entry){.gsi = i, .type = KVM_IRQ_ROUTING_MSI};
        uint64_t addr;
        entry_msi(0, &addr, &vm->routes->entries[i].u.msi.data);
        vm->routes->entries[i].u.msi.address_lo = (uint32_t)addr;
    }
    vm->routes->nr = LAYOUT_PINS;
    vm->next_gsi = LAYOUT_PINS;
    if (routes_push(vm) < 0)
        return err_sys(err, "KVM: interrupt routes");
    vm->ioapic.range = (struct bus_range){.base = LAYOUT_IOAPIC_BASE,
                                          .size = 0x1000,
                                          .name = "ioapic",
                                          .read = ioapic_read,
                                          .write = ioapic_write,
                                          .arg = vm};
    return bus_add(vm, &vm->ioapic.range, err);
}

void irq_done(struct vm *vm)
{
    free(vm->routes);
    vm->routes = NULL;
}

void vm_irq_init(struct vm *vm, struct vm_irq *irq)
{
    *irq = (struct vm_irq){.vm = vm, .masked = true, .fd = -1, .gsi = -1};
}

static void wire(struct vm_irq *irq, bool on)
{
    struct kvm_irqfd k = {.fd = (uint32_t)irq->fd,
                          .gsi = (uint32_t)irq->gsi,
                          .flags = on ? 0 : KVM_IRQFD_FLAG_DEASSIGN};
    if (irq->wired != on && ioctl(irq->vm->fd, KVM_IRQFD, &k) == 0)
        irq->wired = on;
}

void vm_irq_set(struct vm_irq *irq, uint64_t addr, uint32_t data, bool masked)
{
    atomic_store(&irq->addr, addr);
    atomic_store(&irq->data, data);
    if (irq->gsi >= 0) {
        struct vm *vm = irq->vm;
        pthread_mutex_lock(&vm->route_lock);
        struct kvm_irq_routing_entry *e = &vm->routes->entries[irq->gsi];
        bool same = e->u.msi.address_lo == (uint32_t)addr &&
                    e->u.msi.address_hi == (uint32_t)(addr >> 32) &&
                    e->u.msi.data == data;
        e->u.msi.address_lo = (uint32_t)addr;
        e->u.msi.address_hi = (uint32_t)(addr >> 32);
        e->u.msi.data = data;
        if (!masked && (!same || !irq->wired))
            routes_push(vm);
        /* Detached, the eventfd keeps what is raised; attached again, KVM takes it. */
        wire(irq, !masked);
        pthread_mutex_unlock(&vm->route_lock);
    }
    atomic_store(&irq->masked, masked);
    if (!masked && atomic_exchange(&irq->pending, false))
        msi_send(irq->vm, addr, data);
}

void vm_irq_raise(struct vm_irq *irq)
{
    if (atomic_load(&irq->masked)) {
        atomic_store(&irq->pending, true);
        /* Unmasked meanwhile? Then nobody else sees the bit. */
        if (atomic_load(&irq->masked) || !atomic_exchange(&irq->pending, false))
            return;
    }
    msi_send(irq->vm, atomic_load(&irq->addr), (uint32_t)atomic_load(&irq->data));
}

bool vm_irq_pending(const struct vm_irq *irq)
{
    return atomic_load(&irq->pending);
}

void vm_irq_clear_pending(struct vm_irq *irq)
{
    atomic_store(&irq->pending, false);
}

int vm_irq_fd(struct vm_irq *irq, struct err *err)
{
    struct vm *vm = irq->vm;
    if (irq->fd >= 0)
        return irq->fd;
    if (vm->next_gsi == VM_ROUTES_MAX)
        return err_set(err, E_BUSY, "more than %d interrupts", VM_ROUTES_MAX);
    irq->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (irq->fd < 0)
        return err_sys(err, "eventfd");
    irq->gsi = vm->next_gsi++;
    struct kvm_irq_routing_entry *e = &vm->routes->entries[irq->gsi];
    *e = (struct kvm_irq_routing_entry){.gsi = (uint32_t)irq->gsi,
                                        .type = KVM_IRQ_ROUTING_MSI};
    e->u.msi.address_lo = (uint32_t)LAYOUT_LAPIC_BASE;
    vm->routes->nr = (uint32_t)vm->next_gsi;
    return irq->fd;
}

void vm_irq_done(struct vm_irq *irq)
{
    if (irq->fd < 0)
        return;
    wire(irq, false);
    close(irq->fd);
    irq->fd = -1;
}

int vm_ioeventfd(struct vm *vm, uint64_t gpa, unsigned len, int fd, bool on,
                 struct err *err)
{
    struct kvm_ioeventfd k = {.addr = gpa,
                              .len = len,
                              .fd = fd,
                              .flags = on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN};
    if (ioctl(vm->fd, KVM_IOEVENTFD, &k) < 0)
        return err_sys(err, "KVM: ioeventfd at 0x%llx", (unsigned long long)gpa);
    return 0;
}

void irq_save(struct vm *vm, struct state_writer *w)
{
    state_begin(w, "ioapic", 1);
    state_put_u64(w, TAG_SELECT, vm->ioapic.select);
    state_put_u64(w, TAG_ID, vm->ioapic.id);
    state_put(w, TAG_ENTRIES, vm->ioapic.entry, sizeof vm->ioapic.entry);
    state_end(w);
}

int irq_restore(struct vm *vm, struct state_reader *r, struct err *err)
{
    uint64_t select, id;
    struct ioapic *io = &vm->ioapic;
    if (state_find(r, "ioapic", err) < 0 ||
        state_get_u64(r, TAG_SELECT, &select, err) < 0 ||
        state_get_u64(r, TAG_ID, &id, err) < 0 ||
        state_get(r, TAG_ENTRIES, io->entry, sizeof io->entry, err) < 0)
        return -1;
    io->select = select & 0xff;
    io->id = id & 0x0f000000;
    for (unsigned i = 0; i < LAYOUT_PINS; i++)
        pin_route(vm, i);
    return 0;
}
