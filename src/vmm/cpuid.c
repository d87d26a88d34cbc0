/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest's CPUID says: what KVM supports, with our topology (one socket a NUMA
 * node, one thread a core), the TSC's frequency told in KVM's leaf so that nothing is
 * calibrated, and the hints that follow from pinning. No vendor is asked for by name. */
#include "vmm/vm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

enum { ENTRIES_MAX = 1024 };
#define BIT(n) (1u << (n))

static struct kvm_cpuid_entry2 *entry(struct kvm_cpuid2 *c, uint32_t leaf, uint32_t sub)
{
    for (uint32_t i = 0; i < c->nent; i++)
        if (c->entries[i].function == leaf && c->entries[i].index == sub)
            return &c->entries[i];
    return NULL;
}

static struct kvm_cpuid_entry2 *entry_make(struct kvm_cpuid2 *c, uint32_t leaf,
                                           uint32_t sub, bool indexed)
{
    struct kvm_cpuid_entry2 *e = entry(c, leaf, sub);
    if (!e && c->nent < ENTRIES_MAX)
        e = &c->entries[c->nent++];
    if (e)
        *e = (struct kvm_cpuid_entry2){
            .function = leaf,
            .index = sub,
            .flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0};
    return e;
}

/* Drop what a KVM filled in twice or left blank (leaf 0 twice). */
static void unique(struct kvm_cpuid2 *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->nent; i++) {
        bool seen = false;
        for (uint32_t j = 0; j < n && !seen; j++)
            seen = c->entries[j].function == c->entries[i].function &&
                   c->entries[j].index == c->entries[i].index;
        if (!seen)
            c->entries[n++] = c->entries[i];
    }
    c->nent = n;
}

static void remove_leaf(struct kvm_cpuid2 *c, uint32_t leaf)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->nent; i++)
        if (c->entries[i].function != leaf)
            c->entries[n++] = c->entries[i];
    c->nent = n;
}

static unsigned bits_for(unsigned n)
{
    unsigned bits = 0;
    while (1u << bits < n)
        bits++;
    return bits;
}

/* The hypervisor's leaves. */
static void kvm_leaves(struct vm *vm)
{
    struct kvm_cpuid2 *c = vm->cpuid;
    struct kvm_cpuid_entry2 *e = entry(c, 0x40000000, 0);
    if (!e)
        return;
    struct kvm_cpuid_entry2 *f = entry(c, 0x40000001, 0);
    if (f) {
        if (vm->exits_disabled & CONFIG_EXIT_HLT)
            f->eax &= ~BIT(7); /* PV_UNHALT clashes */
        f->eax |= BIT(15);     /* MSI extended destination: ours is the IOAPIC */
        if (vm->config->cpu.pin)
            f->edx |= BIT(0); /* realtime hint: vCPUs have their CPUs to themselves */
    }
    if (vm->tsc_khz == 0)
        return;
    e->eax = 0x40000010;
    struct kvm_cpuid_entry2 *t = entry_make(c, 0x40000010, 0, false);
    if (t) {
        t->eax = vm->tsc_khz;
        t->ebx = 1000000; /* APIC bus, kHz: KVM's is 1 GHz */
    }
}

static void features(struct vm *vm)
{
    struct kvm_cpuid_entry2 *e = entry(vm->cpuid, 1, 0);
    if (e) {
        e->ecx |= BIT(31); /* a hypervisor is there */
        if (ioctl(vm->kvm, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0)
            e->ecx |= BIT(24);
        e->ecx |= BIT(21); /* x2APIC: KVM's local APIC always has it */
        if (vm->exits_disabled & CONFIG_EXIT_MWAIT)
            e->ecx |= BIT(3);
        e->edx |= BIT(28); /* the count in ebx is valid */
    }
    e = entry(vm->cpuid, 6, 0);
    if (e) {
        e->eax = BIT(2); /* the APIC timer runs always; no thermal or power control */
        e->ebx = e->ecx = e->edx = 0;
    }
    /* Frequencies: ours is in KVM's leaf. A half-filled leaf makes guests calibrate. */
    remove_leaf(vm->cpuid, 0x16);
}

int cpuid_init(struct vm *vm, struct err *err)
{
    vm->cpuid =
        calloc(1, sizeof *vm->cpuid + ENTRIES_MAX * sizeof vm->cpuid->entries[0]);
    if (!vm->cpuid)
        return err_oom(err);
    vm->cpuid->nent = ENTRIES_MAX - 16;
    if (ioctl(vm->kvm, KVM_GET_SUPPORTED_CPUID, vm->cpuid) < 0)
        return err_sys(err, "KVM: CPUID");
    unique(vm->cpuid);
    int khz = ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_VM_TSC_CONTROL) > 0
                  ? ioctl(vm->fd, KVM_GET_TSC_KHZ, 0)
                  : 0;
    vm->tsc_khz = khz > 0 ? (uint32_t)khz : 0;
    features(vm);
    kvm_leaves(vm);
    return 0;
}

static void topology_leaf(struct kvm_cpuid2 *c, uint32_t leaf, unsigned id, unsigned n)
{
    if (!entry(c, leaf, 0) && leaf != 0xb)
        return;
    remove_leaf(c, leaf);
    struct kvm_cpuid_entry2 *e = entry_make(c, leaf, 0, true);
    if (e) { /* threads: one a core */
        e->ebx = 1;
        e->ecx = 0 | 1 << 8;
        e->edx = id;
    }
    e = entry_make(c, leaf, 1, true);
    if (e) { /* cores */
        e->eax = bits_for(n);
        e->ebx = n & 0xffff;
        e->ecx = 1 | 2 << 8;
        e->edx = id;
    }
    e = entry_make(c, leaf, 2, true);
    if (e) {
        e->ecx = 2;
        e->edx = id;
    }
}

static void topology(struct kvm_cpuid2 *c, unsigned id, unsigned n)
{
    struct kvm_cpuid_entry2 *e = entry(c, 1, 0);
    if (e)
        e->ebx = (e->ebx & 0xffff) | (n < 255 ? n : 255) << 16 | (id & 0xff) << 24;
    topology_leaf(c, 0xb, id, n);
    topology_leaf(c, 0x1f, id, n);
    for (uint32_t i = 0; i < c->nent; i++) {
        e = &c->entries[i];
        unsigned level = e->eax >> 5 & 7;
        bool cache = e->function == 4 || e->function == 0x8000001d;
        if (!cache || (e->eax & 0x1f) == 0)
            continue;
        /* The last level is shared by all, the others belong to one core. */
        unsigned sharing = level >= 3 ? (1u << bits_for(n)) - 1 : 0;
        e->eax = (e->eax & 0x3fff) | (sharing & 0xfff) << 14;
        if (e->function == 4)
            e->eax |= (((1u << bits_for(n)) - 1) & 0x3f) << 26;
    }
    e = entry(c, 0x80000008, 0);
    if (e)
        e->ecx = ((n - 1) & 0xff) | bits_for(n) << 12;
    e = entry(c, 0x8000001e, 0);
    if (e) {
        e->eax = id;
        e->ebx = id & 0xff;
        e->ecx = 0;
        e->edx = 0;
    }
}

int cpuid_set(struct vcpu *v, struct err *err)
{
    topology(v->vm->cpuid, v->index, v->vm->nvcpus);
    if (ioctl(v->fd, KVM_SET_CPUID2, v->vm->cpuid) < 0)
        return err_sys(err, "KVM: CPUID of vCPU %u", v->index);
    return 0;
}

/* --- a saved table ------------------------------------------------------------------ */

/* Words whose bits each promise the guest something. */
static const struct {
    uint32_t leaf, sub;
    unsigned reg; /* 0 eax, 1 ebx, 2 ecx, 3 edx */
    uint32_t ignore;
    const char *name;
} words[] = {
    {0x1, 0, 2, 1u << 27, "1.ecx"}, /* OSXSAVE follows the guest's CR4 */
    {0x1, 0, 3, 0, "1.edx"},
    {0x7, 0, 1, 0, "7.ebx"},
    {0x7, 0, 2, 1u << 4, "7.ecx"}, /* OSPKE as well */
    {0x7, 0, 3, 0, "7.edx"},
    {0x7, 1, 0, 0, "7.1.eax"},
    {0xd, 0, 0, 0, "xcr0"},
    {0xd, 1, 0, 0, "xsave"},
    {0x40000001, 0, 0, 0, "kvm"},
    {0x80000001, 0, 2, 0, "80000001.ecx"},
    {0x80000001, 0, 3, 0, "80000001.edx"},
    {0x80000007, 0, 3, 0, "80000007.edx"},
    {0x80000008, 0, 1, 0, "80000008.ebx"},
};

static uint32_t word(const struct kvm_cpuid_entry2 *e, unsigned reg)
{
    return !e ? 0 : reg == 0 ? e->eax : reg == 1 ? e->ebx : reg == 2 ? e->ecx : e->edx;
}

/* What the guest has found must be here: all its features, the same maker. */
static int fits(struct kvm_cpuid2 *host, struct kvm_cpuid2 *guest, struct err *err)
{
    struct kvm_cpuid_entry2 *h = entry(host, 0, 0), *g = entry(guest, 0, 0);
    if (!h || !g || h->ebx != g->ebx || h->ecx != g->ecx || h->edx != g->edx)
        return err_set(err, E_UNAVAIL, "restore: it ran on a CPU of another maker");
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        uint32_t has = word(entry(host, words[i].leaf, words[i].sub), words[i].reg);
        uint32_t wants = word(entry(guest, words[i].leaf, words[i].sub), words[i].reg);
        uint32_t missing = wants & ~has & ~words[i].ignore;
        if (missing)
            return err_set(err, E_UNAVAIL,
                           "restore: it ran on a CPU with features that this host does "
                           "not have (CPUID %s, bits 0x%x)",
                           words[i].name, missing);
    }
    return 0;
}

uint64_t cpuid_address_end(const struct vm *vm)
{
    const struct kvm_cpuid_entry2 *e =
        vm->cpuid ? entry(vm->cpuid, 0x80000008, 0) : NULL;
    return e ? 1ull << (e->eax & 63) : 0;
}

int cpuid_restore(struct vm *vm, const struct kvm_cpuid_entry2 *entries, size_t count,
                  struct err *err)
{
    if (count == 0 || count > ENTRIES_MAX)
        return err_set(err, E_INPUT, "restore: CPUID has %zu entries", count);
    struct kvm_cpuid2 *c =
        calloc(1, sizeof *c + ENTRIES_MAX * sizeof vm->cpuid->entries[0]);
    if (!c)
        return err_oom(err);
    c->nent = (uint32_t)count;
    memcpy(c->entries, entries, count * sizeof *entries);
    if (fits(vm->cpuid, c, err) < 0) {
        free(c);
        return -1;
    }
    free(vm->cpuid);
    vm->cpuid = c;
    for (unsigned i = 0; i < vm->nvcpus; i++)
        if (cpuid_set(&vm->vcpus[i], err) < 0)
            return -1;
    return 0;
}

int cpuid_tsc(struct vm *vm, uint64_t khz)
{
    if (ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) <= 0)
        return -1;
    for (unsigned i = 0; i < vm->nvcpus; i++)
        if (ioctl(vm->vcpus[i].fd, KVM_SET_TSC_KHZ, khz) < 0)
            return -1;
    return 0;
}
