/* SPDX-License-Identifier: Apache-2.0 */
/* What a machine's facts mean for Lodge: one line a fact, with the way out. Pure. */
#include "node/node.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

struct judge {
    const struct node_facts *f;
    struct node_line *lines;
    int count, max;
};

static const char *const grades[] = {"ok", "warn", "fail"};

const char *node_grade_name(enum node_grade grade)
{
    return grades[grade];
}

/* Begin a line; its text. The advice is set by advise(), for the line begun last. */
static void say(struct judge *j, const char *fact, enum node_grade grade,
                const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static void say(struct judge *j, const char *fact, enum node_grade grade,
                const char *fmt, ...)
{
    if (j->count == j->max)
        return;
    struct node_line *l = &j->lines[j->count++];
    *l = (struct node_line){.grade = grade};
    snprintf(l->fact, sizeof l->fact, "%s", fact);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(l->text, sizeof l->text, fmt, ap);
    va_end(ap);
}

static void advise(struct judge *j, const char *text)
{
    if (j->count > 0)
        snprintf(j->lines[j->count - 1].advice, sizeof j->lines->advice, "%s", text);
}

static void judge_machine(struct judge *j)
{
    const struct node_machine *m = &j->f->machine;
    char all[16], free[16];
    say(j, "machine", NODE_OK, "%s, Linux %s, %d CPUs (%s), %s memory, %s available",
        m->hostname, m->kernel, m->cpus, m->cpu_model,
        str_from_bytes(m->memory_bytes, all, sizeof all),
        str_from_bytes(m->available_bytes, free, sizeof free));
}

static void judge_kvm(struct judge *j)
{
    const struct node_kvm *k = &j->f->kvm;
    if (!k->present) {
        say(j, "kvm", NODE_WARN, "there is no /dev/kvm: no types hpc and kvm");
        advise(j,
               "turn on virtualization in the firmware and load kvm_amd or kvm_intel; "
               "in a virtual machine, ask for nested virtualization");
    } else if (!k->usable) {
        say(j, "kvm", NODE_WARN, "/dev/kvm cannot be used: %s; no types hpc and kvm",
            k->problem);
        advise(j, "add this user to the group that owns /dev/kvm (usually kvm)");
    } else if (k->kind == NODE_KVM_REAL) {
        say(j, "kvm", NODE_OK,
            "real: a guest at ring 0 runs SSE and cmpxchg16b, at %d%% "
            "of the time taken here",
            k->loop_percent);
    } else if (k->kind == NODE_KVM_SOFTWARE) {
        say(j, "kvm", NODE_WARN, "software%s%s: %s; it is not chosen",
            *k->module ? ", " : "", k->module, k->problem);
        advise(j,
               "this KVM interprets a guest's kernel, so Linux dies early in it; use "
               "type qemu without acceleration, or a machine with VT-x or AMD-V");
    } else {
        say(j, "kvm", NODE_WARN, "no machine can be made: %s", k->problem);
        advise(j, "see dmesg; another hypervisor may hold the CPU");
    }
}

static void judge_extensions(struct judge *j)
{
    const struct node_kvm *k = &j->f->kvm;
    bool amd = !strcmp(k->module, "kvm_amd"), intel = !strcmp(k->module, "kvm_intel");
    if (!k->present)
        return;
    say(j, "extensions", amd || intel ? NODE_OK : NODE_WARN, "%s",
        amd     ? "AMD-V (kvm_amd)"
        : intel ? "VT-x (kvm_intel)"
                : "neither VT-x nor AMD-V serves /dev/kvm");
    if (!amd && !intel)
        advise(j, "turn on virtualization in the firmware, load kvm_amd or kvm_intel");
    if (k->kind != NODE_KVM_REAL)
        return;
    say(j, "nested-paging", k->nested_paging ? NODE_OK : NODE_WARN, "%s is %s",
        amd ? "NPT" : "EPT", k->nested_paging ? "on" : "off");
    if (!k->nested_paging)
        advise(j, amd ? "load kvm_amd with npt=1: without it memory is slow"
                      : "load kvm_intel with ept=1: without it memory is slow");
}

static void judge_memory(struct judge *j)
{
    const struct node_memory *m = &j->f->memory;
    uint64_t total = 0;
    for (int i = 0; i < m->count; i++) {
        const struct node_numa *n = &m->numa[i];
        char text[128] = "", a[16], b[16], c[16];
        size_t len = 0;
        for (int p = 0; p < n->npools; p++) {
            const struct node_pool *pool = &n->pools[p];
            total += pool->total;
            len += snprintf(
                text + len, sizeof text - len, "; %s pages: %llu, %llu free",
                str_from_bytes(pool->page_bytes, a, sizeof a),
                (unsigned long long)pool->total, (unsigned long long)pool->free);
            len = len < sizeof text ? len : sizeof text - 1;
        }
        char name[24];
        snprintf(name, sizeof name, "numa-%d", n->id);
        say(j, name, NODE_OK, "CPUs %s, %s memory, %s free%s",
            *n->cpus ? n->cpus : "none", str_from_bytes(n->memory_bytes, b, sizeof b),
            str_from_bytes(n->free_bytes, c, sizeof c), text);
    }
    if (total == 0) {
        say(j, "hugepages", NODE_WARN, "no huge pages are reserved");
        advise(j, "profiles that ask for them are refused; reserve some: "
                  "hugepagesz=1G hugepages=N on the kernel command line");
    }
}

static void judge_devices(struct judge *j)
{
    const struct node_devices *d = &j->f->devices;
    if (d->iommu_groups > 0) {
        say(j, "iommu", NODE_OK, "%d groups; VFIO %s", d->iommu_groups,
            d->vfio ? "can be used" : "is not loaded, or closed to us");
    } else {
        say(j, "iommu", NODE_WARN, "no IOMMU groups: no device can be passed through");
        advise(j, "turn on VT-d or AMD-Vi in the firmware, and intel_iommu=on on the "
                  "kernel command line");
    }
    static const struct {
        const char *name, *advice;
        size_t offset;
    } rows[] = {
        {"vhost-net", "load vhost_net: without it networks cost a copy more",
         offsetof(struct node_devices, vhost_net)},
        {"vhost-vsock", "load vhost_vsock, if profiles want vsock",
         offsetof(struct node_devices, vhost_vsock)},
        {"tun", "load tun: without it a machine has no network but QEMU's own",
         offsetof(struct node_devices, tun)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool there = *((const bool *)((const char *)d + rows[i].offset));
        say(j, rows[i].name, there ? NODE_OK : NODE_WARN, "%s",
            there ? "can be used" : "cannot be opened");
        if (!there)
            advise(j, rows[i].advice);
    }
}

static void judge_cgroup(struct judge *j)
{
    const struct node_cgroup *c = &j->f->cgroup;
    if (c->version == 0) {
        say(j, "cgroup", NODE_WARN, "no control groups are mounted");
        advise(j, "mount cgroup2 on /sys/fs/cgroup; without it no limit holds");
        return;
    }
    say(j, "cgroup", c->delegated ? NODE_OK : NODE_WARN,
        "version %d, %s; controllers: %s", c->version,
        c->delegated ? "ours to divide" : "not ours to divide",
        *c->controllers ? c->controllers : "none");
    if (!c->delegated)
        advise(j, "run the agent as root, or under a systemd unit with Delegate=yes");
}

static void judge_libvirt(struct judge *j)
{
    const struct node_libvirt *l = &j->f->libvirt;
    if (l->reachable)
        say(j, "libvirt", NODE_OK, "answers on %s", l->socket);
    else if (*l->socket)
        say(j, "libvirt", NODE_WARN, "does not answer on %s: %s", l->socket,
            l->problem);
    else
        say(j, "libvirt", NODE_WARN,
            l->installed ? "is installed but does not run" : "is not installed");
    if (!l->reachable)
        advise(j, l->installed
                      ? "start libvirtd: types kvm, qemu, xen and lxc need it"
                      : "types kvm, qemu, xen and lxc need it: apt-get install "
                        "libvirt-daemon-system");
}

static void judge_qemu(struct judge *j)
{
    const struct node_qemu *q = &j->f->qemu;
    if (!*q->path) {
        say(j, "qemu", NODE_WARN, "is not installed");
        advise(j, "types kvm and qemu need it: apt-get install qemu-system-x86");
        return;
    }
    if (!*q->version) {
        say(j, "qemu", NODE_WARN, "%s did not answer in time", q->path);
        advise(j, "try it by hand: it should tell its version at once");
        return;
    }
    say(j, "qemu", NODE_OK, "%s, accelerators:%s%s", q->version, q->kvm ? " kvm" : "",
        q->tcg ? " tcg" : "");
}

static void judge_scheduler(struct judge *j)
{
    const struct node_facts *f = j->f;
    if (f->answered[NODE_PROBE_SLURM]) {
        bool there = *f->slurm.version;
        say(j, "slurm", there ? NODE_OK : NODE_WARN, "%s",
            there ? f->slurm.version : "is not installed");
        if (!there)
            advise(j, "only jobs of a scheduler need it");
    }
    if (f->answered[NODE_PROBE_MUNGE]) {
        const struct node_munge *m = &f->munge;
        say(j, "munge", m->running ? NODE_OK : NODE_WARN, "%s%s",
            *m->version ? m->version : "is not installed",
            m->running    ? ", running"
            : *m->version ? ", not running"
                          : "");
        if (!m->running)
            advise(j, "start munged: Slurm and submit hosts need it");
    }
}

static void judge_sshd(struct judge *j)
{
    const struct node_sshd *s = &j->f->sshd;
    say(j, "sshd", s->listening ? NODE_OK : NODE_WARN, "%s",
        s->listening   ? *s->version ? s->version : "listens on port 22"
        : s->installed ? "is installed but does not listen on port 22"
                       : "is not installed");
    if (!s->listening)
        advise(j, "the controller reaches this node by ssh: install and start sshd");
}

bool node_can_kvm(const struct node_facts *f)
{
    return f->kvm.kind == NODE_KVM_REAL;
}

/* What can run here at all. */
static void judge_types(struct judge *j)
{
    const struct node_facts *f = j->f;
    bool kvm = node_can_kvm(f), virt = f->libvirt.reachable || f->libvirt.installed;
    char text[64] = "";
    size_t len = 0;
    const struct {
        const char *name;
        bool can;
    } types[] = {{"hpc", kvm},
                 {"kvm", kvm && f->qemu.kvm && virt},
                 {"qemu", f->qemu.tcg && virt},
                 {"lxc", virt && f->machine.root}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].can)
            len += snprintf(text + len, sizeof text - len, " %s", types[i].name);
    say(j, "types", *text ? NODE_OK : NODE_FAIL, "%s%s",
        *text ? "what can run here:" : "no type of machine can run here", text);
    if (!*text)
        advise(j, "a real KVM, or QEMU and libvirt, is needed: see the lines above");
}

int node_judge(const struct node_facts *facts, struct node_line *lines, int max)
{
    static const struct {
        enum node_probe probe;
        const char *name;
        void (*judge)(struct judge *j);
    } rows[] = {
        {NODE_PROBE_MACHINE, "machine", judge_machine},
        {NODE_PROBE_KVM, "kvm", judge_kvm},
        {NODE_PROBE_KVM, NULL, judge_extensions},
        {NODE_PROBE_MEMORY, "memory", judge_memory},
        {NODE_PROBE_DEVICES, "devices", judge_devices},
        {NODE_PROBE_CGROUP, "cgroup", judge_cgroup},
        {NODE_PROBE_LIBVIRT, "libvirt", judge_libvirt},
        {NODE_PROBE_QEMU, "qemu", judge_qemu},
        {NODE_PROBE_SLURM, "slurm", judge_scheduler},
        {NODE_PROBE_SSHD, "sshd", judge_sshd},
    };
    struct judge j = {.f = facts, .lines = lines, .max = max};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (facts->answered[rows[i].probe]) {
            rows[i].judge(&j);
        } else if (rows[i].name) {
            say(&j, rows[i].name, NODE_WARN, "did not answer in time");
            advise(&j, "something below it hangs: see dmesg and the service's log");
        }
    }
    judge_types(&j);
    return j.count;
}
