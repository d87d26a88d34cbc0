/* SPDX-License-Identifier: Apache-2.0 */
/* Reservation; see the header. Called before a row is written. */
#include "agent/reserve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/room.h"
#include "agent/vt.h"
#include "base/dirs.h"
#include "base/str.h"
#include "profile/profile.h"

/* Memory the hypervisor needs beside the guest's, and what the host keeps. */
enum { HOST_KEEPS = 256 << 20, VM_OVERHEAD = 32 << 20 };

static bool holds(const struct vm *vm)
{
    return state_is_live(vm->state) || vm->state == VM_DEFINED;
}

static bool huge(const struct profile *p)
{
    return p->page_bytes > 4096;
}

/* --- memory --------------------------------------------------------------------------- */

/* What the node has in pages like p's, and what others than `but` hold of them. */
struct books {
    struct place_numa numa[ROOM_NODES];
    struct place_held *held;
    struct place_memory memory;
};

static int books_open(struct agent *a, const struct vm *but, const struct profile *like,
                      struct books *b, struct err *err)
{
    struct vm *vm;
    size_t n = 0;
    list_each (vm, &a->vms, in)
        n++;
    if (!(b->held = calloc(n + 1, sizeof *b->held)))
        return err_oom(err);
    b->memory = (struct place_memory){.page_bytes = like->page_bytes,
                                      .numa = b->numa,
                                      .held = b->held,
                                      .keeps = huge(like) ? 0 : HOST_KEEPS};
    b->memory.nnuma = room_memory(a->root, like->page_bytes, b->numa);
    list_each (vm, &a->vms, in) {
        const struct profile *p = vm->profile;
        bool same = huge(like) ? p->page_bytes == like->page_bytes : !huge(p);
        if (vm == but || !holds(vm) || !same || p->type == PROFILE_FAKE)
            continue;
        bool bound = place_memory_is_bound(p->numa_policy);
        b->held[b->memory.nheld++] =
            (struct place_held){.name = vm->name,
                                .bytes = p->memory_bytes + (huge(p) ? 0 : VM_OVERHEAD),
                                .nodes = p->numa_nodes.at,
                                .count = bound ? p->numa_nodes.count : 0};
    }
    return 0;
}

static uint64_t books_held(const struct books *b)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < b->memory.nheld; i++)
        sum += b->held[i].bytes;
    return sum;
}

static int take_memory(struct agent *a, struct vm *vm, struct err *err)
{
    struct profile *p = vm->profile;
    struct books b;
    if (books_open(a, vm, p, &b, err) < 0)
        return -1;
    int r = place_memory_fit(&b.memory, p->memory_bytes, p->numa_policy, &p->numa_nodes,
                             err);
    free(b.held);
    return r;
}

static int check_cpus(struct agent *a, const struct vm *vm, struct err *err)
{
    const struct profile_u32s *pin = &vm->profile->cpu_pin;
    struct vm *other;
    list_each (other, &a->vms, in) {
        if (other == vm || !holds(other))
            continue;
        for (size_t i = 0; i < pin->count; i++)
            for (size_t k = 0; k < other->profile->cpu_pin.count; k++)
                if (pin->at[i] == other->profile->cpu_pin.at[k])
                    return err_set(err, E_BUSY, "CPU %u is pinned by VM '%s'",
                                   pin->at[i], other->name);
    }
    return 0;
}

static const char *device_holder(struct agent *a, const struct vm *but,
                                 const char *address)
{
    struct vm *vm;
    list_each (vm, &a->vms, in)
        for (size_t i = 0; vm != but && holds(vm) && i < vm->profile->device_count; i++)
            if (vm->profile->devices[i].address &&
                !strcasecmp(vm->profile->devices[i].address, address))
                return vm->name;
    return NULL;
}

static int take_devices(struct agent *a, struct vm *vm, struct err *err)
{
    struct profile *p = vm->profile;
    struct place_device *all;
    if (!p->device_count)
        return 0;
    size_t n = room_devices(a->root, &all);
    for (size_t i = 0; i < n; i++)
        all[i].holder = device_holder(a, vm, all[i].address);
    /* One of a class is chosen anew each time. */
    for (size_t i = 0; i < p->device_count; i++)
        if (p->devices[i].class) {
            free(p->devices[i].address);
            p->devices[i].address = NULL;
        }
    int r = all ? place_devices(all, n, p, err) : err_oom(err);
    free(all);
    return r;
}

static uint64_t disk_wants(const struct profile *p)
{
    uint64_t sum = p->scratch_bytes;
    for (size_t i = 0; i < p->disk_count; i++)
        if (!p->disks[i].path)
            sum += p->disks[i].size_bytes;
    return sum;
}

static int check_scratch(struct agent *a, const struct vm *vm, struct err *err)
{
    uint64_t want = disk_wants(vm->profile), promised = 0;
    AUTO_STR dir = dirs_path(DIRS_STATE, NULL);
    struct statvfs fs;
    struct vm *other;
    if (!want || !dir || statvfs(dir, &fs) < 0)
        return 0;
    list_each (other, &a->vms, in)
        if (other != vm && holds(other))
            promised += disk_wants(other->profile);
    uint64_t left = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (want + promised <= left)
        return 0;
    char w[24], l[24], pr[24];
    return err_set(err, E_BUSY,
                   "wants %s of disk space but '%s' has %s, of which %s is promised to "
                   "other VMs",
                   str_from_bytes(want, w, sizeof w), dir,
                   str_from_bytes(left, l, sizeof l),
                   str_from_bytes(promised, pr, sizeof pr));
}

int reserve_check(struct agent *a, struct vm *vm, struct err *err)
{
    if (vm->profile->type != PROFILE_FAKE && take_memory(a, vm, err) < 0)
        return -1;
    if (check_cpus(a, vm, err) < 0 || take_devices(a, vm, err) < 0)
        return -1;
    return check_scratch(a, vm, err);
}

/* May this type be asked for here? The same facts that type auto is chosen by. */
static bool can_run(const struct place_facts *f, enum profile_type type)
{
    switch (type) {
    case PROFILE_HPC:
        return f->kvm && f->vmm;
    case PROFILE_KVM:
        return f->kvm && f->qemu;
    case PROFILE_QEMU:
        return f->qemu;
    default:
        return true; /* libvirt has the last word */
    }
}

int reserve_can_run(struct agent *a, enum profile_type type, struct err *err)
{
    if (type != PROFILE_HPC && type != PROFILE_KVM)
        return 0; /* libvirt has the last word */
    const struct place_facts *f = agent_facts(a);
    if (can_run(f, type))
        return 0;
    return err_set(err, E_UNAVAIL, "this node cannot run type '%s': %s",
                   profile_type_names[type],
                   !f->kvm               ? f->no_kvm
                   : type == PROFILE_HPC ? "lodge-vmm is not installed"
                                         : f->no_qemu);
}

json_t *reserve_room(struct agent *a)
{
    static const struct profile plain = {0};
    const struct place_facts *f = agent_facts(a);
    struct books b;
    if (books_open(a, NULL, &plain, &b, NULL) < 0)
        return NULL;
    uint64_t left = place_memory_left(&b.memory, PLACE_ALL);
    free(b.held);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    struct vm *vm;
    list_each (vm, &a->vms, in)
        if (holds(vm) && vm->profile->type != PROFILE_FAKE)
            cpus -= vm->profile->vcpus;
    json_t *types = json_array();
    for (const struct vt_ops *const *o = vt_types; *o; o++)
        if (can_run(f, profile_word(profile_type_names, (*o)->name)))
            json_array_append_new(types, json_string((*o)->name));
    return json_pack("{s:I, s:I, s:o}", "cpus", (json_int_t)(cpus > 0 ? cpus : 0),
                     "memory_bytes", (json_int_t)left, "types", types);
}

/* One page size: {"page", "total", "held", "nodes": [{"node", "total", "left"}], "by":
 * [{"vm", "bytes"}]}. */
static json_t *show_pages(struct agent *a, uint64_t page_bytes)
{
    struct profile like = {.page_bytes = page_bytes};
    struct books b;
    if (books_open(a, NULL, &like, &b, NULL) < 0)
        return NULL;
    json_t *nodes = json_array(), *by = json_array();
    uint64_t total = 0;
    for (size_t i = 0; i < b.memory.nnuma; i++) {
        total += b.numa[i].total;
        json_array_append_new(
            nodes, json_pack("{s:I, s:I, s:I}", "node", (json_int_t)b.numa[i].id,
                             "total", (json_int_t)b.numa[i].total, "left",
                             (json_int_t)place_memory_left(&b.memory, b.numa[i].id)));
    }
    for (size_t i = 0; i < b.memory.nheld; i++)
        json_array_append_new(by, json_pack("{s:s, s:I}", "vm", b.held[i].name, "bytes",
                                            (json_int_t)b.held[i].bytes));
    json_t *o = json_pack("{s:I, s:I, s:I, s:o, s:o}", "page", (json_int_t)page_bytes,
                          "total", (json_int_t)total, "held",
                          (json_int_t)books_held(&b), "nodes", nodes, "by", by);
    free(b.held);
    return o;
}

json_t *reserve_show(struct agent *a)
{
    static const uint64_t sizes[] = {4096, 2 << 20, 1 << 30};
    struct vm *vm;
    uint64_t disk = 0;
    list_each (vm, &a->vms, in)
        if (holds(vm))
            disk += disk_wants(vm->profile);
    json_t *pages = json_array();
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        json_t *one = show_pages(a, sizes[i]);
        if (i == 0 || json_integer_value(json_object_get(one, "total")))
            json_array_append(pages, one);
        json_decref(one);
    }
    json_t *plain = json_array_get(pages, 0);
    return json_pack("{s:{s:O*, s:O*}, s:o, s:I}", "memory_bytes", "total",
                     json_object_get(plain, "total"), "held",
                     json_object_get(plain, "held"), "pages", pages, "scratch_bytes",
                     (json_int_t)disk);
}
