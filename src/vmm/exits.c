/* SPDX-License-Identifier: Apache-2.0 */
/* Which instructions need not exit (HLT, PAUSE, MWAIT, C-states), found by asking KVM and
 * then by trying: a KVM may advertise it and exit all the same. The probe is a throw-away
 * machine of one page without an APIC that halts: an exit for HLT tells that the
 * promise is empty, silence until our own signal tells that it is kept. */
#include "vmm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

enum { PROBE_US = 10000, PAGE = 4096 };
static struct kvm_run *volatile probing;

static void on_alarm(int sig)
{
    if (probing)
        probing->immediate_exit = 1;
}

/* Run until the alarm. 1: HLT did not exit, 0: it did, -1: nothing learned. */
static int run_probe(int vcpu, struct kvm_run *run)
{
    struct sigaction sa = {.sa_handler = on_alarm}, old;
    const struct itimerval soon = {.it_value.tv_usec = PROBE_US}, never = {0};
    int got = -1;
    probing = run;
    sigaction(SIGALRM, &sa, &old);
    setitimer(ITIMER_REAL, &soon, NULL);
    if (ioctl(vcpu, KVM_RUN, 0) < 0)
        got = errno == EINTR ? 1 : -1;
    else if (run->exit_reason == KVM_EXIT_HLT)
        got = 0;
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &old, NULL);
    probing = NULL;
    return got;
}

static int probe_halt(int kvm, unsigned bits)
{
    AUTO_FD vm = ioctl(kvm, KVM_CREATE_VM, 0);
    struct kvm_enable_cap cap = {.cap = KVM_CAP_X86_DISABLE_EXITS, .args = {bits}};
    int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (vm < 0 || size < 0 || ioctl(vm, KVM_ENABLE_CAP, &cap) < 0)
        return -1;
    uint8_t *page =
        mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return -1;
    page[0] = 0xf4; /* hlt */
    page[1] = 0xeb; /* jmp to it */
    page[2] = 0xfd;
    struct kvm_userspace_memory_region mem = {.guest_phys_addr = PAGE,
                                              .memory_size = PAGE,
                                              .userspace_addr = (uintptr_t)page};
    AUTO_FD vcpu = ioctl(vm, KVM_SET_USER_MEMORY_REGION, &mem) < 0
                       ? -1
                       : ioctl(vm, KVM_CREATE_VCPU, 0);
    struct kvm_run *run = vcpu < 0 ? MAP_FAILED
                                   : mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE,
                                          MAP_SHARED, vcpu, 0);
    int got = -1;
    struct kvm_sregs s;
    struct kvm_regs r = {.rip = PAGE, .rflags = 2};
    if (run != MAP_FAILED && ioctl(vcpu, KVM_GET_SREGS, &s) == 0) {
        s.cs.base = 0;
        s.cs.selector = 0;
        if (ioctl(vcpu, KVM_SET_SREGS, &s) == 0 && ioctl(vcpu, KVM_SET_REGS, &r) == 0)
            got = run_probe(vcpu, run);
    }
    if (run != MAP_FAILED)
        munmap(run, (size_t)size);
    munmap(page, PAGE);
    return got;
}

/* *hold: those of `want` that will really not exit. */
int exits_probe(int kvm, unsigned want, unsigned *hold)
{
    *hold = 0;
    if (want == 0)
        return 0;
    int have = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_X86_DISABLE_EXITS);
    unsigned ok = have > 0 ? want & (unsigned)have : 0;
    if (ok && probe_halt(kvm, CONFIG_EXIT_HLT) == 1)
        *hold = ok;
    return *hold == want ? 0 : -1;
}
