/* SPDX-License-Identifier: Apache-2.0 */
/* A vCPU's state out of and into KVM, and the clocks over a pause. The order matters: MP
 * state first when saving, events last; the APIC after the special registers and before
 * the MSRs; the TSC before its deadline. Control thread only, vCPUs parked. */
#include "vmm/vm.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

enum {
    TAG_MP = 1,
    TAG_REGS,
    TAG_SREGS,
    TAG_XSAVE,
    TAG_XCRS,
    TAG_DEBUG,
    TAG_LAPIC,
    TAG_MSRS,
    TAG_EVENTS,
    TAG_TSC_OFFSET, /* to the first vCPU's; absent where KVM does not tell */
};
enum {
    MSR_TSC = 0x10,
    MSR_TSC_DEADLINE = 0x6e0,
    XSAVE_MAX = 64 << 10,
    NESTED_MAX = 64 << 10,
    MSRS_MAX = 1024
};

#ifndef KVM_VCPU_TSC_CTRL
#define KVM_VCPU_TSC_CTRL   0
#define KVM_VCPU_TSC_OFFSET 0
#endif

static size_t xsave_size(const struct vm *vm)
{
#ifdef KVM_CAP_XSAVE2
    int n = ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
    if (n > (int)sizeof(struct kvm_xsave) && n <= XSAVE_MAX)
        return (size_t)n;
#endif
    return sizeof(struct kvm_xsave);
}

static int get_xsave(struct vcpu *v, void *out, size_t size)
{
#ifdef KVM_GET_XSAVE2
    if (size > sizeof(struct kvm_xsave))
        return ioctl(v->fd, KVM_GET_XSAVE2, out);
#endif
    return ioctl(v->fd, KVM_GET_XSAVE, out);
}

static int get_msr(const struct vcpu *v, uint32_t index, uint64_t *out)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } m = {.head.nmsrs = 1, .entry.index = index};
    if (ioctl(v->fd, KVM_GET_MSRS, &m) != 1)
        return -1;
    *out = m.entry.data;
    return 0;
}

static int set_msr(const struct vcpu *v, uint32_t index, uint64_t data)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } m = {.head.nmsrs = 1, .entry = {.index = index, .data = data}};
    return ioctl(v->fd, KVM_SET_MSRS, &m) == 1 ? 0 : -1;
}

static int tsc_offset(const struct vcpu *v, bool set, uint64_t *offset)
{
    struct kvm_device_attr a = {.group = KVM_VCPU_TSC_CTRL,
                                .attr = KVM_VCPU_TSC_OFFSET,
                                .addr = (uintptr_t)offset};
    return ioctl(v->fd, set ? KVM_SET_DEVICE_ATTR : KVM_GET_DEVICE_ATTR, &a);
}

/* How far this vCPU's time stamp counter is from the first one's; 0 almost always. */
static bool tsc_apart(const struct vcpu *v, uint64_t *apart)
{
    uint64_t first, mine;
    if (tsc_offset(&v->vm->vcpus[0], false, &first) < 0 ||
        tsc_offset(v, false, &mine) < 0)
        return false;
    *apart = mine - first;
    return true;
}

/* A guest in a guest: its state is not saved. */
static bool is_nested(const struct vcpu *v)
{
    int size = ioctl(v->vm->kvm, KVM_CHECK_EXTENSION, KVM_CAP_NESTED_STATE);
    if (size <= (int)sizeof(struct kvm_nested_state) || size > NESTED_MAX)
        return false;
    struct kvm_nested_state *s = calloc(1, (size_t)size);
    if (!s)
        return true;
    s->size = (uint32_t)size;
    bool is = ioctl(v->fd, KVM_GET_NESTED_STATE, s) == 0 &&
              (s->flags & (KVM_STATE_NESTED_GUEST_MODE | KVM_STATE_NESTED_RUN_PENDING));
    free(s);
    return is;
}

/* All MSRs that KVM lists and gives, as kvm_msr_entry. */
static int save_msrs(struct vcpu *v, struct state_writer *w, struct err *err)
{
    struct kvm_msr_list *list =
        calloc(1, sizeof *list + MSRS_MAX * sizeof list->indices[0]);
    struct kvm_msr_entry *all = calloc(MSRS_MAX, sizeof *all);
    int r = -1;
    if (!list || !all) {
        err_oom(err);
        goto out;
    }
    list->nmsrs = MSRS_MAX;
    if (ioctl(v->vm->kvm, KVM_GET_MSR_INDEX_LIST, list) < 0) {
        err_sys(err, "KVM: list of MSRs");
        goto out;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < list->nmsrs && i < MSRS_MAX; i++) {
        uint64_t data;
        if (get_msr(v, list->indices[i], &data) == 0)
            all[n++] = (struct kvm_msr_entry){.index = list->indices[i], .data = data};
    }
    state_put(w, TAG_MSRS, all, n * sizeof *all);
    r = 0;
out:
    free(list);
    free(all);
    return r;
}

int vcpu_save(struct vcpu *v, struct state_writer *w, struct err *err)
{
    struct kvm_mp_state mp;
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_xcrs xcrs;
    struct kvm_debugregs debug;
    struct kvm_lapic_state lapic;
    struct kvm_vcpu_events events;
    size_t size = xsave_size(v->vm);
    AUTO_STR xsave = calloc(1, size);
    char name[STATE_NAME_MAX];
    if (!xsave)
        return err_oom(err);
    snprintf(name, sizeof name, "vcpu%u", v->index);
    if (is_nested(v))
        return err_set(err, E_UNAVAIL,
                       "the guest runs a guest of its own just now (vCPU %u), whose "
                       "state cannot be saved: stop it first",
                       v->index);
    if (ioctl(v->fd, KVM_GET_MP_STATE, &mp) < 0 ||
        ioctl(v->fd, KVM_GET_REGS, &regs) < 0 ||
        ioctl(v->fd, KVM_GET_SREGS, &sregs) < 0 || get_xsave(v, xsave, size) < 0 ||
        ioctl(v->fd, KVM_GET_XCRS, &xcrs) < 0 ||
        ioctl(v->fd, KVM_GET_DEBUGREGS, &debug) < 0 ||
        ioctl(v->fd, KVM_GET_LAPIC, &lapic) < 0)
        return err_sys(err, "save vCPU %u", v->index);
    state_begin(w, name, 1);
    state_put(w, TAG_MP, &mp, sizeof mp);
    state_put(w, TAG_REGS, &regs, sizeof regs);
    state_put(w, TAG_SREGS, &sregs, sizeof sregs);
    state_put(w, TAG_XSAVE, xsave, size);
    state_put(w, TAG_XCRS, &xcrs, sizeof xcrs);
    state_put(w, TAG_DEBUG, &debug, sizeof debug);
    state_put(w, TAG_LAPIC, &lapic, sizeof lapic);
    int r = save_msrs(v, w, err);
    if (r == 0 && ioctl(v->fd, KVM_GET_VCPU_EVENTS, &events) < 0)
        r = err_sys(err, "save vCPU %u", v->index);
    state_put(w, TAG_EVENTS, &events, sizeof events);
    uint64_t apart;
    if (tsc_apart(v, &apart))
        state_put_u64(w, TAG_TSC_OFFSET, apart);
    state_end(w);
    return r;
}

static int restore_msrs(struct vcpu *v, const struct state_reader *r, struct err *err)
{
    size_t len;
    const struct kvm_msr_entry *e = state_peek(r, TAG_MSRS, 0, &len);
    if (!e || len % sizeof *e)
        return err_set(err, E_INPUT, "no MSRs");
    uint64_t deadline = 0;
    for (size_t i = 0; i < len / sizeof *e; i++) {
        struct kvm_msr_entry m;
        memcpy(&m, e + i, sizeof m);
        if (m.index == MSR_TSC_DEADLINE) {
            deadline = m.data;
            continue;
        }
        /* One that KVM gives but does not take back counts only if it has a value. */
        if (set_msr(v, m.index, m.data) < 0) {
            uint64_t now;
            if (get_msr(v, m.index, &now) < 0 || now != m.data)
                return err_set(err, E_UNAVAIL, "this host's KVM refuses MSR 0x%x",
                               m.index);
        }
    }
    if (deadline && set_msr(v, MSR_TSC_DEADLINE, deadline) < 0)
        return err_set(err, E_UNAVAIL, "this host's KVM refuses the TSC deadline");
    return 0;
}

int vcpu_restore(struct vcpu *v, struct state_reader *r, struct err *err)
{
    struct kvm_mp_state mp;
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_xcrs xcrs;
    struct kvm_debugregs debug;
    struct kvm_lapic_state lapic;
    struct kvm_vcpu_events events;
    char name[STATE_NAME_MAX];
    snprintf(name, sizeof name, "vcpu%u", v->index);
    size_t size = xsave_size(v->vm), len;
    AUTO_STR xsave = calloc(1, size);
    if (!xsave)
        return err_oom(err);
    if (state_find(r, name, err) < 0 || state_get(r, TAG_MP, &mp, sizeof mp, err) < 0 ||
        state_get(r, TAG_REGS, &regs, sizeof regs, err) < 0 ||
        state_get(r, TAG_SREGS, &sregs, sizeof sregs, err) < 0 ||
        state_get(r, TAG_XCRS, &xcrs, sizeof xcrs, err) < 0 ||
        state_get(r, TAG_DEBUG, &debug, sizeof debug, err) < 0 ||
        state_get(r, TAG_LAPIC, &lapic, sizeof lapic, err) < 0 ||
        state_get(r, TAG_EVENTS, &events, sizeof events, err) < 0)
        return -1;
    const void *saved = state_peek(r, TAG_XSAVE, 0, &len);
    if (!saved || len > size)
        return err_set(err, E_UNAVAIL, "extended state is larger than this host's");
    memcpy(xsave, saved, len);
    /* A CPU without XSAVE has no XCRs, and KVM takes none there. */
    const struct {
        const char *what;
        unsigned long request;
        void *arg;
        bool skip;
    } sets[] = {{"registers", KVM_SET_REGS, &regs, false},
                {"XCRs", KVM_SET_XCRS, &xcrs, xcrs.nr_xcrs == 0},
                {"extended state", KVM_SET_XSAVE, xsave, false},
                {"special registers", KVM_SET_SREGS, &sregs, false},
                {"debug registers", KVM_SET_DEBUGREGS, &debug, false},
                {"local APIC", KVM_SET_LAPIC, &lapic, false}};
    for (size_t i = 0; i < ARRAY_SIZE(sets); i++)
        if (!sets[i].skip && ioctl(v->fd, sets[i].request, sets[i].arg) < 0)
            return err_sys(err, "KVM: %s", sets[i].what);
    if (restore_msrs(v, r, err) < 0)
        return -1;
    /* Each was read at a moment of its own: as far apart as they were. */
    uint64_t first, apart;
    if (v->index > 0 && state_get_u64(r, TAG_TSC_OFFSET, &apart, NULL) == 0 &&
        tsc_offset(&v->vm->vcpus[0], false, &first) == 0) {
        first += apart;
        if (tsc_offset(v, true, &first) < 0)
            return err_sys(err, "KVM: TSC offset");
    }
    if (ioctl(v->fd, KVM_SET_VCPU_EVENTS, &events) < 0 ||
        ioctl(v->fd, KVM_SET_MP_STATE, &mp) < 0)
        return err_sys(err, "KVM: events");
    return 0;
}

/* --- clocks ------------------------------------------------------------------ */

/* Remember what the guest's clocks show. */
int vcpu_clock_pause(struct vm *vm, struct err *err)
{
    memset(&vm->clock, 0, sizeof vm->clock);
    vm->clock_valid = ioctl(vm->fd, KVM_GET_CLOCK, &vm->clock) == 0;
    vm->paused_tsc = 0;
    get_msr(&vm->vcpus[0], MSR_TSC, &vm->paused_tsc);
    return 0;
}

/* A deadline is kept as the host's time: tell it anew, now that the guest's has moved. */
static void rearm(const struct vcpu *v)
{
    uint64_t deadline;
    if (get_msr(v, MSR_TSC_DEADLINE, &deadline) == 0 && deadline)
        (void)set_msr(v, MSR_TSC_DEADLINE, deadline);
}

/* Let them go on from there: kvm-clock is set back, every TSC by the same amount (so
 * that they stay in step), and the guest's watchdog is told that it slept. */
int vcpu_clock_resume(struct vm *vm, struct err *err)
{
    uint64_t now, back = 0;
    if (vm->paused_tsc && get_msr(&vm->vcpus[0], MSR_TSC, &now) == 0 &&
        now > vm->paused_tsc)
        back = now - vm->paused_tsc;
    for (unsigned i = 0; back && i < vm->nvcpus; i++) {
        uint64_t offset;
        if (tsc_offset(&vm->vcpus[i], false, &offset) < 0)
            break; /* a KVM without it: kvm-clock alone is right then */
        offset -= back;
        if (tsc_offset(&vm->vcpus[i], true, &offset) < 0)
            return err_sys(err, "KVM: TSC offset of vCPU %u", i);
        rearm(&vm->vcpus[i]);
    }
    if (vm->clock_valid) {
        struct kvm_clock_data c = {.clock = vm->clock.clock};
        if (ioctl(vm->fd, KVM_SET_CLOCK, &c) < 0)
            return err_sys(err, "KVM: clock");
    }
    /* EINVAL: this vCPU's guest does not use kvm-clock. */
    for (unsigned i = 0; i < vm->nvcpus; i++)
        if (ioctl(vm->vcpus[i].fd, KVM_KVMCLOCK_CTRL, 0) < 0 && errno != EINVAL)
            return err_sys(err, "KVM: clock of vCPU %u", i);
    return 0;
}
