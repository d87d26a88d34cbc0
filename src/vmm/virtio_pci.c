/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/virtio.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

/* BAR 0. Each structure has its own page. */
enum {
    BAR_COMMON = 0x0000,
    BAR_ISR = 0x1000,
    BAR_CONFIG = 0x2000,
    BAR_NOTIFY = 0x3000,
    BAR_TABLE = 0x4000,
    BAR_PBA = 0x5000,
    BAR_SIZE = 0x8000,
    NOTIFY_STEP = 4,
    VENDOR = 0x1af4,
    DEVICE_BASE = 0x1040,
    NO_VECTOR = VIRTIO_MSI_NO_VECTOR,
    BUDGET = 1024,
};

#define TRANSPORT_FEATURES                                                             \
    (1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_INDIRECT_DESC |                \
     1ull << VIRTIO_RING_F_EVENT_IDX)

/* --- notification ---------------------------------------------------------- */

void virtio_notify(struct virtio *v, unsigned queue)
{
    struct virtio_queue *vq = &v->queue[queue];
    if (!virtq_should_notify(&vq->q))
        return;
    atomic_fetch_or(&v->isr, 1);
    pci_msix_raise(&v->pci, atomic_load(&vq->vector));
}

void virtio_config_changed(struct virtio *v)
{
    atomic_fetch_add(&v->generation, 1);
    if (!(atomic_load(&v->status) & VIRTIO_CONFIG_S_DRIVER_OK))
        return;
    atomic_fetch_or(&v->isr, VIRTIO_PCI_ISR_CONFIG);
    pci_msix_raise(&v->pci, atomic_load(&v->config_vector));
}

void virtio_broken(struct virtio *v, unsigned queue)
{
    struct virtio_queue *vq = &v->queue[queue];
    vq->q.broken = true;
    atomic_fetch_add(&v->dev->guest_errors, 1);
    atomic_fetch_or(&v->status, VIRTIO_CONFIG_S_NEEDS_RESET);
    atomic_fetch_or(&v->isr, VIRTIO_PCI_ISR_CONFIG);
    pci_msix_raise(&v->pci, atomic_load(&v->config_vector));
}

bool virtio_pop(struct virtio *v, unsigned queue, struct virtq_chain *c)
{
    struct virtq *q = &v->queue[queue].q;
    bool was = q->broken;
    if (!v->queue[queue].budget) {
        virtio_kick(v, queue);
        return false;
    }
    int r = virtq_pop(q, c);
    if (r < 0 && !was)
        virtio_broken(v, queue);
    if (r > 0)
        v->queue[queue].budget--;
    return r > 0;
}

bool virtio_again(struct virtio *v, unsigned queue)
{
    if (!v->queue[queue].budget) {
        virtio_kick(v, queue);
        return false;
    }
    return virtq_want_kicks(&v->queue[queue].q, true);
}

void virtio_kick(struct virtio *v, unsigned queue)
{
    eventfd_write(v->queue[queue].kick, 1);
}

static void kick_ready(struct io_watch *w, uint32_t events)
{
    struct virtio_queue *vq = w->arg;
    eventfd_t n;
    (void)eventfd_read(vq->kick, &n);
    vq->budget = BUDGET;
    vq->v->ops->kicked(vq->v, (unsigned)(vq - vq->v->queue));
}

/* --- queues: wiring, start, reset ------------------------------------------ */

static void unwire(struct virtio_queue *vq)
{
    if (vq->wired)
        (void)vm_ioeventfd(vq->v->vm, vq->wired_at, 0, vq->kick, false, NULL);
    vq->wired = false;
}

/* Have the kernel turn notifications into kicks. Where it cannot, the write comes to
 * bar_write, which does the same. */
static void wire(struct virtio_queue *vq)
{
    struct virtio *v = vq->v;
    unwire(vq);
    if (!v->running || !vq->q.enabled || !v->pci.bar[0].range.on)
        return;
    vq->wired_at =
        v->pci.bar[0].range.base + BAR_NOTIFY + NOTIFY_STEP * (uint64_t)(vq - v->queue);
    vq->wired = vm_ioeventfd(v->vm, vq->wired_at, 0, vq->kick, true, NULL) == 0;
}

static void bar_changed(struct pci_fn *fn, unsigned n, bool was_on, uint64_t was)
{
    struct virtio *v = fn->arg;
    for (unsigned i = 0; i < v->nqueues; i++)
        wire(&v->queue[i]);
}

static void watch(struct virtio *v, unsigned n)
{
    struct virtio_queue *vq = &v->queue[n];
    if (!vq->q.enabled || vq->watched || (v->ops->external && v->ops->external(v, n)))
        return;
    vq->watch = (struct io_watch){.fd = vq->kick, .ready = kick_ready, .arg = vq};
    io_lock(vq->thread);
    vq->watched = io_watch_add(vq->thread, &vq->watch, EPOLLIN, NULL) == 0;
    io_unlock(vq->thread);
}

static void unwatch(struct virtio *v, unsigned n)
{
    struct virtio_queue *vq = &v->queue[n];
    if (!vq->watched)
        return;
    io_lock(vq->thread);
    io_watch_del(&vq->watch);
    vq->watched = false;
    io_unlock(vq->thread);
}

static void give_up(struct virtio *v)
{
    atomic_fetch_add(&v->dev->guest_errors, 1);
    atomic_fetch_or(&v->status, VIRTIO_CONFIG_S_NEEDS_RESET);
}

int virtio_start(struct virtio *v, struct err *err)
{
    for (unsigned i = 0; i < v->nqueues; i++) {
        v->queue[i].q.event_idx = virtio_has(v, VIRTIO_RING_F_EVENT_IDX);
        v->queue[i].q.indirect = virtio_has(v, VIRTIO_RING_F_INDIRECT_DESC);
    }
    v->running = true;
    if (v->ops->start && v->ops->start(v, err) < 0) {
        v->running = false;
        return -1;
    }
    for (unsigned i = 0; i < v->nqueues; i++) {
        wire(&v->queue[i]);
        watch(v, i);
        if (v->queue[i].watched)
            virtio_kick(v, i);
    }
    return 0;
}

static void queue_forget(struct virtio_queue *vq)
{
    virtq_reset(&vq->q);
    vq->q.size = vq->max;
    vq->budget = BUDGET;
    atomic_store(&vq->vector, NO_VECTOR);
    eventfd_t n;
    (void)eventfd_read(vq->kick, &n);
}

void virtio_reset(struct virtio *v)
{
    bool was = atomic_exchange(&v->running, false);
    for (unsigned i = 0; i < v->nqueues; i++) {
        unwire(&v->queue[i]);
        unwatch(v, i);
    }
    if (was && v->ops->stop)
        v->ops->stop(v);
    for (unsigned i = 0; i < v->nqueues; i++)
        queue_forget(&v->queue[i]);
    v->acked = 0;
    v->device_select = v->driver_select = v->queue_select = 0;
    atomic_store(&v->config_vector, NO_VECTOR);
    atomic_store(&v->isr, 0);
    atomic_store(&v->status, 0);
}

static void set_status(struct virtio *v, uint8_t s)
{
    uint8_t was = atomic_load(&v->status);
    if (!s) {
        virtio_reset(v);
        return;
    }
    s |= was; /* bits are only ever added */
    if ((s & ~was & VIRTIO_CONFIG_S_FEATURES_OK) &&
        ((v->acked & ~v->offered) || !virtio_has(v, VIRTIO_F_VERSION_1)))
        s &= ~VIRTIO_CONFIG_S_FEATURES_OK;
    if (!(s & VIRTIO_CONFIG_S_FEATURES_OK))
        s &= ~VIRTIO_CONFIG_S_DRIVER_OK;
    atomic_fetch_or(&v->status, s);
    if ((s & ~was & VIRTIO_CONFIG_S_DRIVER_OK) && virtio_start(v, NULL) < 0)
        give_up(v);
}

/* --- the common structure ---------------------------------------------------- */

static struct virtio_queue *selected(struct virtio *v)
{
    return v->queue_select < v->nqueues ? &v->queue[v->queue_select] : NULL;
}

static uint64_t part(uint64_t value, unsigned off, unsigned field, unsigned len)
{
    value >>= 8 * (off - field);
    return len == 8 ? value : (uint32_t)value;
}

static uint64_t queue_read(struct virtio *v, unsigned off, unsigned len)
{
    const struct virtio_queue *vq = selected(v);
    if (!vq)
        return off == VIRTIO_PCI_COMMON_Q_MSIX ? NO_VECTOR : 0;
    switch (off) {
    case VIRTIO_PCI_COMMON_Q_SIZE:
        return vq->q.size;
    case VIRTIO_PCI_COMMON_Q_MSIX:
        return atomic_load(&vq->vector);
    case VIRTIO_PCI_COMMON_Q_ENABLE:
        return vq->q.enabled;
    case VIRTIO_PCI_COMMON_Q_NOFF:
        return v->queue_select;
    case VIRTIO_PCI_COMMON_Q_DESCLO:
    case VIRTIO_PCI_COMMON_Q_DESCHI:
        return part(vq->q.desc_gpa, off, VIRTIO_PCI_COMMON_Q_DESCLO, len);
    case VIRTIO_PCI_COMMON_Q_AVAILLO:
    case VIRTIO_PCI_COMMON_Q_AVAILHI:
        return part(vq->q.avail_gpa, off, VIRTIO_PCI_COMMON_Q_AVAILLO, len);
    case VIRTIO_PCI_COMMON_Q_USEDLO:
    case VIRTIO_PCI_COMMON_Q_USEDHI:
        return part(vq->q.used_gpa, off, VIRTIO_PCI_COMMON_Q_USEDLO, len);
    default:
        return 0;
    }
}

static uint64_t common_read(struct virtio *v, unsigned off, unsigned len)
{
    switch (off) {
    case VIRTIO_PCI_COMMON_DFSELECT:
        return v->device_select;
    case VIRTIO_PCI_COMMON_DF:
        return v->device_select < 2 ? (uint32_t)(v->offered >> 32 * v->device_select)
                                    : 0;
    case VIRTIO_PCI_COMMON_GFSELECT:
        return v->driver_select;
    case VIRTIO_PCI_COMMON_GF:
        return v->driver_select < 2 ? (uint32_t)(v->acked >> 32 * v->driver_select) : 0;
    case VIRTIO_PCI_COMMON_MSIX:
        return atomic_load(&v->config_vector);
    case VIRTIO_PCI_COMMON_NUMQ:
        return v->nqueues;
    case VIRTIO_PCI_COMMON_STATUS:
        return atomic_load(&v->status);
    case VIRTIO_PCI_COMMON_CFGGENERATION:
        return atomic_load(&v->generation);
    case VIRTIO_PCI_COMMON_Q_SELECT:
        return v->queue_select;
    default:
        return queue_read(v, off, len);
    }
}

static void set_part(uint64_t *value, unsigned off, unsigned field, unsigned len,
                     uint64_t v)
{
    uint64_t mask = (len == 8 ? ~0ull : 0xffffffffull) << 8 * (off - field);
    if (len == 4 || (len == 8 && off == field))
        *value = (*value & ~mask) | (v << 8 * (off - field) & mask);
}

uint16_t virtio_good_vector(const struct virtio *v, uint64_t n)
{
    return n < v->pci.msix.count ? (uint16_t)n : NO_VECTOR;
}

static void queue_vector(struct virtio *v, struct virtio_queue *vq, uint64_t n)
{
    atomic_store(&vq->vector, virtio_good_vector(v, n));
    if (v->running && v->ops->vector_changed)
        v->ops->vector_changed(v, v->queue_select);
}

static void queue_write(struct virtio *v, unsigned off, unsigned len, uint64_t val)
{
    struct virtio_queue *vq = selected(v);
    if (!vq)
        return;
    if (off == VIRTIO_PCI_COMMON_Q_MSIX) {
        queue_vector(v, vq, val);
        return;
    }
    /* A queue in use is not touched: only a reset of the device ends it. */
    if (vq->q.enabled || v->running)
        return;
    switch (off) {
    case VIRTIO_PCI_COMMON_Q_SIZE:
        if (val <= vq->max)
            vq->q.size = val;
        break;
    case VIRTIO_PCI_COMMON_Q_ENABLE:
        if (val == 1 && virtq_enable(&vq->q, NULL) < 0)
            give_up(v);
        break;
    case VIRTIO_PCI_COMMON_Q_DESCLO:
    case VIRTIO_PCI_COMMON_Q_DESCHI:
        set_part(&vq->q.desc_gpa, off, VIRTIO_PCI_COMMON_Q_DESCLO, len, val);
        break;
    case VIRTIO_PCI_COMMON_Q_AVAILLO:
    case VIRTIO_PCI_COMMON_Q_AVAILHI:
        set_part(&vq->q.avail_gpa, off, VIRTIO_PCI_COMMON_Q_AVAILLO, len, val);
        break;
    case VIRTIO_PCI_COMMON_Q_USEDLO:
    case VIRTIO_PCI_COMMON_Q_USEDHI:
        set_part(&vq->q.used_gpa, off, VIRTIO_PCI_COMMON_Q_USEDLO, len, val);
        break;
    default:
        break;
    }
}

static void common_write(struct virtio *v, unsigned off, unsigned len, uint64_t val)
{
    switch (off) {
    case VIRTIO_PCI_COMMON_DFSELECT:
        v->device_select = val;
        break;
    case VIRTIO_PCI_COMMON_GFSELECT:
        v->driver_select = val;
        break;
    case VIRTIO_PCI_COMMON_GF:
        if (v->driver_select < 2 &&
            !(atomic_load(&v->status) & VIRTIO_CONFIG_S_FEATURES_OK)) {
            unsigned shift = 32 * v->driver_select;
            v->acked = (v->acked & ~(0xffffffffull << shift)) | (uint64_t)(uint32_t)val
                                                                    << shift;
        }
        break;
    case VIRTIO_PCI_COMMON_MSIX:
        atomic_store(&v->config_vector, virtio_good_vector(v, val));
        break;
    case VIRTIO_PCI_COMMON_STATUS:
        set_status(v, val);
        break;
    case VIRTIO_PCI_COMMON_Q_SELECT:
        v->queue_select = val;
        break;
    default:
        queue_write(v, off, len, val);
    }
}

/* --- BAR 0 -------------------------------------------------------------------- */

static uint64_t bar_read(void *arg, uint64_t off, unsigned len)
{
    struct virtio *v = arg;
    unsigned at = off & 0xfff;
    uint64_t out = 0;
    switch (off & ~0xfffull) {
    case BAR_COMMON:
        return common_read(v, at, len);
    case BAR_ISR:
        return at == 0 ? atomic_exchange(&v->isr, 0) : 0;
    case BAR_CONFIG:
        if (at + len <= v->config_size)
            v->ops->config_read(v, at, len, &out);
        else if (at < v->config_size)
            v->ops->config_read(v, at, v->config_size - at, &out);
        return le64toh(out);
    case BAR_TABLE:
        return pci_msix_table_read(&v->pci, at, len);
    case BAR_PBA:
        return pci_msix_pba_read(&v->pci, at, len);
    default:
        return 0;
    }
}

static void bar_write(void *arg, uint64_t off, unsigned len, uint64_t val)
{
    struct virtio *v = arg;
    unsigned at = off & 0xfff;
    uint64_t le = htole64(val);
    switch (off & ~0xfffull) {
    case BAR_COMMON:
        common_write(v, at, len, len < 8 ? val & ((1ull << 8 * len) - 1) : val);
        break;
    case BAR_CONFIG:
        if (at + len <= v->config_size && v->ops->config_write)
            v->ops->config_write(v, at, len, &le);
        break;
    case BAR_NOTIFY:
        if (at / NOTIFY_STEP < v->nqueues && v->running)
            virtio_kick(v, at / NOTIFY_STEP);
        break;
    case BAR_TABLE:
        pci_msix_table_write(&v->pci, at, len, val);
        break;
    default:
        break;
    }
}

/* --- set-up -------------------------------------------------------------------- */

static bool add_cap(struct virtio *v, uint8_t type, uint32_t off, uint32_t len)
{
    /* The notify capability is followed by its multiplier. There is none of type
     * PCI_CFG, a window to the BAR through config space for firmware without memory
     * access: no driver needs it here, and reading config space stays free of effects. */
    struct {
        struct virtio_pci_cap cap;
        uint32_t extra;
    } c = {.cap = {.cfg_type = type, .offset = htole32(off), .length = htole32(len)}};
    bool more = type == VIRTIO_PCI_CAP_NOTIFY_CFG;
    c.cap.cap_len = more ? sizeof c : sizeof c.cap;
    if (more)
        c.extra = htole32(NOTIFY_STEP);
    return pci_fn_cap(&v->pci, PCI_CAP_ID_VNDR, (char *)&c + 2, c.cap.cap_len - 2);
}

static int add_queues(struct virtio *v, unsigned n, uint16_t max, struct err *err)
{
    v->queue = calloc(n, sizeof *v->queue);
    if (!v->queue)
        return err_oom(err);
    v->nqueues = n;
    for (unsigned i = 0; i < n; i++)
        v->queue[i].kick = -1;
    for (unsigned i = 0; i < n; i++) {
        struct virtio_queue *vq = &v->queue[i];
        virtq_init(&vq->q, v->vm);
        vq->v = v;
        vq->max = vq->q.size = max;
        vq->budget = BUDGET;
        atomic_init(&vq->vector, NO_VECTOR);
        vq->thread = vm_io_thread(v->vm, v->dev->index);
        vq->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (vq->kick < 0)
            return err_sys(err, "eventfd");
    }
    return 0;
}

int virtio_init(struct virtio *v, struct device *dev, const struct virtio_ops *ops,
                unsigned nqueues, uint16_t max, unsigned config_size, uint64_t features,
                struct err *err)
{
    v->ops = ops;
    v->dev = dev;
    v->vm = dev->vm;
    v->config_size = config_size;
    v->offered = features | TRANSPORT_FEATURES;
    atomic_init(&v->config_vector, NO_VECTOR);
    if (pci_fn_init(&v->pci, v->vm, dev->id, VENDOR, DEVICE_BASE + ops->id,
                    ops->pci_class, 1, err) < 0)
        return -1;
    v->pci.arg = v;
    v->pci.bar_changed = bar_changed;
    v->pci.cfg[PCI_SUBSYSTEM_VENDOR_ID] = VENDOR & 0xff;
    v->pci.cfg[PCI_SUBSYSTEM_VENDOR_ID + 1] = VENDOR >> 8;
    v->pci.cfg[PCI_SUBSYSTEM_ID] = 0x40 + (uint8_t)ops->id;
    if (nqueues > VIRTIO_QUEUES_MAX)
        return err_set(err, E_CONFIG, "at most %d queues", VIRTIO_QUEUES_MAX);
    if (add_queues(v, nqueues, max, err) < 0 ||
        pci_fn_bar(&v->pci, 0,
                   PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH,
                   BAR_SIZE, bar_read, bar_write, v, err) < 0 ||
        pci_fn_msix(&v->pci, nqueues + 1, BAR_TABLE, BAR_PBA, err) < 0)
        return -1;
    if (!add_cap(v, VIRTIO_PCI_CAP_COMMON_CFG, BAR_COMMON, 0x38) ||
        !add_cap(v, VIRTIO_PCI_CAP_ISR_CFG, BAR_ISR, 1) ||
        !add_cap(v, VIRTIO_PCI_CAP_NOTIFY_CFG, BAR_NOTIFY, NOTIFY_STEP * nqueues))
        return err_set(err, E_BUG, "config space is full");
    if (config_size && !add_cap(v, VIRTIO_PCI_CAP_DEVICE_CFG, BAR_CONFIG, config_size))
        return err_set(err, E_BUG, "config space is full");
    return pci_fn_plug(&v->pci, err);
}

void virtio_queue_thread(struct virtio *v, unsigned queue, struct io_thread *t)
{
    v->queue[queue].thread = t;
}

void virtio_done(struct virtio *v)
{
    if (v->queue)
        virtio_reset(v);
    pci_fn_done(&v->pci);
    for (unsigned i = 0; i < v->nqueues && v->queue; i++)
        if (v->queue[i].kick >= 0)
            close(v->queue[i].kick);
    free(v->queue);
    v->queue = NULL;
    v->nqueues = 0;
}
