/* SPDX-License-Identifier: Apache-2.0 */
/* Domain XML; see the header. */
#include "agent/vt_xml.h"

#include <libxml/xmlwriter.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

static const struct vt_dialect kvm = {
    .domain = "kvm",
    .os_type = "hvm",
    .machine = "q35",
    .arch = "x86_64",
    .disk_bus = "virtio",
    .disk_prefix = "vd",
    .console = "serial",
    .channel = "virtio",
    .nic_model = "virtio",
    .cpu_mode = "host-passthrough",
    .memfd = true,
    .user_nic = true,
};
static const struct vt_dialect qemu = {
    .domain = "qemu",
    .os_type = "hvm",
    .machine = "q35",
    .arch = "x86_64",
    .disk_bus = "virtio",
    .disk_prefix = "vd",
    .console = "serial",
    .channel = "virtio",
    .nic_model = "virtio",
    .memfd = true,
    .user_nic = true,
};
static const struct vt_dialect xen = {
    .domain = "xen",
    .os_type = "linux",
    .arch = "x86_64",
    .machine = "xenpv",
    .disk_bus = "xen",
    .disk_prefix = "xvd",
    .console = "xen",
    .channel = "xen",
};
static const struct vt_dialect xenhvm = {
    .domain = "xen",
    .os_type = "hvm",
    .arch = "x86_64",
    .machine = "xenfv",
    .disk_bus = "xen",
    .disk_prefix = "xvd",
    .console = "serial",
    .channel = "xen",
};
static const struct vt_dialect lxc = {
    .domain = "lxc",
    .os_type = "exe",
    .console = "lxc",
    .container = true,
};

const struct vt_dialect *vt_dialect_of(enum profile_type type)
{
    switch (type) {
    case PROFILE_KVM:
        return &kvm;
    case PROFILE_QEMU:
        return &qemu;
    case PROFILE_XEN:
        return &xen;
    case PROFILE_XENHVM:
        return &xenhvm;
    case PROFILE_LXC:
        return &lxc;
    default:
        return NULL;
    }
}

/* --- the writer: failures are kept and told once ------------------------------------- */

struct xml {
    xmlTextWriterPtr w;
    bool failed;
};

static void open_(struct xml *x, const char *name)
{
    x->failed |= xmlTextWriterStartElement(x->w, BAD_CAST name) < 0;
}

static void close_(struct xml *x)
{
    x->failed |= xmlTextWriterEndElement(x->w) < 0;
}

static void attr(struct xml *x, const char *name, const char *value)
{
    if (value)
        x->failed |=
            xmlTextWriterWriteAttribute(x->w, BAD_CAST name, BAD_CAST value) < 0;
}

/* NAME="VALUE" pairs that end with NULL; a pair with a NULL value is left out. */
static void attrs(struct xml *x, va_list ap)
{
    for (const char *name; (name = va_arg(ap, const char *));)
        attr(x, name, va_arg(ap, const char *));
}

static void __attribute__((sentinel)) begin(struct xml *x, const char *name, ...)
{
    va_list ap;
    va_start(ap, name);
    open_(x, name);
    attrs(x, ap);
    va_end(ap);
}

static void __attribute__((sentinel)) empty(struct xml *x, const char *name, ...)
{
    va_list ap;
    va_start(ap, name);
    open_(x, name);
    attrs(x, ap);
    va_end(ap);
    close_(x);
}

static void __attribute__((sentinel))
text(struct xml *x, const char *name, const char *value, ...)
{
    va_list ap;
    if (!value)
        return;
    va_start(ap, value);
    open_(x, name);
    attrs(x, ap);
    va_end(ap);
    x->failed |= xmlTextWriterWriteString(x->w, BAD_CAST value) < 0;
    close_(x);
}

static const char *num(char buf[24], unsigned long long v)
{
    snprintf(buf, 24, "%llu", v);
    return buf;
}

/* --- parts ------------------------------------------------------------------------------ */

static void put_memory(struct xml *x, const struct plan *p, const struct vt_dialect *d)
{
    const struct profile *f = p->profile;
    char n[24];
    text(x, "memory", num(n, f->memory_bytes >> 10), "unit", "KiB", NULL);
    if (!d->memfd)
        return;
    begin(x, "memoryBacking", NULL);
    if (f->page_bytes > 4096) {
        begin(x, "hugepages", NULL);
        empty(x, "page", "size", num(n, f->page_bytes >> 10), "unit", "KiB", NULL);
        close_(x);
    }
    empty(x, "nosharepages", NULL);
    empty(x, "source", "type", "memfd", NULL);
    empty(x, "access", "mode", "shared", NULL);
    if (f->prealloc)
        empty(x, "allocation", "mode", "immediate", NULL);
    close_(x);
}

static void put_cpus(struct xml *x, const struct plan *p, const struct vt_dialect *d)
{
    const struct profile *f = p->profile;
    char n[24], m[24];
    text(x, "vcpu", num(n, f->vcpus), "placement", "static", NULL);
    if (f->cpu_pin.count) {
        begin(x, "cputune", NULL);
        for (size_t i = 0; i < f->cpu_pin.count && i < f->vcpus; i++)
            empty(x, "vcpupin", "vcpu", num(n, i), "cpuset", num(m, f->cpu_pin.at[i]),
                  NULL);
        close_(x);
    }
    static const char *const modes[] = {[PROFILE_NUMA_BIND] = "strict",
                                        [PROFILE_NUMA_MIRROR] = "strict",
                                        [PROFILE_NUMA_PREFER] = "preferred",
                                        [PROFILE_NUMA_INTERLEAVE] = "interleave"};
    bool prefer = f->numa_policy == PROFILE_NUMA_PREFER; /* knows one node only */
    if (f->numa_policy == PROFILE_NUMA_NONE || !f->numa_nodes.count || d->container)
        return;
    AUTO_BUF set = {0};
    for (size_t i = 0; i < (prefer ? 1 : f->numa_nodes.count); i++)
        str_buf_printf(&set, "%s%u", i ? "," : "", f->numa_nodes.at[i]);
    begin(x, "numatune", NULL);
    empty(x, "memory", "mode", modes[f->numa_policy], "nodeset", set.data, NULL);
    close_(x);
}

static void put_cpu_model(struct xml *x, const struct profile *f,
                          const struct vt_dialect *d)
{
    if (!d->cpu_mode && !f->cpu_features.count)
        return;
    begin(x, "cpu", "mode", d->cpu_mode ? d->cpu_mode : "maximum", NULL);
    for (size_t i = 0; i < f->cpu_features.count; i++) {
        const char *word = f->cpu_features.at[i];
        empty(x, "feature", "policy", *word == '-' ? "disable" : "require", "name",
              *word == '-' || *word == '+' ? word + 1 : word, NULL);
    }
    close_(x);
}

static void put_os(struct xml *x, const struct plan *p, const struct vt_dialect *d)
{
    begin(x, "os", NULL);
    text(x, "type", d->os_type, "arch", d->arch, "machine",
         p->machine ? p->machine : d->machine, NULL);
    if (d->container) {
        text(x, "init", "/usr/lib/lodge/lodge-guest", NULL);
        text(x, "initarg", "--listen", NULL);
        text(x, "initarg", "/.lodge/guest.sock", NULL);
    } else if (p->kernel) {
        text(x, "kernel", p->kernel, NULL);
        text(x, "initrd", p->initrd, NULL);
        text(x, "cmdline", p->cmdline, NULL);
    } else {
        empty(x, "boot", "dev", p->profile->cdrom ? "cdrom" : "hd", NULL);
    }
    close_(x);
}

static const char *disk_bus(const struct plan_disk *d, const struct vt_dialect *how)
{
    return d->cdrom && !strcmp(how->disk_bus, "virtio") ? "sata" : how->disk_bus;
}

void vt_disk_dev(const struct plan_disk *d, size_t i, const struct vt_dialect *how,
                 char dev[16])
{
    if (strcmp(disk_bus(d, how), "sata"))
        snprintf(dev, 16, "%s%c", how->disk_prefix, (char)('a' + i % 26));
    else
        snprintf(dev, 16, "sda");
}

static void put_disk(struct xml *x, const struct plan_disk *d, size_t i,
                     const struct vt_dialect *how)
{
    char dev[16];
    const char *bus = disk_bus(d, how);
    vt_disk_dev(d, i, how, dev);
    begin(x, "disk", "type", "file", "device", d->cdrom ? "cdrom" : "disk", NULL);
    bool virtio = !strcmp(bus, "virtio");
    empty(x, "driver", "name", "qemu", "type", d->format, "cache",
          virtio && !d->readonly && !d->buffered ? "none" : NULL, "discard",
          virtio ? "unmap" : NULL, NULL);
    empty(x, "source", "file", d->path, NULL);
    empty(x, "target", "dev", dev, "bus", bus, NULL);
    if (d->readonly)
        empty(x, "readonly", NULL);
    if (d->shared)
        empty(x, "shareable", NULL);
    if (virtio)
        text(x, "serial", d->serial, NULL);
    close_(x);
}

static void put_nic(struct xml *x, const struct plan_nic *n, const struct vt_dialect *d)
{
    char q[24];
    bool veth = d->container && *n->bridge;
    begin(x, "interface", "type",
          veth                     ? "bridge"
          : n->tap || d->container ? "ethernet"
                                   : "user",
          NULL);
    if (veth)
        empty(x, "source", "bridge", n->bridge, NULL);
    empty(x, "mac", "address", n->mac, NULL);
    if (n->tap && !d->container)
        empty(x, "target", "dev", n->tap, "managed", "no", NULL);
    if (d->nic_model) {
        empty(x, "model", "type", d->nic_model, NULL);
        if (n->tap && n->queues > 1)
            empty(x, "driver", "queues", num(q, n->queues), NULL);
    }
    close_(x);
}

static void put_share(struct xml *x, const struct plan *p, size_t i,
                      const struct vt_dialect *d)
{
    const struct plan_share *s = &p->shares[i];
    if (d->container) {
        /* share_mount() has it there, read-only if it shall be: libvirt's own way would
         * make it anew, and lose what else that mount forbids. */
        AUTO_STR at = str_printf("%s/share%zu", p->dir, i);
        begin(x, "filesystem", "type", "mount", NULL);
        empty(x, "source", "dir", at ? at : "", NULL);
        empty(x, "target", "dir", s->target, NULL);
        close_(x);
        return;
    }
    begin(x, "filesystem", "type", "mount", NULL);
    empty(x, "driver", "type", "virtiofs", "queue", "1024", NULL);
    empty(x, "source", "socket", s->socket, NULL);
    empty(x, "target", "dir", s->tag, NULL);
    close_(x);
}

static void put_container_root(struct xml *x, const struct plan *p)
{
    begin(x, "filesystem", "type", "mount", NULL);
    empty(x, "source", "dir", p->root_dir, NULL);
    empty(x, "target", "dir", "/", NULL);
    close_(x);
    AUTO_STR own = str_printf("%s/host", p->dir);
    begin(x, "filesystem", "type", "mount", NULL);
    empty(x, "source", "dir", own ? own : "", NULL);
    empty(x, "target", "dir", "/.lodge", NULL);
    close_(x);
}

static void put_ports(struct xml *x, const struct plan *p, const struct vt_dialect *d)
{
    bool unix_console = d->memfd; /* QEMU's own; Xen and containers have terminals */
    const char *kind = unix_console ? "unix" : "pty";
    if (d->console && !strcmp(d->console, "serial")) {
        begin(x, "serial", "type", kind, NULL);
        if (unix_console)
            empty(x, "source", "mode", "bind", "path", p->console_socket, NULL);
        empty(x, "target", "port", "0", NULL);
        close_(x);
    } else if (d->console) {
        begin(x, "console", "type", kind, NULL);
        empty(x, "target", "type", d->console, "port", "0", NULL);
        close_(x);
    }
    if (!d->channel)
        return;
    begin(x, "channel", "type", "unix", NULL);
    empty(x, "source", "mode", "bind", "path", p->guest_socket, NULL);
    empty(x, "target", "type", d->channel, "name", "org.lodge.guest.0", NULL);
    close_(x);
}

static void put_hostdev(struct xml *x, const struct profile_device *d)
{
    unsigned domain, bus, slot, fn;
    char part[4][12];
    if (!d->address ||
        sscanf(d->address, "%x:%x:%x.%x", &domain, &bus, &slot, &fn) != 4)
        return;
    snprintf(part[0], sizeof part[0], "0x%04x", domain);
    snprintf(part[1], sizeof part[1], "0x%02x", bus);
    snprintf(part[2], sizeof part[2], "0x%02x", slot);
    snprintf(part[3], sizeof part[3], "0x%x", fn);
    begin(x, "hostdev", "mode", "subsystem", "type", "pci", "managed", "yes", NULL);
    begin(x, "source", NULL);
    empty(x, "address", "domain", part[0], "bus", part[1], "slot", part[2], "function",
          part[3], NULL);
    close_(x);
    close_(x);
}

static void put_devices(struct xml *x, const struct plan *p, const struct vt_dialect *d)
{
    begin(x, "devices", NULL);
    if (d->container)
        put_container_root(x, p);
    for (size_t i = 0; i < p->ndisks && !d->container; i++)
        put_disk(x, &p->disks[i], i, d);
    for (size_t i = 0; i < p->nshares; i++)
        put_share(x, p, i, d);
    for (size_t i = 0; i < p->nnics; i++)
        put_nic(x, &p->nics[i], d);
    put_ports(x, p, d);
    for (size_t i = 0; i < p->profile->device_count; i++)
        put_hostdev(x, &p->profile->devices[i]);
    if (d->memfd) {
        empty(x, "controller", "type", "usb", "model", "none", NULL);
        begin(x, "rng", "model", "virtio", NULL);
        text(x, "backend", "/dev/urandom", "model", "random", NULL);
        close_(x);
    }
    if (!d->container)
        empty(x, "memballoon", "model", d->memfd ? "none" : "xen", NULL);
    close_(x);
}

static void put_domain(struct xml *x, const struct plan *p, const struct vt_dialect *d)
{
    char name[32];
    snprintf(name, sizeof name, "lodge-%s", p->vm->id);
    begin(x, "domain", "type", d->domain, NULL);
    text(x, "name", name, NULL);
    text(x, "title", p->vm->name, NULL);
    put_memory(x, p, d);
    put_cpus(x, p, d);
    put_os(x, p, d);
    begin(x, "features", NULL);
    if (d->container)
        empty(x, "privnet", NULL);
    else
        empty(x, "acpi", NULL);
    if (!strcmp(d->domain, "qemu")) {
        /* Translated code grows to a gigabyte if nobody says how much; the machine's
         * cgroup has OVERHEAD (part_cgroup.c) beyond the guest's memory for it. */
        begin(x, "tcg", NULL);
        text(x, "tb-cache", "96", "unit", "MiB", NULL);
        close_(x);
    }
    close_(x);
    if (!d->container)
        put_cpu_model(x, p->profile, d);
    empty(x, "clock", "offset", "utc", NULL);
    text(x, "on_poweroff", "destroy", NULL);
    text(x, "on_reboot", "destroy", NULL);
    text(x, "on_crash", "destroy", NULL);
    put_devices(x, p, d);
    if (d->memfd && geteuid() == 0) {
        /* QEMU is the owner: what they may not read, it may not read. */
        char label[40];
        snprintf(label, sizeof label, "+%u:+%u", (unsigned)p->vm->uid,
                 (unsigned)p->vm->gid);
        begin(x, "seclabel", "type", "static", "model", "dac", "relabel", "no", NULL);
        text(x, "label", label, NULL);
        close_(x);
    }
    close_(x);
}

int vt_xml(const struct plan *plan, char **out, struct err *err)
{
    const struct vt_dialect *d = vt_dialect_of(plan->profile->type);
    if (!d)
        return err_set(err, E_BUG, "type '%s' has no XML",
                       profile_type_names[plan->profile->type]);
    xmlBufferPtr buf = xmlBufferCreate();
    struct xml x = {.w = buf ? xmlNewTextWriterMemory(buf, 0) : NULL};
    if (!x.w) {
        xmlBufferFree(buf);
        return err_oom(err);
    }
    xmlTextWriterSetIndent(x.w, 1);
    xmlTextWriterSetIndentString(x.w, BAD_CAST "  ");
    put_domain(&x, plan, d);
    x.failed |= xmlTextWriterEndDocument(x.w) < 0;
    xmlFreeTextWriter(x.w);
    char *text = x.failed ? NULL : strdup((const char *)xmlBufferContent(buf));
    xmlBufferFree(buf);
    if (!text)
        return err_set(err, E_INPUT,
                       "the domain's XML could not be written (text that "
                       "is not UTF-8, or no memory)");
    *out = text;
    return 0;
}
