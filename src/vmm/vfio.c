/* SPDX-License-Identifier: Apache-2.0 */
/* A PCI device of the host, passed through by VFIO. The guest reaches its registers
 * without us: what of its BARs can be mapped becomes the guest's memory where the BAR
 * is. Here are config space (a header of ours, with the device's numbers), the MSI-X
 * table, and what cannot be mapped. Its interrupts go to the guest by irqfd
 * (vfio_irq.c), and it reaches RAM by the IOMMU (dma.c). The guest sees no power
 * management, no INTx and no ports, and links as those of a device in the root complex.
 * Source: Documentation/driver-api/vfio.rst of Linux; PCI Express Base 4.0, chapter 7. */
#include "vmm/devices.h"
#include "vmm/pci.h"
#include "vmm/vfio_irq.h"

#include "base/own.h"
#include "base/str.h"

#include <endian.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

enum {
    PAGE = 4096,
    AREAS_MAX = 4,
    INFO_MAX = 4096,
    MSIX_ENTRY = 16,
    MSI_MIN = PCI_MSI_DATA_32 + 2,
    VENDOR_MIN = 3,
    EXPRESS_V1 = 0x14,
    EXPRESS_V2 = 0x3c,
};

/* A part of a BAR that the guest has as memory. */
struct area {
    uint64_t at, size;
    void *hva;
    int window;
};

struct region {
    struct vfio *v;
    off_t where; /* in the device's descriptor */
    uint64_t size;
    struct area area[AREAS_MAX];
    unsigned nareas;
};

/* What the host wants to tell, each with an interrupt of its own. */
enum { ALARM_ERROR, ALARM_RELEASE, ALARMS };
static const struct {
    uint32_t irq;
    const char *text;
} alarms[ALARMS] = {
    [ALARM_ERROR] = {VFIO_PCI_ERR_IRQ_INDEX, "has met an error that it cannot mend"},
    [ALARM_RELEASE] = {VFIO_PCI_REQ_IRQ_INDEX, "is asked back by the host"},
};

struct vfio {
    struct pci_fn pci;
    struct device *dev;
    struct device_file group;
    char *group_path;
    const char *address;
    int fd;
    off_t config;
    struct region region[PCI_BARS];
    /* Where the device has its MSI-X table and pending bits. */
    unsigned table_bar, pba_bar;
    uint64_t table, pba, table_size, pba_size;
    struct vfio_irqs irqs;
    uint16_t command;
    int alarm[ALARMS];
    struct io_watch watch[ALARMS];
    atomic_ulong trapped, failed;
};

/* --- config space ------------------------------------------------------------------ */

static int config_read(struct vfio *v, unsigned at, void *out, size_t len,
                       struct err *err)
{
    ssize_t n = pread(v->fd, out, len, v->config + at);
    if (n < 0)
        return err_sys(err, "config space");
    return n == (ssize_t)len ? 0 : err_set(err, E_FAIL, "config space is cut short");
}

static int write_command(const struct vfio *v, uint16_t command)
{
    uint16_t le = htole16(command);
    ssize_t n = pwrite(v->fd, &le, sizeof le, v->config + PCI_COMMAND);
    return n == (ssize_t)sizeof le ? 0 : -1;
}

/* The device always decodes its memory, so that what is mapped of it never faults: the
 * guest's own switch moves our windows. Bus mastering is the guest's. */
static int put_command(struct vfio *v, bool master)
{
    uint16_t now = PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE |
                   (master ? PCI_COMMAND_MASTER : 0);
    if (now == v->command)
        return 0;
    if (write_command(v, now) < 0)
        return -1;
    v->command = now;
    return 0;
}

/* --- interrupts -------------------------------------------------------------------- */

/* With its messages off the kernel lets the line out that it held back, and holds it
 * again only when it sees the bit rise: nobody here would answer it. */
static void hold_line(const struct vfio *v)
{
    write_command(v, v->command & ~PCI_COMMAND_INTX_DISABLE);
    write_command(v, v->command);
}

static void put_irqs(struct vfio *v, bool on)
{
    if (on == v->irqs.connected)
        return;
    bool failed = vfio_irqs_put(&v->irqs, on) < 0;
    if (failed)
        atomic_fetch_add(&v->failed, 1);
    if (failed || !on)
        hold_line(v);
}

/* The guest changed config space: what of that is the device's matter. */
static void written(struct pci_fn *fn)
{
    struct vfio *v = fn->arg;
    if (put_command(v, fn->cfg[PCI_COMMAND] & PCI_COMMAND_MASTER) < 0)
        atomic_fetch_add(&v->failed, 1);
    put_irqs(v, fn->msix.enabled || fn->msi.enabled);
}

static void alarmed(struct io_watch *w, uint32_t events)
{
    struct vfio *v = w->arg;
    struct err err = {0};
    eventfd_t n;
    (void)eventfd_read(w->fd, &n);
    err_set(&err, E_FAIL, "%s: %s %s", v->dev->id, v->address,
            alarms[w - v->watch].text);
    vm_fail(v->dev->vm, &err);
}

/* Not every device can tell of every alarm. */
static int watch_alarms(struct vfio *v, struct err *err)
{
    for (unsigned i = 0; i < ALARMS; i++) {
        if ((v->alarm[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
            return err_sys(err, "eventfd");
        if (vfio_irq_tell(v->fd, alarms[i].irq, v->alarm[i]) < 0)
            continue;
        struct io_thread *t = vm_io_thread(v->dev->vm, v->dev->index);
        v->watch[i] = (struct io_watch){.fd = v->alarm[i], .ready = alarmed, .arg = v};
        if (io_watch_add(t, &v->watch[i], EPOLLIN, err) < 0)
            return -1;
    }
    return 0;
}

/* --- BARs -------------------------------------------------------------------------- */

static bool in_table(const struct vfio *v, const struct region *r, uint64_t off)
{
    return r == &v->region[v->table_bar] && off - v->table < v->table_size;
}

static bool in_pba(const struct vfio *v, const struct region *r, uint64_t off)
{
    return r == &v->region[v->pba_bar] && off - v->pba < v->pba_size;
}

static uint64_t bar_read(void *arg, uint64_t off, unsigned len)
{
    struct region *r = arg;
    struct vfio *v = r->v;
    uint64_t value = ~0ull;
    if (in_table(v, r, off))
        return pci_msix_table_read(&v->pci, off - v->table, len);
    if (in_pba(v, r, off))
        return pci_msix_pba_read(&v->pci, off - v->pba, len);
    atomic_fetch_add(&v->trapped, 1);
    /* Behind the registers of a BAR smaller than a page there is nothing. */
    if (off + len <= r->size && pread(v->fd, &value, len, r->where + (off_t)off) > 0)
        return le64toh(value);
    return ~0ull;
}

static void bar_write(void *arg, uint64_t off, unsigned len, uint64_t value)
{
    struct region *r = arg;
    struct vfio *v = r->v;
    uint64_t le = htole64(value);
    if (in_table(v, r, off)) {
        pci_msix_table_write(&v->pci, off - v->table, len, value);
        return;
    }
    if (in_pba(v, r, off))
        return;
    atomic_fetch_add(&v->trapped, 1);
    if (off + len <= r->size &&
        pwrite(v->fd, &le, len, r->where + (off_t)off) != (ssize_t)len)
        atomic_fetch_add(&v->failed, 1);
}

static void bar_changed(struct pci_fn *fn, unsigned n, bool was_on, uint64_t was)
{
    struct vfio *v = fn->arg;
    const struct region *r = &v->region[n];
    const struct bus_range *range = &fn->bar[n].range;
    for (unsigned i = 0; i < r->nareas; i++) {
        const struct area *a = &r->area[i];
        if (was_on)
            (void)vm_window_map(v->dev->vm, a->window, 0, 0, NULL);
        /* Should KVM refuse it, accesses come to bar_read and bar_write. */
        if (range->on)
            (void)vm_window_map(v->dev->vm, a->window, range->base + a->at, a->size,
                                a->hva);
    }
}

static int add_area(struct vfio *v, struct region *r, uint64_t from, uint64_t end,
                    struct err *err)
{
    from = (from + PAGE - 1) & ~(uint64_t)(PAGE - 1);
    end &= ~(uint64_t)(PAGE - 1);
    if (from >= end || r->nareas == AREAS_MAX)
        return 0;
    struct area *a = &r->area[r->nareas];
    *a = (struct area){.at = from, .size = end - from};
    a->hva = mmap(NULL, a->size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd,
                  r->where + (off_t)from);
    if (a->hva == MAP_FAILED)
        return err_sys(err, "BAR %td: map %llu KiB", r - v->region,
                       (unsigned long long)(a->size / KIB));
    r->nareas++;
    return (a->window = vm_window_new(v->dev->vm, err)) < 0 ? -1 : 0;
}

/* Map [from, end) of a BAR, but not the pages of the MSI-X table. */
static int add_areas(struct vfio *v, struct region *r, uint64_t from, uint64_t end,
                     struct err *err)
{
    uint64_t table = v->table & ~(uint64_t)(PAGE - 1);
    uint64_t after = (v->table + v->table_size + PAGE - 1) & ~(uint64_t)(PAGE - 1);
    if (r != &v->region[v->table_bar] || table >= end || after <= from)
        return add_area(v, r, from, end, err);
    return add_area(v, r, from, table, err) < 0 || add_area(v, r, after, end, err) < 0
               ? -1
               : 0;
}

/* The driver's own list of what can be mapped; NULL: all of it. */
static const struct vfio_region_info_cap_sparse_mmap *sparse(
    const struct vfio_region_info *info)
{
    const char *room = (const char *)info;
    uint32_t at = info->flags & VFIO_REGION_INFO_FLAG_CAPS ? info->cap_offset : 0;
    while (at && at + sizeof(struct vfio_info_cap_header) <= INFO_MAX) {
        const struct vfio_info_cap_header *h = (const void *)(room + at);
        if (h->id == VFIO_REGION_INFO_CAP_SPARSE_MMAP)
            return (const void *)h;
        at = h->next;
    }
    return NULL;
}

static int map_region(struct vfio *v, struct region *r,
                      const struct vfio_region_info *info, struct err *err)
{
    const struct vfio_region_info_cap_sparse_mmap *list = sparse(info);
    if (!(info->flags & VFIO_REGION_INFO_FLAG_MMAP))
        return 0;
    if (!list)
        return add_areas(v, r, 0, r->size, err);
    for (uint32_t i = 0; i < list->nr_areas; i++)
        if (add_areas(v, r, list->areas[i].offset,
                      list->areas[i].offset + list->areas[i].size, err) < 0)
            return -1;
    return 0;
}

static int add_bar(struct vfio *v, unsigned n, uint32_t type, struct err *err)
{
    char room[INFO_MAX] __attribute__((aligned(8))) = {0};
    struct vfio_region_info *info = (struct vfio_region_info *)room;
    struct region *r = &v->region[n];
    info->argsz = INFO_MAX;
    info->index = VFIO_PCI_BAR0_REGION_INDEX + n;
    if (ioctl(v->fd, VFIO_DEVICE_GET_REGION_INFO, info) < 0)
        return err_sys(err, "BAR %u", n);
    if (info->argsz > INFO_MAX)
        return err_set(err, E_UNAVAIL, "BAR %u: too many parts to map", n);
    if (!info->size)
        return 0;
    *r = (struct region){.v = v, .where = (off_t)info->offset, .size = info->size};
    if (r->size & (r->size - 1))
        return err_set(err, E_FAIL, "BAR %u has %llu bytes, no power of two", n,
                       (unsigned long long)r->size);
    return map_region(v, r, info, err) < 0 ||
                   pci_fn_bar(&v->pci, n, type, r->size < PAGE ? PAGE : r->size,
                              bar_read, bar_write, r, err) < 0
               ? -1
               : 0;
}

static int add_bars(struct vfio *v, const uint8_t *cfg, struct err *err)
{
    for (unsigned n = 0; n < PCI_BARS; n++) {
        uint32_t bar = pci_get32(cfg + PCI_BASE_ADDRESS_0 + 4 * n);
        if (bar & PCI_BASE_ADDRESS_SPACE_IO)
            continue;
        bool is64 = bar & PCI_BASE_ADDRESS_MEM_TYPE_64;
        if (is64 && n == PCI_BARS - 1)
            return err_set(err, E_FAIL, "BAR %u has no room for its upper half", n);
        if (add_bar(v, n, bar & 0xf, err) < 0)
            return -1;
        n += is64;
    }
    const struct region *r = &v->region[v->table_bar];
    return v->table + v->table_size <= r->size
               ? 0
               : err_set(err, E_FAIL, "its MSI-X table is in no BAR");
}

/* --- set-up ------------------------------------------------------------------------ */

static int decode(struct device *dev, json_t *in, struct err *err)
{
    struct vfio *v = dev->state;
    json_error_t je;
    unsigned part[4];
    int end = 0;
    v->fd = v->group.fd = -1;
    for (unsigned i = 0; i < ALARMS; i++)
        v->alarm[i] = -1;
    v->dev = dev;
    if (json_unpack_ex(in, &je, 0, "{s:s, s?s, s?i !}", "address", &v->address, "path",
                       &v->group.path, "fd", &v->group.fd) < 0)
        return err_set(err, E_CONFIG, "%s: %s", dev->id, je.text);
    if (sscanf(v->address, "%4x:%2x:%2x.%1x%n", &part[0], &part[1], &part[2], &part[3],
               &end) != 4 ||
        end != 12 || v->address[end])
        return err_set(err, E_CONFIG,
                       "%s: \"address\" is like 0000:03:00.0, not '%.40s'", dev->id,
                       v->address);
    if (v->group.path && v->group.fd >= 0)
        return err_set(err, E_CONFIG, "%s: \"path\" or \"fd\" of the group, not both",
                       dev->id);
    return 0;
}

/* By itself: the group that the host has put the device in. */
static int find_group(struct vfio *v, struct err *err)
{
    char link[64], to[256];
    snprintf(link, sizeof link, "/sys/bus/pci/devices/%s/iommu_group", v->address);
    ssize_t n = readlink(link, to, sizeof to - 1);
    if (n < 0)
        return err_set(err, E_UNAVAIL,
                       "%s is not there, or in no IOMMU group (is the IOMMU on?)",
                       v->address);
    to[n] = '\0';
    v->group_path = str_printf("/dev/vfio/%s", strrchr(to, '/') + 1);
    v->group.path = v->group_path;
    return v->group_path ? 0 : err_oom(err);
}

static int open_device(struct vfio *v, struct err *err)
{
    struct vfio_device_info info = {.argsz = sizeof info};
    struct vfio_region_info config = {.argsz = sizeof config,
                                      .index = VFIO_PCI_CONFIG_REGION_INDEX};
    if (!v->group.path && v->group.fd < 0 && find_group(v, err) < 0)
        return -1;
    int group = vm_dma_group(v->dev->vm, &v->group, err);
    if (group < 0)
        return -1;
    v->fd = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, v->address);
    if (v->fd < 0)
        return err_sys(err, "%s", v->address);
    if (ioctl(v->fd, VFIO_DEVICE_GET_INFO, &info) < 0 ||
        ioctl(v->fd, VFIO_DEVICE_GET_REGION_INFO, &config) < 0)
        return err_sys(err, "%s", v->address);
    if (!(info.flags & VFIO_DEVICE_FLAGS_PCI))
        return err_set(err, E_UNAVAIL, "%s is no PCI device", v->address);
    if (!(info.flags & VFIO_DEVICE_FLAGS_RESET))
        return err_set(
            err, E_UNAVAIL,
            "%s cannot be reset: the next guest would find what this one left",
            v->address);
    v->config = (off_t)config.offset;
    return 0;
}

/* Where the device has its table; the guest's is at the same place. */
static int add_msix(struct vfio *v, const uint8_t *cap, struct err *err)
{
    uint32_t table = pci_get32(cap + PCI_MSIX_TABLE),
             pba = pci_get32(cap + PCI_MSIX_PBA);
    uint64_t count = (pci_get16(cap + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_QSIZE) + 1u;
    v->table_bar = table & PCI_MSIX_TABLE_BIR;
    v->pba_bar = pba & PCI_MSIX_PBA_BIR;
    v->table = table & PCI_MSIX_TABLE_OFFSET;
    v->pba = pba & PCI_MSIX_PBA_OFFSET;
    v->table_size = count * MSIX_ENTRY;
    v->pba_size = (count + 63) / 64 * 8;
    if (v->table_bar >= PCI_BARS || v->pba_bar >= PCI_BARS)
        return err_set(err, E_FAIL, "%s: its MSI-X table is in no BAR", v->address);
    if (count > PCI_VECTORS_MAX)
        count = PCI_VECTORS_MAX;
    return pci_fn_msix(&v->pci, (unsigned)count, table, pba, err);
}

/* MSI-X, or MSI's first vector: more of those a host need not have together. */
static int add_messages(struct vfio *v, const uint8_t *cfg, struct err *err)
{
    unsigned msix = pci_find_cap(cfg, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF, 0);
    if (msix)
        return add_msix(v, cfg + msix, err);
    if (pci_find_cap(cfg, PCI_CAP_ID_MSI, MSI_MIN, 0))
        return pci_fn_msi(&v->pci, err);
    return err_set(err, E_UNAVAIL,
                   "%s has neither MSI-X nor MSI, and lines are not passed on",
                   v->address);
}

static int connect_irqs(struct vfio *v, struct err *err)
{
    struct pci_fn *fn = &v->pci;
    int r = fn->msix.count ? vfio_irqs_init(&v->irqs, v->fd, VFIO_PCI_MSIX_IRQ_INDEX,
                                            fn->msix.irq, fn->msix.count, err)
                           : vfio_irqs_init(&v->irqs, v->fd, VFIO_PCI_MSI_IRQ_INDEX,
                                            &fn->msi.irq, 1, err);
    hold_line(v);
    return r < 0 ? err_at(err, "%s", v->address) : 0;
}

/* What drivers look at, to read only: PCI Express, as of a device in the root complex,
 * which has no link; and the maker's own (where virtio says what is where). */
static int add_caps(struct vfio *v, uint8_t *cfg, struct err *err)
{
    unsigned at = pci_find_cap(cfg, PCI_CAP_ID_EXP, EXPRESS_V1, 0);
    bool fits = true;
    if (at) {
        bool second = (cfg[at + PCI_EXP_FLAGS] & PCI_EXP_FLAGS_VERS) > 1;
        unsigned len =
            second && at + EXPRESS_V2 <= PCI_CFG_SIZE ? EXPRESS_V2 : EXPRESS_V1;
        cfg[at + PCI_EXP_FLAGS] &= (uint8_t)~PCI_EXP_FLAGS_TYPE;
        cfg[at + PCI_EXP_FLAGS] |= PCI_EXP_TYPE_RC_END << 4;
        cfg[at + PCI_EXP_DEVCAP + 3] &= (uint8_t) ~(PCI_EXP_DEVCAP_FLR >> 24);
        memset(cfg + at + PCI_EXP_LNKCAP, 0, 8);
        if (len == EXPRESS_V2)
            memset(cfg + at + PCI_EXP_LNKCAP2, 0, 8);
        fits = pci_fn_cap(&v->pci, PCI_CAP_ID_EXP, cfg + at + 2, len - 2);
    }
    for (unsigned i = 0;
         fits && (at = pci_find_cap(cfg, PCI_CAP_ID_VNDR, VENDOR_MIN, i)); i++) {
        unsigned len = cfg[at + 2];
        if (len >= VENDOR_MIN && at + len <= PCI_CFG_SIZE)
            fits = pci_fn_cap(&v->pci, PCI_CAP_ID_VNDR, cfg + at + 2, len - 2);
    }
    return fits ? 0 : err_set(err, E_FAIL, "%s: config space is full", v->address);
}

static int init(struct device *dev, struct err *err)
{
    struct vfio *v = dev->state;
    uint8_t cfg[PCI_CFG_SIZE];
    if (open_device(v, err) < 0 || config_read(v, 0, cfg, sizeof cfg, err) < 0)
        return -1;
    if (cfg[PCI_HEADER_TYPE] & 0x7f)
        return err_set(err, E_UNAVAIL, "%s is a bridge", v->address);
    if (pci_fn_init(&v->pci, dev->vm, dev->id, pci_get16(cfg + PCI_VENDOR_ID),
                    pci_get16(cfg + PCI_DEVICE_ID),
                    pci_get32(cfg + PCI_CLASS_REVISION) >> 8, cfg[PCI_REVISION_ID],
                    err) < 0)
        return -1;
    memcpy(v->pci.cfg + PCI_SUBSYSTEM_VENDOR_ID, cfg + PCI_SUBSYSTEM_VENDOR_ID, 4);
    v->pci.arg = v;
    v->pci.bar_changed = bar_changed;
    v->pci.written = written;
    if (put_command(v, false) < 0)
        return err_sys(err, "%s: command register", v->address);
    if (add_messages(v, cfg, err) < 0 || add_bars(v, cfg, err) < 0 ||
        add_caps(v, cfg, err) < 0 || connect_irqs(v, err) < 0 ||
        watch_alarms(v, err) < 0)
        return -1;
    return pci_fn_plug(&v->pci, err);
}

static json_t *stats(struct device *dev)
{
    struct vfio *v = dev->state;
    json_int_t mapped = 0;
    for (unsigned n = 0; n < PCI_BARS; n++)
        for (unsigned i = 0; i < v->region[n].nareas; i++)
            mapped += (json_int_t)v->region[n].area[i].size;
    return json_pack("{s:s, s:b, s:I, s:I, s:I}", "address", v->address, "interrupts",
                     v->irqs.connected, "mapped", mapped, "trapped",
                     (json_int_t)atomic_load(&v->trapped), "failed",
                     (json_int_t)atomic_load(&v->failed));
}

static void done(struct device *dev)
{
    struct vfio *v = dev->state;
    for (unsigned i = 0; i < ALARMS; i++) {
        if (v->watch[i].thread)
            io_watch_del(&v->watch[i]);
        if (v->alarm[i] >= 0)
            close(v->alarm[i]);
    }
    put_irqs(v, false);
    vfio_irqs_done(&v->irqs);
    pci_fn_done(&v->pci);
    for (unsigned n = 0; n < PCI_BARS; n++)
        for (unsigned i = 0; i < v->region[n].nareas; i++)
            munmap(v->region[n].area[i].hva, v->region[n].area[i].size);
    if (v->fd >= 0)
        close(v->fd);
    free(v->group_path);
}

const struct device_ops device_vfio = {
    .name = "vfio",
    .help = "address (0000:03:00.0), path|fd (of its group; default: the host's)",
    .state_size = sizeof(struct vfio),
    .decode = decode,
    .init = init,
    .stats = stats,
    .done = done,
};
