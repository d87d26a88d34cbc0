/* SPDX-License-Identifier: Apache-2.0 */
/* vhost-net: the host's kernel moves packets between the tap and the guest's rings. We
 * hand it rings, memory, kick and interrupt descriptors at the start, and ask for its
 * place in the rings at the end. Its owner must be the process that runs the vCPUs,
 * which the sandbox makes, so ownership is taken at the first start. */
#include "vmm/net.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int net_vhost_open(struct net *n, uint64_t *features, struct err *err)
{
    for (unsigned i = 0; i < n->npairs; i++) {
        struct net_pair *p = &n->pair[i];
        uint64_t can;
        p->vhost = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
        if (p->vhost < 0)
            return err_sys(err, "/dev/vhost-net (\"vhost\": false does without)");
        if (ioctl(p->vhost, VHOST_GET_FEATURES, &can) < 0)
            return err_sys(err, "/dev/vhost-net: features");
        if (!(can >> VIRTIO_F_VERSION_1 & 1) || !(can >> VIRTIO_NET_F_MRG_RXBUF & 1))
            return err_set(err, E_UNAVAIL, "/dev/vhost-net is too old");
        if (!(can >> VIRTIO_RING_F_EVENT_IDX & 1))
            *features &= ~(1ull << VIRTIO_RING_F_EVENT_IDX);
    }
    return 0;
}

static int set_memory(struct net *n, int fd, struct err *err)
{
    size_t count, used = 0;
    const struct vm_memory *m = vm_memory_list(n->v.vm, &count);
    enum { REGIONS = 64 };
    uint64_t room[(sizeof(struct vhost_memory) +
                   REGIONS * sizeof(struct vhost_memory_region)) /
                  sizeof(uint64_t)] = {0};
    struct vhost_memory *t = (struct vhost_memory *)room;
    for (size_t i = 0; i < count && used < REGIONS; i++)
        if (m[i].ram)
            t->regions[used++] =
                (struct vhost_memory_region){.guest_phys_addr = m[i].gpa,
                                             .memory_size = m[i].size,
                                             .userspace_addr = (uintptr_t)m[i].hva};
    t->nregions = (uint32_t)used;
    return ioctl(fd, VHOST_SET_MEM_TABLE, t) < 0 ? err_sys(err, "vhost: memory") : 0;
}

static int call_fd(struct net *n, unsigned queue)
{
    unsigned vector = atomic_load(&n->v.queue[queue].vector);
    return vector < n->v.pci.msix.count ? n->v.pci.msix.irq[vector].fd : -1;
}

static int ring_start(struct net *n, int fd, unsigned index, unsigned queue,
                      struct err *err)
{
    struct virtio_queue *vq = &n->v.queue[queue];
    struct vhost_vring_state num = {.index = index, .num = vq->q.size};
    struct vhost_vring_state base = {.index = index, .num = vq->q.next_avail};
    struct vhost_vring_addr addr = {.index = index,
                                    .desc_user_addr = (uintptr_t)vq->q.desc,
                                    .avail_user_addr = (uintptr_t)vq->q.avail,
                                    .used_user_addr = (uintptr_t)vq->q.used};
    struct vhost_vring_file kick = {.index = index, .fd = vq->kick};
    struct vhost_vring_file call = {.index = index, .fd = call_fd(n, queue)};
    struct vhost_vring_file back = {.index = index, .fd = n->pair[queue / 2].fd};
    if (ioctl(fd, VHOST_SET_VRING_NUM, &num) < 0 ||
        ioctl(fd, VHOST_SET_VRING_BASE, &base) < 0 ||
        ioctl(fd, VHOST_SET_VRING_ADDR, &addr) < 0 ||
        ioctl(fd, VHOST_SET_VRING_KICK, &kick) < 0 ||
        ioctl(fd, VHOST_SET_VRING_CALL, &call) < 0 ||
        ioctl(fd, VHOST_NET_SET_BACKEND, &back) < 0)
        return err_sys(err, "vhost: queue %u", queue);
    return 0;
}

int net_vhost_start(struct net *n, struct err *err)
{
    for (unsigned i = 0; i < n->npairs; i++) {
        struct net_pair *p = &n->pair[i];
        uint64_t can, use;
        if (!n->v.queue[2 * i].q.enabled || !n->v.queue[2 * i + 1].q.enabled)
            continue;
        if (!p->owned && ioctl(p->vhost, VHOST_SET_OWNER) < 0)
            return err_sys(err, "vhost: owner");
        p->owned = true;
        if (ioctl(p->vhost, VHOST_GET_FEATURES, &can) < 0)
            return err_sys(err, "vhost: features");
        use = can & n->v.acked & ~(1ull << VHOST_NET_F_VIRTIO_NET_HDR);
        if (ioctl(p->vhost, VHOST_SET_FEATURES, &use) < 0)
            return err_sys(err, "vhost: features");
        if (set_memory(n, p->vhost, err) < 0 ||
            ring_start(n, p->vhost, 0, 2 * i, err) < 0 ||
            ring_start(n, p->vhost, 1, 2 * i + 1, err) < 0) {
            net_vhost_stop(n);
            return -1;
        }
    }
    return 0;
}

void net_vhost_stop(struct net *n)
{
    for (unsigned queue = 0; queue < 2 * n->npairs; queue++) {
        struct net_pair *p = &n->pair[queue / 2];
        struct virtq *q = &n->v.queue[queue].q;
        struct vhost_vring_file none = {.index = queue % 2, .fd = -1};
        struct vhost_vring_state base = {.index = queue % 2};
        if (!p->owned || !q->enabled)
            continue;
        /* After it returns, vhost no longer touches this ring. */
        (void)ioctl(p->vhost, VHOST_NET_SET_BACKEND, &none);
        if (ioctl(p->vhost, VHOST_GET_VRING_BASE, &base) == 0) {
            q->next_avail = (uint16_t)base.num;
            q->next_used = __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE);
        }
    }
}

void net_vhost_vector(struct net *n, unsigned queue)
{
    struct net_pair *p = &n->pair[queue / 2];
    struct vhost_vring_file call = {.index = queue % 2, .fd = call_fd(n, queue)};
    if (queue < 2 * n->npairs && p->owned)
        (void)ioctl(p->vhost, VHOST_SET_VRING_CALL, &call);
}

void net_vhost_close(struct net *n)
{
    for (unsigned i = 0; i < n->npairs; i++) {
        if (n->pair[i].vhost >= 0)
            close(n->pair[i].vhost);
        n->pair[i].vhost = -1;
    }
}
