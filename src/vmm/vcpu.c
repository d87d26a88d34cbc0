/* SPDX-License-Identifier: Apache-2.0 */
/* vCPUs: create, run, kick, park. A thread runs the guest until something it asked for
 * must be answered here. To stop one, set vm->want, then kick: the signal's handler sets
 * immediate_exit, so that a kick between the check and KVM_RUN is not lost. Before a
 * vCPU parks, an access half done is completed (KVM_RUN with immediate_exit). */
#include "vmm/vm.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

#define KICK_SIGNAL SIGUSR1
static _Thread_local struct kvm_run *volatile my_run;

static void on_kick(int sig)
{
    if (my_run)
        my_run->immediate_exit = 1;
}

void vm_park(struct vm *vm, atomic_bool *parked)
{
    uint64_t one = 1;
    atomic_store(parked, true);
    while (write(vm->parked_fd, &one, sizeof one) < 0 && errno == EINTR)
        continue;
    while (atomic_load(&vm->want) == WANT_PARK)
        syscall(SYS_futex, &vm->want, FUTEX_WAIT_PRIVATE, WANT_PARK, NULL, NULL, 0);
    atomic_store(parked, false);
}

/* What failed, for vm->fail; no allocation. The machine ends by it. */
static void fail_vcpu(struct vcpu *v, const char *what, uint64_t a, uint64_t b)
{
    struct vm *vm = v->vm;
    struct kvm_regs regs = {0};
    ioctl(v->fd, KVM_GET_REGS, &regs);
    struct err e = {.code = E_FAIL};
    snprintf(e.text, sizeof e.text, "vCPU %u: %s (0x%llx, 0x%llx) at rip 0x%llx",
             v->index, what, (unsigned long long)a, (unsigned long long)b,
             (unsigned long long)regs.rip);
    vm_fail(vm, &e);
}

static void do_io(struct vcpu *v)
{
    struct kvm_run *run = v->run;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    for (uint32_t i = 0; i < run->io.count; i++) {
        bus_access(v->vm, true, run->io.port, run->io.size,
                   run->io.direction == KVM_EXIT_IO_OUT, data);
        data += run->io.size;
    }
}

/* One exit. false: this vCPU goes no further (the machine is at its end). */
static bool handle(struct vcpu *v)
{
    struct kvm_run *run = v->run;
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        do_io(v);
        return true;
    case KVM_EXIT_MMIO:
        bus_access(v->vm, false, run->mmio.phys_addr, run->mmio.len, run->mmio.is_write,
                   run->mmio.data);
        return true;
    case KVM_EXIT_IOAPIC_EOI:
        irq_eoi(v->vm, run->eoi.vector);
        return true;
    case KVM_EXIT_INTR:
    case KVM_EXIT_HLT: /* not with an in-kernel APIC */
        return true;
    case KVM_EXIT_SHUTDOWN:
        vm_end(v->vm, VM_END_TRIPLE_FAULT);
        return false;
    case KVM_EXIT_SYSTEM_EVENT:
        vm_end(v->vm, run->system_event.type == KVM_SYSTEM_EVENT_RESET ? VM_END_REBOOT
                      : run->system_event.type == KVM_SYSTEM_EVENT_CRASH
                          ? VM_END_PANIC
                          : VM_END_POWEROFF);
        return false;
    case KVM_EXIT_FAIL_ENTRY:
        fail_vcpu(v, "KVM cannot enter the guest",
                  run->fail_entry.hardware_entry_failure_reason, 0);
        return false;
    case KVM_EXIT_INTERNAL_ERROR:
        fail_vcpu(v, "KVM internal error", run->internal.suberror,
                  run->internal.data[0]);
        return false;
    default:
        fail_vcpu(v, "unexpected exit", run->exit_reason, 0);
        return false;
    }
}

/* Let KVM finish what an exit left half done, without entering the guest. An access in
 * several parts comes out again for each of them. */
static void complete(struct vcpu *v)
{
    v->run->immediate_exit = 1;
    while (ioctl(v->fd, KVM_RUN, 0) == 0 && handle(v))
        continue;
    v->run->immediate_exit = 0;
}

static void *loop(void *arg)
{
    struct vcpu *v = arg;
    struct vm *vm = v->vm;
    my_run = v->run;
    char name[16];
    snprintf(name, sizeof name, "vcpu%u", v->index);
    prctl(PR_SET_NAME, name);
    sigset_t kick;
    sigemptyset(&kick);
    sigaddset(&kick, KICK_SIGNAL);
    if (sandbox_thread(vm, SANDBOX_VCPU) < 0)
        _exit(70);
    pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
    bool ended = false;
    for (;;) {
        v->run->immediate_exit = 0;
        int want = atomic_load(&vm->want);
        if (want == WANT_EXIT)
            return NULL;
        if (want == WANT_PARK) {
            complete(v);
            vm_park(vm, &v->parked);
            continue;
        }
        if (ended) { /* nothing more to do but to be told to leave */
            syscall(SYS_futex, &vm->want, FUTEX_WAIT_PRIVATE, WANT_RUN, NULL, NULL, 0);
            continue;
        }
        int r = ioctl(v->fd, KVM_RUN, 0);
        if (r < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        uint64_t start = __rdtsc();
        if (r < 0) {
            fail_vcpu(v, "KVM_RUN failed, errno", (unsigned)errno, 0);
            ended = true;
            continue;
        }
        unsigned reason = v->run->exit_reason;
        reason = reason < VM_EXITS ? reason : VM_EXITS - 1;
        v->count.exits[reason]++;
        ended = !handle(v);
        v->count.cycles[reason] += __rdtsc() - start;
    }
}

int vcpu_start(struct vcpu *v, struct err *err)
{
    struct vm *vm = v->vm;
    pthread_attr_t attr;
    struct sigaction sa = {.sa_handler = on_kick};
    sigset_t all, old;
    sigaction(KICK_SIGNAL, &sa, NULL);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 64 << 10);
    if (vm->config->cpu.pin)
        pthread_attr_setaffinity_np(&attr, sizeof(cpu_set_t),
                                    &vm->config->cpu.pin[v->index]);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int e = pthread_create(&v->thread, &attr, loop, v);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (e != 0) {
        errno = e;
        return err_sys(err, "thread of vCPU %u%s", v->index,
                       e == EINVAL && vm->config->cpu.pin
                           ? ": pinned to a CPU that this process may not use"
                           : "");
    }
    v->started = true;
    return 0;
}

void vcpu_kick(struct vcpu *v)
{
    if (v->started)
        pthread_kill(v->thread, KICK_SIGNAL);
}

void vcpu_join(struct vcpu *v)
{
    if (v->started)
        pthread_join(v->thread, NULL);
    v->started = false;
}

static int init_one(struct vm *vm, struct vcpu *v, unsigned index, struct err *err)
{
    v->vm = vm;
    v->index = index;
    v->fd = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)index);
    if (v->fd < 0)
        return err_sys(err, "KVM: vCPU %u", index);
    v->stats_fd = ioctl(v->fd, KVM_GET_STATS_FD, NULL);
    void *run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
    if (run == MAP_FAILED)
        return err_sys(err, "KVM: vCPU %u", index);
    v->run = run;
    return cpuid_set(v, err);
}

int vcpu_init_all(struct vm *vm, struct err *err)
{
    int size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    int max = ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
    if (size < 0)
        return err_sys(err, "KVM");
    if (max > 0 && (unsigned)max < vm->config->vcpus)
        return err_set(err, E_UNAVAIL, "%u vCPUs wanted, this host's KVM gives %d",
                       vm->config->vcpus, max);
    vm->run_size = (size_t)size;
    vm->nvcpus = vm->config->vcpus;
    vm->vcpus = calloc(vm->nvcpus, sizeof *vm->vcpus);
    if (!vm->vcpus)
        return err_oom(err);
    for (unsigned i = 0; i < vm->nvcpus; i++)
        vm->vcpus[i].fd = vm->vcpus[i].stats_fd = -1;
    for (unsigned i = 0; i < vm->nvcpus; i++)
        if (init_one(vm, &vm->vcpus[i], i, err) < 0)
            return -1;
    return 0;
}

void vcpu_done(struct vcpu *v)
{
    if (v->run)
        munmap(v->run, v->vm->run_size);
    if (v->stats_fd >= 0)
        close(v->stats_fd);
    if (v->fd >= 0)
        close(v->fd);
    v->run = NULL;
    v->fd = -1;
}
