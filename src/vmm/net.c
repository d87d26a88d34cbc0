/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-net on a tap: in user space, or by vhost-net (net_vhost.c) which is several
 * times faster. Checksums and segmentation are left to the host (vnet_hdr). A packet
 * that has no room in the guest waits here, one a queue, and the rest in the tap. */
#include "vmm/net.h"
#include "vmm/devices.h"

#include "base/fd.h"
#include "base/own.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/random.h>

enum { QUEUE_SIZE = 256, TURN = 256 };

/* --- user space's queues ------------------------------------------------------- */

static void watch_tap(struct net_pair *p, uint32_t events)
{
    if (events == p->events)
        return;
    if (!events)
        io_watch_del(&p->watch);
    else if (p->events)
        (void)io_watch_mod(&p->watch, events);
    else if (io_watch_add(p->n->v.queue[2 * p->index].thread, &p->watch, events, NULL) <
             0)
        events = 0;
    p->events = events;
}

/* Put the waiting packet into the guest's buffers; false: not enough of them. */
static bool deliver(struct net_pair *p)
{
    struct virtio *v = &p->n->v;
    unsigned queue = 2 * p->index, used = 0;
    struct virtq *q = &v->queue[queue].q;
    bool merge = virtio_has(v, VIRTIO_NET_F_MRG_RXBUF);
    size_t done = 0;
    while (done < p->length) {
        struct virtq_chain *c = used ? p->chain : p->first;
        if (!virtio_pop(v, queue, c)) {
            virtq_unpop(q, used);
            return q->broken;
        }
        if (c->in_len < NET_HEADER || (!merge && c->in_len < p->length)) {
            virtio_broken(v, queue);
            return true;
        }
        size_t k = virtq_write(c, 0, p->packet + done, p->length - done);
        virtq_fill(q, c, (uint32_t)k, used++);
        done += k;
    }
    uint16_t buffers = htole16(used);
    virtq_write(p->first, offsetof(struct virtio_net_hdr_mrg_rxbuf, num_buffers),
                &buffers, sizeof buffers);
    virtq_flush(q, used);
    atomic_fetch_add(&p->rx_packets, 1);
    atomic_fetch_add(&p->rx_bytes, p->length - NET_HEADER);
    return true;
}

static void receive(struct net_pair *p)
{
    struct virtio *v = &p->n->v;
    unsigned queue = 2 * p->index;
    uint32_t want = p->tx_blocked ? EPOLLOUT : 0;
    for (unsigned turn = 0; turn < TURN; turn++) {
        if (!p->length) {
            ssize_t n = read(p->fd, p->packet, NET_PACKET_MAX);
            if (n < NET_HEADER)
                break; /* EAGAIN */
            p->length = (size_t)n;
        }
        if (!deliver(p)) {
            /* Sleep until the driver adds buffers; its kick comes back here. */
            if (virtq_want_more(&v->queue[queue].q))
                continue;
            watch_tap(p, want);
            virtio_notify(v, queue);
            return;
        }
        p->length = 0;
    }
    watch_tap(p, want | EPOLLIN);
    virtio_notify(v, queue);
}

static void transmit(struct net_pair *p)
{
    struct virtio *v = &p->n->v;
    unsigned queue = 2 * p->index + 1;
    struct virtq *q = &v->queue[queue].q;
    p->tx_blocked = false;
    do {
        virtq_want_kicks(q, false);
        while (virtio_pop(v, queue, p->chain)) {
            ssize_t n = writev(p->fd, p->chain->iov, p->chain->nout);
            if (n < 0 && errno == EAGAIN) {
                virtq_unpop(q, 1);
                p->tx_blocked = true;
                watch_tap(p, p->events | EPOLLOUT);
                virtio_notify(v, queue);
                return;
            }
            virtq_push(q, p->chain, 0);
            if (n < NET_HEADER) {
                atomic_fetch_add(&p->dropped, 1);
                continue;
            }
            atomic_fetch_add(&p->tx_packets, 1);
            atomic_fetch_add(&p->tx_bytes, (unsigned long)n - NET_HEADER);
        }
    } while (virtio_again(v, queue));
    virtio_notify(v, queue);
}

static void tap_ready(struct io_watch *w, uint32_t events)
{
    struct net_pair *p = w->arg;
    if (!p->n->v.running)
        return;
    if (events & EPOLLOUT) {
        watch_tap(p, p->events & ~(uint32_t)EPOLLOUT);
        transmit(p);
    }
    if (events & ~(uint32_t)EPOLLOUT)
        receive(p);
}

/* --- control: how many pairs are in use ------------------------------------------- */

static void attach(struct net_pair *p, bool on)
{
    struct ifreq r = {.ifr_flags = on ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};
    (void)ioctl(p->fd, TUNSETQUEUE, &r); /* as it was already: EINVAL */
}

static void use_pairs(struct net *n, unsigned count)
{
    for (unsigned i = 0; i < n->npairs && n->npairs > 1; i++)
        attach(&n->pair[i], i < count);
    n->active = count;
}

static void control(struct net *n, unsigned queue)
{
    struct virtio *v = &n->v;
    struct virtq_chain *c = n->pair[0].chain;
    struct {
        struct virtio_net_ctrl_hdr h;
        uint8_t pairs[2];
    } __attribute__((packed)) m;
    do {
        while (virtio_pop(v, queue, c)) {
            uint8_t ack = VIRTIO_NET_ERR;
            size_t got = virtq_read(c, 0, &m, sizeof m);
            unsigned pairs = m.pairs[0] | m.pairs[1] << 8;
            if (got == sizeof m && m.h.class == VIRTIO_NET_CTRL_MQ &&
                m.h.cmd == VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET && pairs >= 1 &&
                pairs <= n->npairs) {
                use_pairs(n, pairs);
                ack = VIRTIO_NET_OK;
            }
            virtq_push(&v->queue[queue].q, c, (uint32_t)virtq_write(c, 0, &ack, 1));
        }
    } while (virtio_again(v, queue));
    virtio_notify(v, queue);
}

static unsigned control_queue(const struct net *n)
{
    return virtio_has(&n->v, VIRTIO_NET_F_MQ) ? 2 * n->npairs : 2;
}

static void kicked(struct virtio *v, unsigned queue)
{
    struct net *n = v->dev->state;
    if (virtio_has(v, VIRTIO_NET_F_CTRL_VQ) && queue == control_queue(n))
        control(n, queue);
    else if (queue >= 2 * n->npairs)
        return;
    else if (queue % 2)
        transmit(&n->pair[queue / 2]);
    else
        receive(&n->pair[queue / 2]);
}

/* --- start and stop ------------------------------------------------------------------ */

static bool external(struct virtio *v, unsigned queue)
{
    struct net *n = v->dev->state;
    return n->vhost && queue < 2 * n->npairs &&
           !(virtio_has(v, VIRTIO_NET_F_CTRL_VQ) && queue == control_queue(n));
}

static int start(struct virtio *v, struct err *err)
{
    struct net *n = v->dev->state;
    unsigned offload = 0;
    offload |= virtio_has(v, VIRTIO_NET_F_GUEST_CSUM) ? TUN_F_CSUM : 0;
    offload |= virtio_has(v, VIRTIO_NET_F_GUEST_TSO4) ? TUN_F_TSO4 : 0;
    offload |= virtio_has(v, VIRTIO_NET_F_GUEST_TSO6) ? TUN_F_TSO6 : 0;
    if (!(offload & TUN_F_CSUM))
        offload = 0;
    for (unsigned i = 0; i < n->npairs; i++)
        (void)ioctl(n->pair[i].fd, TUNSETOFFLOAD, offload);
    use_pairs(n, n->active ? n->active : 1);
    return n->vhost ? net_vhost_start(n, err) : 0;
}

static void stop(struct virtio *v)
{
    struct net *n = v->dev->state;
    if (n->vhost)
        net_vhost_stop(n);
    for (unsigned i = 0; i < n->npairs; i++) {
        struct net_pair *p = &n->pair[i];
        io_lock(v->queue[2 * i].thread);
        watch_tap(p, 0);
        p->length = 0;
        p->tx_blocked = false;
        io_unlock(v->queue[2 * i].thread);
    }
    n->active = 0;
}

static void vector_changed(struct virtio *v, unsigned queue)
{
    struct net *n = v->dev->state;
    if (external(v, queue))
        net_vhost_vector(n, queue);
}

static void config_read(struct virtio *v, unsigned off, unsigned len, void *out)
{
    struct net *n = v->dev->state;
    memcpy(out, (const char *)&n->config + off, len);
}

static const struct virtio_ops ops = {
    .id = VIRTIO_ID_NET,
    .pci_class = 0x020000,
    .kicked = kicked,
    .config_read = config_read,
    .start = start,
    .stop = stop,
    .vector_changed = vector_changed,
    .external = external,
};

/* --- set-up --------------------------------------------------------------------------- */

static int decode_mac(struct net *n, const char *id, struct err *err)
{
    unsigned m[6];
    char end;
    if (!n->mac_text) {
        /* A local, unicast address. */
        if (getrandom(n->config.mac, 6, 0) != 6)
            return err_sys(err, "getrandom");
        n->config.mac[0] = (n->config.mac[0] & 0xfc) | 2;
        return 0;
    }
    if (strlen(n->mac_text) != 17 ||
        sscanf(n->mac_text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &m[0], &m[1], &m[2], &m[3],
               &m[4], &m[5], &end) != 6)
        return err_set(err, E_CONFIG, "%s: \"mac\" '%s' is not like 52:54:00:12:34:56",
                       id, n->mac_text);
    for (int i = 0; i < 6; i++)
        n->config.mac[i] = (uint8_t)m[i];
    if (m[0] & 1)
        return err_set(err, E_CONFIG, "%s: \"mac\" '%s' is a group address", id,
                       n->mac_text);
    return 0;
}

static int decode(struct device *dev, json_t *in, struct err *err)
{
    struct net *n = dev->state;
    json_error_t je;
    json_t *fds = NULL, *f;
    size_t i;
    int fd = -1;
    n->queues = 1;
    for (unsigned k = 0; k < NET_PAIRS_MAX; k++)
        n->pair[k].fd = n->pair[k].vhost = -1;
    if (json_unpack_ex(in, &je, 0, "{s?s, s?i, s?o, s?s, s?i, s?b !}", "tap", &n->tap,
                       "fd", &fd, "fds", &fds, "mac", &n->mac_text, "queues",
                       &n->queues, "vhost", &n->vhost) < 0)
        return err_set(err, E_CONFIG, "%s: %s", dev->id, je.text);
    if (!!n->tap + (fd >= 0) + !!fds != 1)
        return err_set(err, E_CONFIG, "%s: give one of \"tap\", \"fd\" and \"fds\"",
                       dev->id);
    if (n->tap && (!*n->tap || strlen(n->tap) >= IFNAMSIZ))
        return err_set(err, E_CONFIG, "%s: '%s' is not a name of an interface", dev->id,
                       n->tap);
    if (fd >= 0)
        n->fds[n->nfds++] = fd;
    json_array_foreach (fds, i, f) {
        if (i == NET_PAIRS_MAX || !json_is_integer(f))
            return err_set(err, E_CONFIG, "%s: \"fds\" is a list of up to %d numbers",
                           dev->id, NET_PAIRS_MAX);
        n->fds[n->nfds++] = (int)json_integer_value(f);
    }
    if (!n->tap && json_object_get(in, "queues") && (unsigned)n->queues != n->nfds)
        return err_set(err, E_CONFIG, "%s: %d queues need as many descriptors", dev->id,
                       n->queues);
    n->npairs = n->tap ? (unsigned)n->queues : n->nfds;
    if (n->npairs < 1 || n->npairs > NET_PAIRS_MAX)
        return err_set(err, E_CONFIG, "%s: \"queues\" is 1 to %d", dev->id,
                       NET_PAIRS_MAX);
    return decode_mac(n, dev->id, err);
}

static int open_tap(struct net *n, unsigned i, struct err *err)
{
    struct net_pair *p = &n->pair[i];
    struct ifreq r = {0};
    int size = NET_HEADER;
    if (n->tap) {
        p->fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
        if (p->fd < 0)
            return err_sys(err, "/dev/net/tun");
        snprintf(r.ifr_name, sizeof r.ifr_name, "%s", n->tap);
        r.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR |
                              (n->npairs > 1 ? IFF_MULTI_QUEUE : 0));
        if (ioctl(p->fd, TUNSETIFF, &r) < 0)
            return err_sys(
                err, "tap '%s'%s", n->tap,
                errno == EPERM ? " (it must belong to the user that runs this)" : "");
    } else {
        p->fd = n->fds[i];
        if (fcntl(p->fd, F_SETFD, FD_CLOEXEC) < 0)
            return err_sys(err, "fd %d", n->fds[i]);
        if (ioctl(p->fd, TUNGETIFF, &r) < 0)
            return err_sys(err, "fd %d is not a tap", p->fd);
        if (!(r.ifr_flags & IFF_VNET_HDR) || !(r.ifr_flags & IFF_NO_PI))
            return err_set(
                err, E_CONFIG,
                "fd %d: the tap must be made with IFF_NO_PI and IFF_VNET_HDR", p->fd);
        if (fd_set_nonblock(p->fd, true, err) < 0)
            return -1;
    }
    if (ioctl(p->fd, TUNSETVNETHDRSZ, &size) < 0)
        return err_sys(err, "tap: header size");
    return 0;
}

static int pair_init(struct net *n, unsigned i, struct err *err)
{
    struct net_pair *p = &n->pair[i];
    struct io_thread *t = vm_io_thread(n->v.vm, n->v.dev->index + i);
    p->n = n;
    p->index = i;
    p->watch = (struct io_watch){.fd = p->fd, .ready = tap_ready, .arg = p};
    p->chain = calloc(1, sizeof *p->chain);
    p->first = calloc(1, sizeof *p->first);
    p->packet = malloc(NET_PACKET_MAX);
    if (!p->chain || !p->first || !p->packet)
        return err_oom(err);
    virtio_queue_thread(&n->v, 2 * i, t);
    virtio_queue_thread(&n->v, 2 * i + 1, t);
    return 0;
}

static int init(struct device *dev, struct err *err)
{
    struct net *n = dev->state;
    uint64_t features =
        1ull << VIRTIO_NET_F_MAC | 1ull << VIRTIO_NET_F_STATUS |
        1ull << VIRTIO_NET_F_MRG_RXBUF | 1ull << VIRTIO_NET_F_CSUM |
        1ull << VIRTIO_NET_F_GUEST_CSUM | 1ull << VIRTIO_NET_F_HOST_TSO4 |
        1ull << VIRTIO_NET_F_HOST_TSO6 | 1ull << VIRTIO_NET_F_GUEST_TSO4 |
        1ull << VIRTIO_NET_F_GUEST_TSO6;
    bool many = n->npairs > 1;
    if (many)
        features |= 1ull << VIRTIO_NET_F_MQ | 1ull << VIRTIO_NET_F_CTRL_VQ;
    n->config.status = htole16(VIRTIO_NET_S_LINK_UP);
    n->config.max_virtqueue_pairs = htole16(n->npairs);
    for (unsigned i = 0; i < n->npairs; i++)
        if (open_tap(n, i, err) < 0)
            return err_at(err, "%s", dev->id);
    if (virtio_init(&n->v, dev, &ops, 2 * n->npairs + many, QUEUE_SIZE,
                    offsetof(struct virtio_net_config, mtu), features, err) < 0)
        return -1;
    for (unsigned i = 0; i < n->npairs; i++)
        if (pair_init(n, i, err) < 0)
            return err_at(err, "%s", dev->id);
    if (many)
        virtio_queue_thread(&n->v, 2 * n->npairs, n->v.queue[0].thread);
    if (!n->vhost)
        return 0;
    if (net_vhost_open(n, &n->v.offered, err) < 0)
        return err_at(err, "%s", dev->id);
    for (unsigned i = 0; i < n->v.pci.msix.count; i++)
        if (vm_irq_fd(&n->v.pci.msix.irq[i], err) < 0)
            return err_at(err, "%s", dev->id);
    return 0;
}

static void done(struct device *dev)
{
    struct net *n = dev->state;
    virtio_done(&n->v);
    net_vhost_close(n);
    for (unsigned i = 0; i < n->npairs && i < NET_PAIRS_MAX; i++) {
        struct net_pair *p = &n->pair[i];
        if (p->fd >= 0)
            close(p->fd);
        p->fd = -1;
        free(p->chain);
        free(p->first);
        free(p->packet);
        p->chain = p->first = NULL;
        p->packet = NULL;
    }
}

/* --- the row ---------------------------------------------------------------------------- */

/* A packet that waits is lost, as packets may be. */
static int pause_(struct device *dev, struct err *err)
{
    struct net *n = dev->state;
    if (n->vhost && n->v.running)
        net_vhost_stop(n);
    return 0;
}

static int resume(struct device *dev, struct err *err)
{
    struct net *n = dev->state;
    if (n->vhost && n->v.running && net_vhost_start(n, err) < 0)
        return err_at(err, "%s", dev->id);
    virtio_resume(&n->v);
    return 0;
}

static void save(struct device *dev, struct state_writer *w)
{
    struct net *n = dev->state;
    virtio_save(&n->v, w);
    state_put_u64(w, 1, n->active);
    state_put(w, 2, n->config.mac, sizeof n->config.mac);
}

static int restore(struct device *dev, const struct state_reader *r, struct err *err)
{
    struct net *n = dev->state;
    uint64_t active = state_get_u64_or(r, 1, 1);
    if (active > n->npairs)
        return err_set(err, E_INPUT, "%s: saved with %llu queues in use", dev->id,
                       (unsigned long long)active);
    /* The guest has read its address already. */
    if (state_get(r, 2, n->config.mac, sizeof n->config.mac, err) < 0)
        return -1;
    n->active = (unsigned)active;
    return virtio_restore(&n->v, r, err);
}

static bool untracked(struct device *dev)
{
    struct net *n = dev->state;
    return n->vhost;
}

static json_t *stats(struct device *dev)
{
    struct net *n = dev->state;
    json_t *j = virtio_stats(&n->v, NULL, 0);
    json_int_t sum[5] = {0};
    static const char *const name[] = {"rx_packets", "tx_packets", "rx_bytes",
                                       "tx_bytes", "dropped"};
    for (unsigned i = 0; i < n->npairs; i++) {
        struct net_pair *p = &n->pair[i];
        sum[0] += (json_int_t)atomic_load(&p->rx_packets);
        sum[1] += (json_int_t)atomic_load(&p->tx_packets);
        sum[2] += (json_int_t)atomic_load(&p->rx_bytes);
        sum[3] += (json_int_t)atomic_load(&p->tx_bytes);
        sum[4] += (json_int_t)atomic_load(&p->dropped);
    }
    /* vhost's packets pass us by: ask the tap. */
    for (unsigned i = 0; j && !n->vhost && i < ARRAY_SIZE(name); i++)
        json_object_set_new(j, name[i], json_integer(sum[i]));
    if (j)
        json_object_set_new(j, "vhost", json_boolean(n->vhost));
    return j;
}

const struct device_ops device_net = {
    .name = "net",
    .help = "tap|fd|fds: [..], mac, queues, vhost",
    .state_size = sizeof(struct net),
    .decode = decode,
    .init = init,
    .pause = pause_,
    .resume = resume,
    .save = save,
    .restore = restore,
    .untracked = untracked,
    .stats = stats,
    .done = done,
};
