/* SPDX-License-Identifier: Apache-2.0 */
/* Reservation; see the header. Called before a row is written. */
#include "agent/reserve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/vt.h"
#include "base/dirs.h"
#include "base/fd.h"
#include "base/str.h"
#include "profile/profile.h"

/* Memory the hypervisor needs beside the guest's, and what the host keeps. */
enum { HOST_KEEPS = 256 << 20, VM_OVERHEAD = 32 << 20 };

static bool holds(const struct vm *vm)
{
    return state_is_live(vm->state) || vm->state == VM_DEFINED;
}

static uint64_t meminfo(const char *key)
{
    AUTO_STR text = NULL;
    unsigned long long kib = 0;
    if (fd_read_file("/proc/meminfo", 65536, &text, NULL, NULL) < 0)
        return 0;
    char *at = strstr(text, key);
    return at && sscanf(at + strlen(key), ": %llu", &kib) == 1 ? kib << 10 : 0;
}

static uint64_t pool_pages(uint64_t page_bytes, const char *what)
{
    char path[96];
    AUTO_STR text = NULL;
    snprintf(path, sizeof path, "/sys/kernel/mm/hugepages/hugepages-%llukB/%s",
             (unsigned long long)(page_bytes >> 10), what);
    return fd_read_file(path, 32, &text, NULL, NULL) < 0 ? 0 : strtoull(text, NULL, 10);
}

static bool huge(const struct profile *p)
{
    return p->page_bytes > 4096;
}

/* Who holds most, for the refusal: "a (2G), b (512M)". */
static void holders(struct agent *a, const struct profile *like, char *text,
                    size_t size)
{
    struct vm *vm;
    size_t n = 0;
    text[0] = '\0';
    list_each (vm, &a->vms, in) {
        char amount[24];
        bool same = huge(like) ? vm->profile->page_bytes == like->page_bytes
                               : !huge(vm->profile);
        if (!holds(vm) || !same || n + 40 > size)
            continue;
        n += snprintf(text + n, size - n, "%s%s (%s)", n ? ", " : "", vm->name,
                      str_from_bytes(vm->profile->memory_bytes, amount, sizeof amount));
    }
    if (!n)
        snprintf(text, size, "no VM of this agent");
}

static uint64_t held(struct agent *a, const struct vm *but, const struct profile *like)
{
    struct vm *vm;
    uint64_t sum = 0;
    list_each (vm, &a->vms, in)
        if (vm != but && holds(vm) && vm->profile->type != PROFILE_FAKE &&
            (huge(like) ? vm->profile->page_bytes == like->page_bytes
                        : !huge(vm->profile)))
            sum += vm->profile->memory_bytes + (huge(like) ? 0 : VM_OVERHEAD);
    return sum;
}

static int check_memory(struct agent *a, const struct vm *vm, struct err *err)
{
    const struct profile *p = vm->profile;
    uint64_t total = huge(p) ? pool_pages(p->page_bytes, "nr_hugepages") * p->page_bytes
                             : meminfo("MemTotal") - meminfo("Hugetlb");
    uint64_t keeps = huge(p) ? 0 : HOST_KEEPS, taken = held(a, vm, p);
    uint64_t avail = total > keeps + taken ? total - keeps - taken : 0;
    if (huge(p)) {
        uint64_t now = pool_pages(p->page_bytes, "free_hugepages") * p->page_bytes;
        avail = now < avail ? now : avail;
    }
    if (p->memory_bytes <= avail)
        return 0;
    /* Pages that no machine of ours has: the pool leaks, which is the node's fault. */
    bool leaked = huge(p) && taken == 0 && p->memory_bytes <= total;
    char want[24], have[24], page[24], who[200];
    holders(a, p, who, sizeof who);
    str_from_bytes(p->page_bytes, page, sizeof page);
    return err_set(err, leaked ? E_UNAVAIL : E_BUSY,
                   "wants %s of memory%s%s%s but %s is left; held by: %s",
                   str_from_bytes(p->memory_bytes, want, sizeof want),
                   huge(p) ? " in pages of " : "", huge(p) ? page : "",
                   huge(p) ? "" : "", str_from_bytes(avail, have, sizeof have), who);
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

static int check_devices(struct agent *a, const struct vm *vm, struct err *err)
{
    const struct profile *p = vm->profile;
    struct vm *other;
    list_each (other, &a->vms, in) {
        const struct profile *q = other->profile;
        if (other == vm || !holds(other))
            continue;
        for (size_t i = 0; i < p->device_count; i++)
            for (size_t k = 0; k < q->device_count; k++)
                if (p->devices[i].address && q->devices[k].address &&
                    !strcmp(p->devices[i].address, q->devices[k].address))
                    return err_set(err, E_BUSY, "device %s is held by VM '%s'",
                                   p->devices[i].address, other->name);
    }
    return 0;
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

int reserve_check(struct agent *a, const struct vm *vm, struct err *err)
{
    if (vm->profile->type != PROFILE_FAKE && check_memory(a, vm, err) < 0)
        return -1;
    if (check_cpus(a, vm, err) < 0 || check_devices(a, vm, err) < 0)
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
    uint64_t total = meminfo("MemTotal") - meminfo("Hugetlb");
    uint64_t taken = held(a, NULL, &plain) + HOST_KEEPS;
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
                     "memory_bytes", (json_int_t)(total > taken ? total - taken : 0),
                     "types", types);
}

json_t *reserve_show(struct agent *a)
{
    static const struct profile plain = {0};
    struct vm *vm;
    uint64_t disk = 0;
    list_each (vm, &a->vms, in)
        if (holds(vm))
            disk += disk_wants(vm->profile);
    return json_pack(
        "{s:{s:I, s:I}, s:I}", "memory_bytes", "total", (json_int_t)meminfo("MemTotal"),
        "held", (json_int_t)held(a, NULL, &plain), "scratch_bytes", (json_int_t)disk);
}
