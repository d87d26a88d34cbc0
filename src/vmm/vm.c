/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's life: built in the order in which things need each other, run by its
 * threads, paused at one defined point, saved and restored by its parts and its rows. */
#include "vmm/vm.h"
#include "vmm/ckpt.h"
#include "vmm/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

enum { PARK_DEADLINE_MS = 10000 };

const char *vm_end_name(enum vm_end end)
{
    static const char *const names[] = {[VM_END_NONE] = "running",
                                        [VM_END_POWEROFF] = "power-off",
                                        [VM_END_REBOOT] = "reboot",
                                        [VM_END_PANIC] = "panic",
                                        [VM_END_TRIPLE_FAULT] = "triple-fault",
                                        [VM_END_STOPPED] = "stopped",
                                        [VM_END_KILLED] = "killed",
                                        [VM_END_ERROR] = "error"};
    return (size_t)end < ARRAY_SIZE(names) ? names[end] : "?";
}

const char *vm_state_name(enum vm_state state)
{
    static const char *const names[] = {[VM_BUILT] = "built",
                                        [VM_RUNNING] = "running",
                                        [VM_PAUSED] = "paused",
                                        [VM_ENDED] = "ended"};
    return (size_t)state < ARRAY_SIZE(names) ? names[state] : "?";
}

const char *vm_name(const struct vm *vm)
{
    return vm->config->name;
}

unsigned vm_vcpus(const struct vm *vm)
{
    return vm->nvcpus;
}

int vm_kvm_fd(const struct vm *vm)
{
    return vm->fd;
}

void **vm_pci(struct vm *vm)
{
    return &vm->pci;
}

void vm_end(struct vm *vm, enum vm_end why)
{
    int none = VM_END_NONE;
    uint64_t one = 1;
    if (atomic_compare_exchange_strong(&vm->end, &none, (int)why))
        while (write(vm->end_fd, &one, sizeof one) < 0 && errno == EINTR)
            continue;
}

void vm_fail(struct vm *vm, const struct err *err)
{
    pthread_mutex_lock(&vm->fail_lock);
    if (vm->fail.code == E_NONE)
        vm->fail = *err;
    pthread_mutex_unlock(&vm->fail_lock);
    vm_end(vm, VM_END_ERROR);
}

/* --- building -------------------------------------------------------------- */

static int open_kvm(struct vm *vm, struct err *err)
{
    vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (vm->kvm < 0)
        return err_sys(err, "/dev/kvm");
    if (ioctl(vm->kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
        return err_set(err, E_UNAVAIL, "/dev/kvm: an unknown version of KVM");
    do
        vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, 0);
    while (vm->fd < 0 && errno == EINTR);
    if (vm->fd < 0)
        return err_sys(err, "KVM: new machine");
    vm->stats_fd = ioctl(vm->fd, KVM_GET_STATS_FD, NULL);
    uint64_t identity = LAYOUT_IDENTITY_BASE;
    if (ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_SET_IDENTITY_MAP_ADDR) > 0 &&
        ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
        return err_sys(err, "KVM: identity map");
    if (ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_SET_TSS_ADDR) > 0 &&
        ioctl(vm->fd, KVM_SET_TSS_ADDR, (unsigned long)LAYOUT_TSS_BASE) < 0)
        return err_sys(err, "KVM: task state segment");
    return 0;
}

/* What must be switched on before the first vCPU is made. */
static int set_caps(struct vm *vm, struct err *err)
{
    const struct config *c = vm->config;
    struct kvm_enable_cap x2 = {.cap = KVM_CAP_X2APIC_API,
                                .args = {KVM_X2APIC_API_USE_32BIT_IDS |
                                         KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK}};
    if (ioctl(vm->fd, KVM_ENABLE_CAP, &x2) < 0 && c->vcpus > 254)
        return err_sys(err, "KVM: x2APIC, which %u vCPUs need", c->vcpus);
    if (exits_probe(vm->kvm, c->cpu.disable_exits, &vm->exits_disabled) < 0 &&
        c->cpu.require_exits_disabled)
        return err_set(err, E_UNAVAIL,
                       "cpu: disable_exits: this host's KVM does not do "
                       "all of what was asked");
    struct kvm_enable_cap exits = {.cap = KVM_CAP_X86_DISABLE_EXITS,
                                   .args = {vm->exits_disabled}};
    if (vm->exits_disabled && ioctl(vm->fd, KVM_ENABLE_CAP, &exits) < 0)
        return err_sys(err, "KVM: disable exits");
    struct kvm_enable_cap poll = {.cap = KVM_CAP_HALT_POLL,
                                  .args = {(uint64_t)c->cpu.halt_poll_ns}};
    if (c->cpu.halt_poll_ns >= 0 && ioctl(vm->fd, KVM_ENABLE_CAP, &poll) < 0)
        return err_sys(err, "KVM: halt polling");
    return 0;
}

static int init_devices(struct vm *vm, struct err *err)
{
    const struct config *c = vm->config;
    if (pci_host_init(vm, err) < 0)
        return -1;
    vm->devices = calloc(c->ndevices + 1, sizeof *vm->devices);
    if (!vm->devices)
        return err_oom(err);
    for (size_t i = 0; i < c->ndevices; i++) {
        const struct config_device *d = &c->devices[i];
        struct device *dev = &vm->devices[i];
        *dev =
            (struct device){.ops = d->ops, .vm = vm, .id = d->id, .index = (unsigned)i};
        dev->state = calloc(1, d->ops->state_size + 1);
        if (!dev->state)
            return err_oom(err);
        if (d->ops->decode && d->ops->decode(dev, d->in, err) < 0)
            return err_at(err, "device '%s'", dev->id);
        vm->ndevices = i + 1;
        if (d->ops->init(dev, err) < 0)
            return err_at(err, "device '%s'", dev->id);
    }
    return 0;
}

static int build(struct vm *vm, struct err *err)
{
    vm->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    vm->parked_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (vm->end_fd < 0 || vm->parked_fd < 0)
        return err_sys(err, "eventfd");
    bus_init(vm);
    if (open_kvm(vm, err) < 0 || irq_init(vm, err) < 0 || set_caps(vm, err) < 0 ||
        vm_ckpt_open(vm, err) < 0 || memory_init(vm, err) < 0 ||
        cpuid_init(vm, err) < 0 || vcpu_init_all(vm, err) < 0 ||
        power_init(vm, err) < 0 || io_init(vm, err) < 0 || init_devices(vm, err) < 0)
        return -1;
    return 0;
}

int vm_new(struct config *takes, struct vm **out, struct err *err)
{
    AUTO(vm) vm = calloc(1, sizeof *vm);
    if (!vm) {
        config_free(takes);
        return err_oom(err);
    }
    vm->config = takes;
    vm->kvm = vm->fd = vm->stats_fd = vm->memfd = vm->pagemap = vm->end_fd =
        vm->parked_fd = -1;
    vm->want = WANT_PARK;
    pthread_mutex_init(&vm->fail_lock, NULL);
    if (build(vm, err) < 0)
        return -1;
    *out = move(vm);
    return 0;
}

void vm_free(struct vm *vm)
{
    if (!vm)
        return;
    vm_threads_join(vm);
    vm_ckpt_done(vm);
    for (size_t i = vm->ndevices; i-- > 0;)
        if (vm->devices[i].ops->done)
            vm->devices[i].ops->done(&vm->devices[i]);
    for (size_t i = 0; vm->devices && i < vm->config->ndevices; i++)
        free(vm->devices[i].state);
    free(vm->devices);
    pci_host_done(vm);
    for (unsigned i = 0; vm->vcpus && i < vm->nvcpus; i++)
        vcpu_done(&vm->vcpus[i]);
    free(vm->vcpus);
    free(vm->cpuid);
    io_done(vm);
    irq_done(vm);
    dma_done(vm);
    memory_done(vm);
    int fds[] = {vm->stats_fd, vm->fd, vm->kvm, vm->end_fd, vm->parked_fd};
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    sandbox_free(vm);
    config_free(vm->config);
    free(vm);
}

/* --- running and pausing ---------------------------------------------------- */

int vm_threads_start(struct vm *vm, struct err *err)
{
    if (io_start(vm, err) < 0)
        return -1;
    for (size_t i = 0; i < vm->ndevices; i++)
        if (vm->devices[i].ops->start &&
            vm->devices[i].ops->start(&vm->devices[i], err) < 0)
            return err_at(err, "device '%s'", vm->devices[i].id);
    for (unsigned i = 0; i < vm->nvcpus; i++)
        if (vcpu_start(&vm->vcpus[i], err) < 0)
            return -1;
    return 0;
}

static void set_want(struct vm *vm, enum vm_want want)
{
    atomic_store(&vm->want, (int)want);
    syscall(SYS_futex, &vm->want, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static bool vcpus_parked(const struct vm *vm)
{
    for (unsigned i = 0; i < vm->nvcpus; i++)
        if (vm->vcpus[i].started && !atomic_load(&vm->vcpus[i].parked))
            return false;
    return true;
}

static bool io_parked(const struct vm *vm)
{
    for (unsigned i = 0; i < vm->nio; i++)
        if (vm->io[i].started && !atomic_load(&vm->io[i].parked))
            return false;
    return true;
}

/* Wait until all threads have parked; each tells by parked_fd. */
static int wait_parked(struct vm *vm, struct err *err)
{
    uint64_t deadline = clock_ms() + PARK_DEADLINE_MS;
    while (!vcpus_parked(vm) || !io_parked(vm)) {
        struct pollfd p = {.fd = vm->parked_fd, .events = POLLIN};
        uint64_t now = clock_ms(), count;
        if (now >= deadline)
            return err_set(err, E_TIMEOUT, "pause: a thread did not stop in %d s",
                           PARK_DEADLINE_MS / 1000);
        if (poll(&p, 1, (int)(deadline - now)) > 0 &&
            read(vm->parked_fd, &count, sizeof count) < 0 && errno != EAGAIN)
            return err_sys(err, "pause");
    }
    return 0;
}

static int stop_threads(struct vm *vm, struct err *err)
{
    set_want(vm, WANT_PARK);
    for (unsigned i = 0; i < vm->nvcpus; i++)
        vcpu_kick(&vm->vcpus[i]);
    io_wake(vm);
    return wait_parked(vm, err);
}

int vm_pause(struct vm *vm, struct err *err)
{
    if (vm->state == VM_PAUSED)
        return 0;
    if (vm->state != VM_RUNNING)
        return err_set(err, E_STATE, "pause: the machine is %s",
                       vm_state_name(vm->state));
    if (stop_threads(vm, err) < 0)
        goto go_on;
    if (vcpu_clock_pause(vm, err) < 0)
        goto go_on;
    for (size_t i = 0; i < vm->ndevices; i++) {
        struct device *d = &vm->devices[i];
        if (d->ops->pause && d->ops->pause(d, err) < 0) {
            err_at(err, "pause: device '%s'", d->id);
            while (i-- > 0)
                if (vm->devices[i].ops->resume)
                    vm->devices[i].ops->resume(&vm->devices[i], NULL);
            goto go_on;
        }
    }
    vm->state = VM_PAUSED;
    return 0;
go_on: /* as if nothing had been asked */
    set_want(vm, WANT_RUN);
    return -1;
}

int vm_resume(struct vm *vm, struct err *err)
{
    if (vm->state == VM_RUNNING)
        return 0;
    if (vm->state == VM_ENDED)
        return err_set(err, E_STATE, "resume: the machine has ended");
    if (vm->state == VM_PAUSED) {
        for (size_t i = 0; i < vm->ndevices; i++) {
            struct device *d = &vm->devices[i];
            if (d->ops->resume && d->ops->resume(d, err) < 0)
                return err_at(err, "resume: device '%s'", d->id);
        }
        if (vcpu_clock_resume(vm, err) < 0)
            return -1;
    }
    if (vm->entry_us == 0)
        vm->entry_us = clock_us();
    vm->state = VM_RUNNING;
    set_want(vm, WANT_RUN);
    return 0;
}

void vm_threads_join(struct vm *vm)
{
    set_want(vm, WANT_EXIT);
    for (unsigned i = 0; vm->vcpus && i < vm->nvcpus; i++)
        vcpu_kick(&vm->vcpus[i]);
    if (vm->io)
        io_wake(vm);
    for (unsigned i = 0; vm->vcpus && i < vm->nvcpus; i++)
        vcpu_join(&vm->vcpus[i]);
    io_join(vm);
    vm_ckpt_stop(vm);
    vm->state = VM_ENDED;
}

/* --- what changes live ------------------------------------------------------- */

int vm_set_live(struct vm *vm, int64_t halt_poll_ns, int vcpu, json_t *cpus,
                struct err *err)
{
    cpu_set_t set;
    if (halt_poll_ns > 1000000000)
        return err_set(err, E_INPUT, "set: halt_poll_ns: wants 0 to 1000000000");
    if ((vcpu >= 0) != (cpus != NULL) || vcpu >= (int)vm->nvcpus)
        return err_set(err, E_INPUT, "set: give vcpu (0 to %u) and cpus together",
                       vm->nvcpus - 1);
    CPU_ZERO(&set);
    for (size_t i = 0; i < json_array_size(cpus); i++) {
        json_int_t n = json_integer_value(json_array_get(cpus, i));
        if (n < 0 || n >= CPU_SETSIZE || !json_is_integer(json_array_get(cpus, i)))
            return err_set(err, E_INPUT, "set: cpus: wants a list of numbers");
        CPU_SET((int)n, &set);
    }
    struct kvm_enable_cap poll = {.cap = KVM_CAP_HALT_POLL,
                                  .args = {(uint64_t)halt_poll_ns}};
    if (halt_poll_ns >= 0 && ioctl(vm->fd, KVM_ENABLE_CAP, &poll) < 0)
        return err_sys(err, "set: halt_poll_ns");
    int e = vcpu >= 0 && vm->vcpus[vcpu].started
                ? pthread_setaffinity_np(vm->vcpus[vcpu].thread, sizeof set, &set)
                : 0;
    errno = e;
    return e ? err_sys(err, "set: cpus of vCPU %d", vcpu) : 0;
}
