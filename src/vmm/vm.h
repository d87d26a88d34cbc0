/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's own structure, for the files of the core only. Devices see device.h. */
#pragma once
#include "vmm/config.h"
#include "vmm/device.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>

enum {
    VM_MEMORY_MAX = 64,
    VM_WINDOWS_MAX = 64, /* their slots follow those of memory */
    VM_RANGES_MAX = 256,
    VM_ROUTES_MAX = 4096, /* KVM's own limit */
    VM_EXITS = 48,        /* exit reasons counted one by one; the last takes the rest */
};

/* What all vCPU and I/O threads are asked to be. */
enum vm_want { WANT_PARK, WANT_RUN, WANT_EXIT };

enum vm_state { VM_BUILT, VM_RUNNING, VM_PAUSED, VM_ENDED };

struct vcpu_counters {
    uint64_t exits[VM_EXITS];  /* to user space, by KVM_EXIT_* */
    uint64_t cycles[VM_EXITS]; /* TSC cycles spent on them here */
};

struct vcpu {
    struct vm *vm;
    unsigned index;
    int fd;
    int stats_fd; /* asked for before it runs: later the ioctl waits for the guest */
    struct kvm_run *run;
    pthread_t thread;
    bool started;
    atomic_bool parked;
    struct vcpu_counters count; /* written by its own thread only */
};

struct bus {
    pthread_mutex_t lock;
    struct bus_range *pio[VM_RANGES_MAX], *mmio[VM_RANGES_MAX]; /* by base */
    size_t npio, nmmio;
    uint64_t unclaimed; /* accesses nobody answers: reads give all ones */
};

struct ioapic {
    uint32_t select, id;
    uint64_t entry[LAYOUT_PINS];
    struct bus_range range;
    pthread_mutex_t lock; /* pins are raised from any thread */
};

struct io_thread {
    struct vm *vm;
    unsigned index;
    int epoll, wake;
    pthread_t thread;
    bool started;
    atomic_bool parked;
    pthread_mutex_t lock;
    struct io_watch wake_watch;
    struct io_watch **batch; /* being dispatched */
    int nbatch;
};

/* Power, reset, panic, event device: machine registers without a row of their own. */
struct power {
    struct bus_range sleep, reset, keyboard, panic, ged;
    atomic_uint ged_pending;
    uint8_t panic_events;
};

struct vm {
    struct config *config;
    int kvm, fd, stats_fd;
    size_t run_size;

    int memfd, pagemap;
    struct vm_memory memory[VM_MEMORY_MAX];
    size_t nmemory, nwindows;
    void *reserve; /* address space the RAM is mapped in */
    size_t reserve_size;
    uint64_t mmio32_next, mmio64_base, mmio64_size, mmio64_next;

    struct bus bus;
    struct ioapic ioapic;
    struct power power;
    pthread_mutex_t route_lock;
    struct kvm_irq_routing *routes;
    int next_gsi;

    struct vcpu *vcpus;
    unsigned nvcpus;
    struct kvm_cpuid2 *cpuid;
    uint32_t tsc_khz;
    unsigned exits_disabled; /* enum config_exits, those that hold */

    struct io_thread *io;
    unsigned nio;

    struct device *devices;
    size_t ndevices;
    void *pci;

    _Atomic(int) want; /* enum vm_want; also a futex */
    enum vm_state state;
    _Atomic(int) end; /* enum vm_end */
    int end_fd;       /* eventfd: end or an error was set */
    pthread_mutex_t fail_lock;
    struct err fail;
    int parked_fd; /* eventfd: a thread parked */

    struct kvm_clock_data clock; /* while paused */
    bool clock_valid;
    uint64_t paused_tsc;
    uint64_t entry_us; /* when the first vCPU was let run, CLOCK_MONOTONIC */

    struct control *control;
    struct vm_ckpt *ckpt;
    struct sandbox *sandbox;
    struct dma *dma; /* NULL: no device is passed through */
};

/* vm.c: the machine's life. vm_new builds everything but threads; vm_run ends when the
 * machine does. */
int vm_new(struct config *takes, struct vm **out, struct err *err);
int vm_threads_start(struct vm *vm, struct err *err);
void vm_free(struct vm *vm);
OWN_DEFINE(vm)
/* halt_poll_ns and vcpu: -1 leaves as it is; cpus: a list, or NULL. */
int vm_set_live(struct vm *vm, int64_t halt_poll_ns, int vcpu, json_t *cpus,
                struct err *err);
int vm_pause(struct vm *vm, struct err *err);
int vm_resume(struct vm *vm, struct err *err);
/* Ask vCPU and I/O threads to end, and join them. */
void vm_threads_join(struct vm *vm);
const char *vm_end_name(enum vm_end end);
const char *vm_state_name(enum vm_state state);
/* Sleep until want is no longer PARK; called by a thread that is to park. */
void vm_park(struct vm *vm, atomic_bool *parked);

/* vm_state.c: the whole machine but RAM, while paused. */
int vm_save(struct vm *vm, struct state_writer *w, struct err *err);
/* Into a machine built from a like configuration whose RAM is there and whose threads
 * have not started. Refuses what does not fit, with the reason; then the machine is
 * good for nothing but vm_free(). */
int vm_restore(struct vm *vm, const void *state, size_t len, struct err *err);

/* memory.c */
int memory_init(struct vm *vm, struct err *err);
void memory_done(struct vm *vm);
/* memory_pool.c: refuse, with numbers, what the host's pools cannot give. */
int memory_pool_check(const struct vm *vm, struct err *err);
/* memory_fill.c: touch every page, each node's by threads there. */
int memory_fill(struct vm *vm, struct err *err);
/* memory_report.c */
json_t *memory_report(struct vm *vm);
uint64_t memory_low_end(const struct vm *vm); /* end of RAM below 4 GiB */
int memory_dirty_log(struct vm *vm, bool on, struct err *err);
/* Add what was written since the log was switched on, or asked for last: a bit a 4 KiB
 * page of RAM, in the order of the file. While paused. */
int memory_dirty_fetch(struct vm *vm, uint64_t *map, struct err *err);

/* dma.c */
void dma_done(struct vm *vm);

/* bus.c */
void bus_init(struct vm *vm);
void bus_access(struct vm *vm, bool pio, uint64_t addr, unsigned len, bool write,
                void *data);

/* irq.c */
int irq_init(struct vm *vm, struct err *err);
void irq_done(struct vm *vm);
void irq_eoi(struct vm *vm, uint8_t vector);
void irq_save(struct vm *vm, struct state_writer *w);
int irq_restore(struct vm *vm, struct state_reader *r, struct err *err);

/* power.c */
int power_init(struct vm *vm, struct err *err);
void power_acpi(struct vm *vm, struct aml *aml);
void power_save(struct vm *vm, struct state_writer *w);
int power_restore(struct vm *vm, struct state_reader *r, struct err *err);

/* io.c */
int io_init(struct vm *vm, struct err *err);
int io_start(struct vm *vm, struct err *err);
void io_wake(struct vm *vm);
void io_join(struct vm *vm);
void io_done(struct vm *vm);

/* vcpu.c, cpuid.c, vcpu_state.c */
int vcpu_init_all(struct vm *vm, struct err *err);
int vcpu_start(struct vcpu *v, struct err *err);
void vcpu_kick(struct vcpu *v);
void vcpu_join(struct vcpu *v);
void vcpu_done(struct vcpu *v);
int cpuid_init(struct vm *vm, struct err *err);
/* Where the guest's physical addresses end; 0: not told. */
uint64_t cpuid_address_end(const struct vm *vm);
int cpuid_set(struct vcpu *v, struct err *err);
/* Give all vCPUs this table in place of ours; refuses one that tells of features that
 * this host does not have. */
int cpuid_restore(struct vm *vm, const struct kvm_cpuid_entry2 *entries, size_t count,
                  struct err *err);
/* Have every vCPU's time stamp counter run at khz; -1: this host cannot. */
int cpuid_tsc(struct vm *vm, uint64_t khz);
int vcpu_save(struct vcpu *v, struct state_writer *w, struct err *err);
int vcpu_restore(struct vcpu *v, struct state_reader *r, struct err *err);
int vcpu_clock_pause(struct vm *vm, struct err *err);
int vcpu_clock_resume(struct vm *vm, struct err *err);

/* exits.c: which of `want` can be disabled; 0 when all of them. */
int exits_probe(int kvm, unsigned want, unsigned *hold);

/* boot.c, boot_elf.c, boot_bzimage.c */
struct boot_entry {
    bool long_mode;    /* else 32-bit protected mode, PVH */
    uint64_t rip, arg; /* arg: RSI (boot_params) or EBX (start info) */
};
/* Load kernel, initrd, command line and ACPI tables; the first vCPU gets its state. */
int boot_load(struct vm *vm, struct err *err);
/* Load an ELF or a bzImage held by fd (size bytes) into RAM. 1: it is one, loaded; 0: it
 * is not; -1: it is a broken one. *end: first free byte after it. */
int boot_elf(struct vm *vm, int fd, uint64_t size, struct boot_entry *entry,
             uint64_t *end, struct err *err);
int boot_bzimage(struct vm *vm, int fd, uint64_t size, struct boot_entry *entry,
                 uint64_t *end, struct err *err);
/* What the kernel is told besides. */
struct boot_images {
    uint64_t initrd, initrd_size, rsdp, cmdline_size;
};
int boot_elf_info(struct vm *vm, const struct boot_images *im);
int boot_bzimage_info(struct vm *vm, const struct boot_images *im);
/* size bytes of fd from offset on, straight into RAM. */
int boot_read(struct vm *vm, int fd, uint64_t offset, uint64_t gpa, uint64_t size,
              struct err *err);
enum {
    BOOT_GDT = 0x500,
    BOOT_START_INFO = 0x1000, /* PVH: start info, module, memory map */
    BOOT_PARAMS = 0x7000,     /* bzImage: zero page */
    BOOT_PAGES = 0x9000,      /* 64-bit entry: page tables, 6 pages */
    BOOT_CMDLINE = 0x20000,
    BOOT_CMDLINE_MAX = 0x10000,
    BOOT_LOW_END = 0x9fc00,
    BOOT_ACPI = 0xe0000, /* tables, up to 1 MiB */
    BOOT_RESET_VECTOR = 0xffff0,
    BOOT_ACPI_END = 0x100000,
};
struct boot_e820 {
    uint64_t addr, size;
    uint32_t type; /* 1 RAM, 2 reserved, 3 ACPI tables */
} __attribute__((packed));
/* The map the guest is told; returns the number of entries (at most max). */
unsigned boot_memory_map(const struct vm *vm, struct boot_e820 *map, unsigned max);

/* acpi.c: write the tables at BOOT_ACPI, RSDP first. */
int acpi_build(struct vm *vm, struct err *err);
/* pci.c's part of the DSDT is the host bridge, written here. */

/* control.c */
int control_init(struct vm *vm, struct err *err);
/* Serve until the machine ends. */
int control_run(struct vm *vm, struct err *err);
void control_done(struct vm *vm);
/* stats.c */
json_t *stats_json(struct vm *vm);

/* sandbox.c */
enum sandbox_kind { SANDBOX_CONTROL, SANDBOX_VCPU, SANDBOX_IO, SANDBOX_KINDS };
/* In a new thread, before its work: the filter of its kind. No allocation. */
int sandbox_thread(const struct vm *vm, enum sandbox_kind kind);
