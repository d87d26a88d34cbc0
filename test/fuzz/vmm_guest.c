/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm_guest.h"

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>

enum {
    QUEUES = 8,
    RING = 8,
    QUEUE_ROOM = 0x1000, /* guest memory of one queue: table, rings */
    AVAIL = 0x100,
    USED = 0x200,
    BAR_ROOM = 0x8000,
    NOTIFY = 0x3000,
    BAR_FIRST = 0,
};
#define BARS (4 * GIB)

static uint64_t ecam(unsigned slot, unsigned reg)
{
    return LAYOUT_ECAM_BASE + ((uint64_t)slot << 15) + reg;
}

/* Where a queue of a slot lives: slots share the room, which is hostile enough. */
static uint8_t *queue(struct vm *vm, unsigned q)
{
    return fake_memory(vm) + QUEUE_ROOM * (q % QUEUES);
}

/* Features taken as offered, eight entries a queue, DRIVER_OK. */
static void bring_up(struct vm *vm, unsigned slot)
{
    fake_write(vm, false, ecam(slot, PCI_COMMAND), 2, PCI_COMMAND_MEMORY);
    uint64_t b = (fake_read(vm, false, ecam(slot, PCI_BASE_ADDRESS_0), 4) & ~0xfull) |
                 fake_read(vm, false, ecam(slot, PCI_BASE_ADDRESS_1), 4) << 32;
    fake_write(vm, false, b + VIRTIO_PCI_COMMON_STATUS, 1, 3);
    for (unsigned i = 0; i < 2; i++) {
        fake_write(vm, false, b + VIRTIO_PCI_COMMON_DFSELECT, 4, i);
        uint64_t offered = fake_read(vm, false, b + VIRTIO_PCI_COMMON_DF, 4);
        fake_write(vm, false, b + VIRTIO_PCI_COMMON_GFSELECT, 4, i);
        fake_write(vm, false, b + VIRTIO_PCI_COMMON_GF, 4, offered);
    }
    fake_write(vm, false, b + VIRTIO_PCI_COMMON_STATUS, 1, 11);
    for (unsigned q = 0; q < QUEUES; q++) {
        uint64_t at = QUEUE_ROOM * (uint64_t)q;
        fake_write(vm, false, b + VIRTIO_PCI_COMMON_Q_SELECT, 2, q);
        fake_write(vm, false, b + VIRTIO_PCI_COMMON_Q_SIZE, 2, RING);
        fake_write(vm, false, b + VIRTIO_PCI_COMMON_Q_DESCLO, 4, at);
        fake_write(vm, false, b + VIRTIO_PCI_COMMON_Q_AVAILLO, 4, at + AVAIL);
        fake_write(vm, false, b + VIRTIO_PCI_COMMON_Q_USEDLO, 4, at + USED);
        fake_write(vm, false, b + VIRTIO_PCI_COMMON_Q_MSIX, 2, q);
        fake_write(vm, false, b + VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
    }
    fake_write(vm, false, b + VIRTIO_PCI_COMMON_STATUS, 1, 15);
}

static void put_descriptor(struct vm *vm, const struct fuzz_step *s)
{
    struct vring_desc d = {.addr = s->c % FAKE_MEMORY,
                           .len = (uint32_t)s->d,
                           .flags = s->d >> 32 & 7,
                           .next = s->d >> 40 & (2 * RING - 1)};
    memcpy(queue(vm, s->a) + s->b % RING * sizeof d, &d, sizeof d);
}

/* Offer a head and kick: slot in c, queue in a. */
static void offer(struct vm *vm, const struct fuzz_step *s)
{
    struct vring_avail *avail = (void *)(queue(vm, s->a) + AVAIL);
    avail->ring[avail->idx % RING] = s->b % (RING + 1);
    avail->idx++;
    fake_write(vm, false,
               BARS + BAR_ROOM * (uint64_t)(s->c % 4) + NOTIFY + 4 * (s->a % QUEUES), 2,
               0);
    fake_run(vm, 0, 8);
}

static void play(struct vm *vm, const struct fuzz_machine *m, const struct fuzz_step *s)
{
    unsigned len = 1u << (s->a & 3), slot = s->a >> 2 & 7;
    uint64_t bar = BARS + BAR_ROOM * (uint64_t)slot + s->b % BAR_ROOM;
    switch (s->what % 10) {
    case 0:
        memcpy(fake_memory(vm) + (s->c % (FAKE_MEMORY - 8)), &s->d, sizeof s->d);
        break;
    case 1:
        fake_write(vm, false, ecam(slot, s->b & 0xfff), len, s->d);
        (void)fake_read(vm, false, LAYOUT_ECAM_BASE + s->c % LAYOUT_ECAM_SIZE, len);
        break;
    case 2:
        fake_write(vm, false, bar, len, s->d);
        break;
    case 3:
        (void)fake_read(vm, false, bar, len);
        break;
    case 4:
        fake_write(vm, true, LAYOUT_PORT_SERIAL + (s->b & 7), len, s->d);
        (void)fake_read(vm, true, LAYOUT_PORT_SERIAL + (s->b >> 3 & 7), len);
        break;
    case 5:
    case 6:
        put_descriptor(vm, s);
        break;
    case 7:
        if (m->host)
            m->host(s);
        fake_run(vm, 0, 4);
        break;
    default:
        offer(vm, s);
        break;
    }
}

int fuzz_guest(const struct fuzz_machine *m, const uint8_t *data, size_t size)
{
    enum { STEPS = 512 };
    struct vm *vm = fake_new();
    unsigned slots = m->setup(vm, size ? data[0] : 0);
    for (unsigned slot = 1; slot <= slots; slot++)
        bring_up(vm, slot);
    fake_run(vm, 0, 8);
    struct fuzz_step s;
    size_t at = 1;
    for (unsigned n = 0; n < STEPS && size >= at + sizeof s; n++, at += sizeof s) {
        memcpy(&s, data + at, sizeof s);
        play(vm, m, &s);
        if (m->each)
            m->each();
    }
    fake_run(vm, 0, 16);
    fake_free(vm);
    if (m->done)
        m->done();
    return 0;
}

void fuzz_pair(int type, int *device, int *peer)
{
    int fd[2];
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) < 0)
        abort();
    *device = fd[0];
    *peer = fd[1];
}

void fuzz_send(int peer, const struct fuzz_step *s)
{
    uint8_t text[4096];
    size_t n = s->c % sizeof text;
    for (size_t i = 0; i < n; i++)
        text[i] = (uint8_t)(s->d >> 8 * (i % 8));
    (void)!send(peer, text, n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void fuzz_drain(int peer)
{
    char text[4096];
    while (recv(peer, text, sizeof text, MSG_DONTWAIT) > 0)
        continue;
}

int fuzz_file(size_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
        abort();
    return fd;
}
