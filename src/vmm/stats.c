/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers for the control socket: our own exit counters a vCPU, and what KVM counts, read
 * from its statistics descriptors. Control thread only. */
#include "vmm/vm.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { NAME_MAX_BYTES = 256, STATS_MAX = 512 };

static const char *const reasons[VM_EXITS] = {
    [KVM_EXIT_IO] = "io",
    [KVM_EXIT_HLT] = "hlt",
    [KVM_EXIT_MMIO] = "mmio",
    [KVM_EXIT_SHUTDOWN] = "shutdown",
    [KVM_EXIT_FAIL_ENTRY] = "fail-entry",
    [KVM_EXIT_INTR] = "intr",
    [KVM_EXIT_INTERNAL_ERROR] = "internal-error",
    [KVM_EXIT_SYSTEM_EVENT] = "system-event",
    [KVM_EXIT_IOAPIC_EOI] = "ioapic-eoi",
    [VM_EXITS - 1] = "other",
};

static json_t *exits_json(const struct vm *vm, const struct vcpu *v)
{
    json_t *out = json_object();
    for (unsigned i = 0; i < VM_EXITS; i++) {
        char name[24];
        if (v->count.exits[i] == 0)
            continue;
        snprintf(name, sizeof name, "exit-%u", i);
        double us = vm->tsc_khz ? (double)v->count.cycles[i] * 1000 / vm->tsc_khz : 0;
        json_object_set_new(
            out, reasons[i] ? reasons[i] : name,
            json_pack("{s:I, s:f}", "count", (json_int_t)v->count.exits[i], "us", us));
    }
    return out;
}

/* One descriptor's statistics: plain counters and levels that are not 0. */
static json_t *kvm_json(int fd)
{
    struct kvm_stats_header h;
    union {
        struct kvm_stats_desc desc;
        char room[sizeof(struct kvm_stats_desc) + NAME_MAX_BYTES];
    } d;
    json_t *out = json_object();
    if (fd < 0 || pread(fd, &h, sizeof h, 0) != (ssize_t)sizeof h ||
        h.name_size > NAME_MAX_BYTES || h.num_desc > STATS_MAX)
        return out;
    size_t step = sizeof d.desc + h.name_size;
    for (uint32_t i = 0; i < h.num_desc; i++) {
        uint64_t value;
        if (pread(fd, &d, step, (off_t)(h.desc_offset + i * step)) != (ssize_t)step)
            break;
        unsigned type = d.desc.flags & KVM_STATS_TYPE_MASK;
        if (type > KVM_STATS_TYPE_PEAK || d.desc.size != 1 ||
            pread(fd, &value, sizeof value, (off_t)h.data_offset + d.desc.offset) !=
                (ssize_t)sizeof value ||
            value == 0)
            continue;
        d.room[sizeof d.room - 1] = 0;
        json_object_set_new(out, d.desc.name, json_integer((json_int_t)value));
    }
    return out;
}

json_t *stats_json(struct vm *vm)
{
    json_t *vcpus = json_array(), *devices = json_object();
    for (unsigned i = 0; i < vm->nvcpus; i++)
        json_array_append_new(vcpus, json_pack("{s:o, s:o}", "exits",
                                               exits_json(vm, &vm->vcpus[i]), "kvm",
                                               kvm_json(vm->vcpus[i].stats_fd)));
    for (size_t i = 0; i < vm->ndevices; i++) {
        struct device *d = &vm->devices[i];
        json_t *o = d->ops->stats ? d->ops->stats(d) : NULL;
        o = o ? o : json_object();
        json_object_set_new(o, "guest_errors",
                            json_integer((json_int_t)atomic_load(&d->guest_errors)));
        json_object_set_new(devices, d->id, o);
    }
    return json_pack("{s:o, s:o, s:o, s:I}", "vcpus", vcpus, "vm",
                     kvm_json(vm->stats_fd), "devices", devices, "unclaimed_accesses",
                     (json_int_t)vm->bus.unclaimed);
}
