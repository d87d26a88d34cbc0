/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's state but its RAM: out of a paused machine, into a fresh one. Sections in
 * the order in which they are restored: what must fit, the CPU's table, the interrupt
 * controller, the vCPUs, then the devices, which may raise interrupts at once. */
#include "vmm/vm.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { TAG_CLOCK = 1, TAG_TSC, TAG_KHZ, TAG_PIECE, TAG_TIME, TAG_CPUID = 1 };
/* KVM treats two clocks as the same up to this part of a million. */
enum { TSC_TOLERANCE_PPM = 250 };

struct saved_piece {
    uint64_t gpa, size, offset;
};

static void device_section(const struct device *d, char name[STATE_NAME_MAX])
{
    snprintf(name, STATE_NAME_MAX, "d:%.28s", d->id);
}

static void save_machine(struct vm *vm, struct state_writer *w)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    state_begin(w, "machine", 1);
    state_put_u64(w, TAG_CLOCK, vm->clock.clock);
    state_put_u64(w, TAG_TSC, vm->paused_tsc);
    state_put_u64(w, TAG_KHZ, vm->tsc_khz);
    for (size_t i = 0; i < vm->nmemory; i++) {
        const struct vm_memory *m = &vm->memory[i];
        struct saved_piece p = {m->gpa, m->size, m->offset};
        if (m->ram)
            state_put(w, TAG_PIECE, &p, sizeof p);
    }
    state_put_u64(w, TAG_TIME,
                  (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
    state_end(w);
    state_begin(w, "cpuid", 1);
    state_put(w, TAG_CPUID, vm->cpuid->entries,
              vm->cpuid->nent * sizeof vm->cpuid->entries[0]);
    state_end(w);
}

int vm_save(struct vm *vm, struct state_writer *w, struct err *err)
{
    if (vm->state != VM_PAUSED)
        return err_set(err, E_STATE, "save: pause the machine first");
    save_machine(vm, w);
    irq_save(vm, w);
    power_save(vm, w);
    state_begin(w, "pci", 1);
    pci_host_save(vm, w);
    state_end(w);
    for (unsigned i = 0; i < vm->nvcpus; i++)
        if (vcpu_save(&vm->vcpus[i], w, err) < 0)
            return -1;
    for (size_t i = 0; i < vm->ndevices; i++) {
        char name[STATE_NAME_MAX];
        device_section(&vm->devices[i], name);
        state_begin(w, name, 1);
        vm->devices[i].ops->save(&vm->devices[i], w);
        state_end(w);
    }
    return state_finish(w, err);
}

/* --- restoring ---------------------------------------------------------------------- */

static bool is_known(const struct vm *vm, const char *name)
{
    static const char *const ours[] = {"machine", "cpuid", "ioapic", "power", "pci"};
    char other[STATE_NAME_MAX];
    for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
        if (strcmp(name, ours[i]) == 0)
            return true;
    for (unsigned i = 0; i < vm->nvcpus; i++) {
        snprintf(other, sizeof other, "vcpu%u", i);
        if (strcmp(name, other) == 0)
            return true;
    }
    for (size_t i = 0; i < vm->ndevices; i++) {
        device_section(&vm->devices[i], other);
        if (strcmp(name, other) == 0)
            return true;
    }
    return false;
}

/* Every section is whole, and ours, or one that may be left out. */
static int check_sections(const struct vm *vm, const void *state, size_t len,
                          struct err *err)
{
    struct state_reader r;
    int got;
    state_open(&r, state, len);
    while ((got = state_next(&r, err)) > 0) {
        if (is_known(vm, r.name) ? r.version == 1 : r.optional)
            continue;
        if (strncmp(r.name, "d:", 2) == 0)
            return err_set(err, E_CONFIG,
                           "restore: it has a device '%s', the configuration has none",
                           r.name + 2);
        if (strncmp(r.name, "vcpu", 4) == 0)
            return err_set(err, E_CONFIG,
                           "restore: it has more vCPUs than the %u configured",
                           vm->nvcpus);
        return err_set(err, E_UNAVAIL,
                       "restore: section '%s' (version %u) is not known to this "
                       "version",
                       r.name, r.version);
    }
    return got;
}

static int check_memory(const struct vm *vm, const struct state_reader *r,
                        struct err *err)
{
    for (unsigned i = 0;; i++) {
        size_t len;
        struct saved_piece p;
        const void *saved = state_peek(r, TAG_PIECE, i, &len);
        bool ours = i < vm->nmemory && vm->memory[i].ram;
        if (!saved && !ours)
            return 0;
        if (saved && len == sizeof p)
            memcpy(&p, saved, sizeof p);
        const struct vm_memory *m = &vm->memory[i];
        if (!saved || !ours || len != sizeof p || p.gpa != m->gpa ||
            p.size != m->size || p.offset != m->offset)
            return err_set(err, E_CONFIG,
                           "restore: memory is divided in another way than configured "
                           "(size or nodes)");
    }
}

static int restore_machine(struct vm *vm, struct state_reader *r, struct err *err)
{
    uint64_t khz;
    if (state_find(r, "machine", err) < 0 || check_memory(vm, r, err) < 0 ||
        state_get_u64(r, TAG_KHZ, &khz, err) < 0)
        return -1;
    uint64_t clock = state_get_u64_or(r, TAG_CLOCK, 0);
    vm->paused_tsc = state_get_u64_or(r, TAG_TSC, 0);
    vm->clock = (struct kvm_clock_data){.clock = clock};
    vm->clock_valid = clock != 0;
    uint64_t apart = khz > vm->tsc_khz ? khz - vm->tsc_khz : vm->tsc_khz - khz;
    if (khz && apart * 1000000 / khz > TSC_TOLERANCE_PPM && cpuid_tsc(vm, khz) < 0)
        return err_set(err, E_UNAVAIL,
                       "restore: the guest's time stamp counter runs at %llu kHz, this "
                       "host's at %u, and it cannot scale",
                       (unsigned long long)khz, vm->tsc_khz);
    size_t len;
    const struct kvm_cpuid_entry2 *e;
    if (state_find(r, "cpuid", err) < 0)
        return -1;
    e = state_peek(r, TAG_CPUID, 0, &len);
    if (!e || len % sizeof *e)
        return err_set(err, E_INPUT, "restore: no CPUID");
    return cpuid_restore(vm, e, len / sizeof *e, err);
}

/* Devices may have started (vhost): stand still until resume, as after a pause. */
static int restore_devices(struct vm *vm, struct state_reader *r, struct err *err)
{
    for (size_t i = 0; i < vm->ndevices; i++) {
        struct device *d = &vm->devices[i];
        char name[STATE_NAME_MAX];
        device_section(d, name);
        if (state_find(r, name, err) < 0 || d->ops->restore(d, r, err) < 0 ||
            (d->ops->pause && d->ops->pause(d, err) < 0))
            return err_at(err, "restore: device '%s'", d->id);
    }
    return 0;
}

int vm_restore(struct vm *vm, const void *state, size_t len, struct err *err)
{
    struct state_reader r;
    if (vm->state != VM_BUILT)
        return err_set(err, E_STATE, "restore: the machine has run");
    if (check_sections(vm, state, len, err) < 0)
        return -1;
    state_open(&r, state, len);
    if (restore_machine(vm, &r, err) < 0 || irq_restore(vm, &r, err) < 0 ||
        power_restore(vm, &r, err) < 0 || state_find(&r, "pci", err) < 0 ||
        pci_host_restore(vm, &r, err) < 0)
        return -1;
    for (unsigned i = 0; i < vm->nvcpus; i++)
        if (vcpu_restore(&vm->vcpus[i], &r, err) < 0)
            return err_at(err, "restore: vCPU %u", i);
    if (restore_devices(vm, &r, err) < 0)
        return -1;
    vm->state = VM_PAUSED;
    return 0;
}
