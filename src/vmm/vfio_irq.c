/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vfio_irq.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include "vmm/device.h"

enum { BY_EVENTFD = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER };

static void cut(struct vfio_irqs *q)
{
    const struct vfio_irq_set off = {.argsz = sizeof off,
                                     .flags = VFIO_IRQ_SET_DATA_NONE |
                                              VFIO_IRQ_SET_ACTION_TRIGGER,
                                     .index = q->set->index};
    ioctl(q->device, VFIO_DEVICE_SET_IRQS, &off);
    /* What came before is not for who switches it on again. */
    for (unsigned i = 0; i < q->count; i++) {
        eventfd_t n;
        (void)eventfd_read(q->irq[i].fd, &n);
    }
}

/* 0, or how many the host has to give; negative: it has failed. */
static int connect_all(struct vfio_irqs *q)
{
    int r = ioctl(q->device, VFIO_DEVICE_SET_IRQS, q->set), why = errno;
    if (r != 0)
        cut(q);
    errno = why;
    return r;
}

int vfio_irqs_init(struct vfio_irqs *q, int device, uint32_t index, struct vm_irq *irq,
                   unsigned count, struct err *err)
{
    size_t size = sizeof *q->set + count * sizeof(int);
    *q = (struct vfio_irqs){.device = device, .irq = irq, .count = count};
    q->set = calloc(1, size);
    if (!q->set)
        return err_oom(err);
    *q->set = (struct vfio_irq_set){
        .argsz = (uint32_t)size, .flags = BY_EVENTFD, .index = index, .count = count};
    for (unsigned i = 0; i < count; i++) {
        int fd = vm_irq_fd(&irq[i], err);
        if (fd < 0)
            return -1;
        memcpy(q->set->data + i * sizeof fd, &fd, sizeof fd);
    }
    int have = connect_all(q);
    if (have < 0)
        return err_sys(err, "%u interrupts", count);
    if (have > 0)
        return err_set(err, E_BUSY, "the host has only %d of %u interrupts", have,
                       count);
    cut(q);
    return 0;
}

int vfio_irqs_put(struct vfio_irqs *q, bool on)
{
    q->connected = on;
    if (on)
        return connect_all(q) == 0 ? 0 : -1;
    cut(q);
    return 0;
}

void vfio_irqs_done(struct vfio_irqs *q)
{
    free(q->set);
    q->set = NULL;
}

int vfio_irq_tell(int device, uint32_t index, int fd)
{
    char room[sizeof(struct vfio_irq_set) + sizeof fd]
        __attribute__((aligned(8))) = {0};
    struct vfio_irq_set *s = (struct vfio_irq_set *)room;
    *s = (struct vfio_irq_set){
        .argsz = sizeof room, .flags = BY_EVENTFD, .index = index, .count = 1};
    memcpy(s->data, &fd, sizeof fd);
    return ioctl(device, VFIO_DEVICE_SET_IRQS, s) < 0 ? -1 : 0;
}
