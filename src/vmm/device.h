/* SPDX-License-Identifier: Apache-2.0 */
/* Devices: each is one row, struct device_ops; and what the machine offers them.
 *
 * Who runs what:
 * - set-up thread (= control thread later): decode, init, acpi, done; before the
 * sandbox closes. Open, map, allocate here and only here.
 * - vCPU threads: bus callbacks (struct bus_range), one at a time for the whole machine
 *   (the bus lock is held). They may not allocate, log, or wait. What the guest does
 *   often must not come here: queue notifications go by ioeventfd.
 * - I/O threads: watch callbacks, one at a time per thread (its lock is held). A bus
 *   callback that must not run beside a watch callback (reset, queue enable) brackets
 *   itself with io_lock()/io_unlock(). Order: bus lock, then one I/O lock.
 * - control thread: pause, save, restore, resume, stats, command.
 *
 * Pausing has a defined point: first every vCPU has left the guest with no access half
 * done, then every I/O thread stands between two callbacks, then pause() of each row in
 * order. In pause() a device brings what it has in flight to its end (collects
 * completions, stops vhost), so that save() sees a machine at rest; resume() starts it
 * again. pause, save, restore, resume run with all other threads parked: no locks
 * needed. The guest's memory belongs to the machine, not to the device's state. */
#pragma once
#include "base/err.h"
#include "ckpt/state.h"
#include "vmm/layout.h"

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vm;
struct device;
struct aml;

struct device_ops {
    const char *name;  /* "type" in the configuration; configure can leave it out */
    const char *help;  /* one line: its members, for --help */
    size_t state_size; /* of what dev->state points to, zeroed */
    unsigned max;      /* how many of it a machine may have; 0: any number */
    /* Check `in` strictly and keep it in dev->state. Computes only: opens nothing.
     * "type" and "id" are already taken off. Strings may be borrowed from `in`. */
    int (*decode)(struct device *dev, json_t *in, struct err *err);
    int (*init)(struct device *dev, struct err *err);  /* required */
    void (*acpi)(struct device *dev, struct aml *aml); /* add to the DSDT's \_SB */
    /* After restore and in the sandbox, before the first vCPU runs: threads. Optional.
     */
    int (*start)(struct device *dev, struct err *err);
    int (*pause)(struct device *dev, struct err *err);
    int (*resume)(struct device *dev, struct err *err);
    /* Both or neither: without them the machine cannot be checkpointed, and says so. */
    void (*save)(struct device *dev, struct state_writer *w);
    int (*restore)(struct device *dev, const struct state_reader *r, struct err *err);
    /* Does somebody outside this process (vhost) write to the guest's memory for it now,
     * whom vm_mark_dirty() does not see? Optional. */
    bool (*untracked)(struct device *dev);
    /* Numbers for the control socket: a new object or NULL. */
    json_t *(*stats)(struct device *dev);
    /* The control socket's "set": {"device": ID, members...}. Optional. */
    int (*set)(struct device *dev, json_t *params, struct err *err);
    void (*done)(
        struct device *dev); /* also after a failed init; state is freed after */
    /* Outside of the sandbox, when the machine is gone: take away what it left in the
     * file system (`in` as decode had it). Optional. */
    void (*forget)(json_t *in);
};

struct device {
    const struct device_ops *ops;
    struct vm *vm;
    char *id;       /* unique in the machine; "blk0" when not given */
    void *state;    /* ops->state_size bytes */
    unsigned index; /* among all devices, in the configuration's order */
    /* Guest broke the rules (bad descriptor, wild access): counted, shown in stats. */
    atomic_uint_fast64_t guest_errors;
};

/* All rows of this build, ends in NULL (devices.c). */
extern const struct device_ops *const device_types[];
const struct device_ops *device_type(const char *name);

/* A descriptor given as {"path": P} or {"fd": N} in a device's configuration. Checks
 * that exactly one is there. Steals nothing. */
struct device_file {
    const char *path; /* borrowed, or NULL */
    int fd;           /* -1 when by path */
};
/* The open descriptor (the caller's; of a given number: that number itself). */
int device_file_open(const struct device_file *f, int flags, struct err *err);

/* --- guest memory -------------------------------------------------------- */

/* One piece of guest-physical address space backed by memory. */
struct vm_memory {
    uint64_t gpa, size;
    void *hva;
    int fd;          /* memfd (RAM) or file behind it; -1 none */
    uint64_t offset; /* in fd */
    bool readonly;
    bool ram; /* RAM of the guest (E820), not a device's */
    int node; /* guest's NUMA node */
    int slot; /* KVM's */
    /* One bit a 4 KiB page, set by vm_mark_dirty while tracking is on; else NULL. */
    _Atomic(uint64_t) *dirty;
};
/* For vhost and vhost-user. Fixed once the machine runs. */
const struct vm_memory *vm_memory_list(const struct vm *vm, size_t *count);

/* Host address of [gpa, gpa+len), or NULL unless all of it lies in one piece of RAM.
 * Any thread. len 0 is NULL. */
void *vm_hva(const struct vm *vm, uint64_t gpa, uint64_t len);
/* Tell the tracker of dirty memory what the VMM itself wrote (KVM sees only the
 * guest's writes). To be called after each write through vm_hva. Any thread. */
void vm_mark_dirty(const struct vm *vm, uint64_t gpa, uint64_t len);
/* Copy, across pieces if need be, marking writes; -1 when a byte is outside of RAM. */
int vm_read(const struct vm *vm, uint64_t gpa, void *out, uint64_t len);
int vm_write(const struct vm *vm, uint64_t gpa, const void *data, uint64_t len);

/* Give the guest a window of device memory (pmem, shared memory). hva and gpa must
 * agree modulo 2 MiB for large pages. Set-up only. */
int vm_memory_add(struct vm *vm, uint64_t gpa, uint64_t size, void *hva, int fd,
                  uint64_t offset, bool readonly, struct err *err);
/* A window of a device's own memory that comes and goes while the machine runs: its
 * number (set-up only; -1), then where it is; size 0: nowhere. Bus callback or set-up. */
int vm_window_new(struct vm *vm, struct err *err);
int vm_window_map(struct vm *vm, int window, uint64_t gpa, uint64_t size, void *hva);
/* Let the devices of a VFIO group (by its path or descriptor; asked for again, the same
 * one) reach all of RAM at the guest's addresses. The group's descriptor stays the
 * machine's. Set-up only. */
int vm_dma_group(struct vm *vm, const struct device_file *f, struct err *err);
/* Is RAM pinned for such devices? Then its pages stay where they are. */
bool vm_dma_used(const struct vm *vm);
/* Room in the PCI windows for BARs and for device memory, aligned to `align` (a power
 * of two). Set-up only. 0 with err when the window is full. */
uint64_t vm_alloc_mmio32(struct vm *vm, uint64_t size, uint64_t align, struct err *err);
uint64_t vm_alloc_mmio64(struct vm *vm, uint64_t size, uint64_t align, struct err *err);
/* The 64-bit window, as the DSDT names it. */
void vm_pci64_window(const struct vm *vm, uint64_t *base, uint64_t *size);

/* --- bus ----------------------------------------------------------------- */

/* A range of registers. len is 1, 2, 4 or 8 and the access lies wholly in the range;
 * it need not be aligned. What read gives is cut to len. NULL read: all ones. */
struct bus_range {
    uint64_t base, size;
    bool pio;
    const char *name;
    uint64_t (*read)(void *arg, uint64_t offset, unsigned len);
    void (*write)(void *arg, uint64_t offset, unsigned len, uint64_t value);
    void *arg;
    bool on; /* the bus's */
};
/* Takes effect at once. Refuses an overlap, and a range that meets RAM. The range stays
 * the caller's and must outlive its being on. */
int bus_add(struct vm *vm, struct bus_range *r, struct err *err);
void bus_remove(struct vm *vm, struct bus_range *r);
/* From inside a bus callback (BAR moved, decoding switched): no allocation, no lock.
 * false: no room or overlap; the range is then off. */
bool bus_move(struct vm *vm, struct bus_range *r, uint64_t base);
void bus_off(struct vm *vm, struct bus_range *r);

/* --- interrupts ---------------------------------------------------------- */

/* One message-signalled interrupt (an entry of an MSI-X table). */
struct vm_irq {
    struct vm *vm;
    atomic_uint_fast64_t addr;
    atomic_uint_fast32_t data;
    atomic_bool masked, pending;
    int fd;     /* irqfd, once vm_irq_fd() was called; else -1 */
    int gsi;    /* of the irqfd; else -1 */
    bool wired; /* irqfd is attached now */
};
void vm_irq_init(struct vm *vm, struct vm_irq *irq); /* masked */
/* From bus callbacks: the table's entry changed. Unmasking delivers what is pending. */
void vm_irq_set(struct vm_irq *irq, uint64_t addr, uint32_t data, bool masked);
/* Raise; if masked, it becomes pending. Any thread, no lock. */
void vm_irq_raise(struct vm_irq *irq);
bool vm_irq_pending(const struct vm_irq *irq);
void vm_irq_clear_pending(struct vm_irq *irq);
/* An eventfd that raises it from outside this process (vhost, VFIO). Set-up only; made
 * once, stays the irq's. -1 on failure. */
int vm_irq_fd(struct vm_irq *irq, struct err *err);
void vm_irq_done(struct vm_irq *irq);

/* An edge on an IOAPIC pin. Any thread. */
void vm_pin_pulse(struct vm *vm, unsigned pin);
/* Tell the guest by the ACPI event device. Any thread. */
void vm_ged_raise(struct vm *vm, uint32_t bits);

/* A write of len bytes (0: any) at gpa signals fd in the kernel. Bus callback or
 * set-up. `on` false takes it back. */
int vm_ioeventfd(struct vm *vm, uint64_t gpa, unsigned len, int fd, bool on,
                 struct err *err);

/* --- I/O threads --------------------------------------------------------- */

struct io_thread;
/* Thread n modulo how many there are. Never NULL. */
struct io_thread *vm_io_thread(struct vm *vm, unsigned n);

struct io_watch {
    int fd;
    void (*ready)(struct io_watch *w, uint32_t events);
    void *arg;
    struct io_thread *thread; /* the loop's */
};
/* Level-triggered epoll events. Set-up, or from a callback of the same thread, or under
 * its lock. After io_watch_del its ready is not called again. */
int io_watch_add(struct io_thread *t, struct io_watch *w, uint32_t events,
                 struct err *err);
int io_watch_mod(struct io_watch *w, uint32_t events);
void io_watch_del(struct io_watch *w);
void io_lock(struct io_thread *t);
void io_unlock(struct io_thread *t);
/* A thread of the device's own (from start() only): on the housekeeping CPUs, signals
 * blocked, under the I/O threads' seccomp filter. The device ends and joins it in
 * done(), and parks it in pause(). Small stack (256 KiB). */
int vm_thread(struct vm *vm, const char *name, void *(*fn)(void *), void *arg,
              pthread_t *out, struct err *err);

/* --- the machine as a whole ---------------------------------------------- */

/* What the guest asked for or what befell it; the first one counts. Any thread. */
enum vm_end {
    VM_END_NONE,
    VM_END_POWEROFF,
    VM_END_REBOOT,
    VM_END_PANIC,
    VM_END_TRIPLE_FAULT,
    VM_END_STOPPED, /* stop's deadline passed */
    VM_END_KILLED,  /* control socket or signal */
    VM_END_ERROR,   /* KVM or a device failed; vm's error tells */
};
void vm_end(struct vm *vm, enum vm_end why);
/* A failure on the host's side that the machine cannot survive. Any thread but vCPUs.
 */
void vm_fail(struct vm *vm, const struct err *err);
/* A line to every control client that asked for events: {"event": name, ...}. Steals
 * data. Control thread only. */
void vm_event(struct vm *vm, const char *name, json_t *data);

const char *vm_name(const struct vm *vm);
unsigned vm_vcpus(const struct vm *vm);
/* KVM's descriptor of the machine, for VFIO and vhost. */
int vm_kvm_fd(const struct vm *vm);

/* --- PCI (pci.c), called by the machine ----------------------------------- */
int pci_host_init(struct vm *vm, struct err *err); /* registers ECAM */
void pci_host_done(struct vm *vm);
/* The slot the machine keeps for pci.c's own structure. */
void **vm_pci(struct vm *vm);
void pci_host_save(struct vm *vm, struct state_writer *w);
int pci_host_restore(struct vm *vm, struct state_reader *r, struct err *err);
