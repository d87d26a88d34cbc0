/* SPDX-License-Identifier: Apache-2.0 */
/* The modern virtio transport over PCI: what all virtio devices share. A device's state
 * begins with a struct virtio; it gives a table of what differs.
 *
 * Registers are written by vCPUs under the bus lock. Queues are worked on by I/O
 * threads, each queue by one, woken by its kick eventfd (an ioeventfd in the kernel).
 * The two meet only in virtio's reset and start, which hold the I/O thread's lock while
 * they take the queue away or hand it over. */
#pragma once
#include "vmm/device.h"
#include "vmm/pci.h"
#include "vmm/virtq.h"

#include <stdatomic.h>

enum { VIRTIO_QUEUES_MAX = 130 };

struct virtio;

struct virtio_ops {
    uint16_t id;        /* VIRTIO_ID_... */
    uint32_t pci_class; /* 24 bits */
    /* I/O thread: the queue was kicked, or started. */
    void (*kicked)(struct virtio *v, unsigned queue);
    /* Device's own configuration; off + len is within config_size. Bus. */
    void (*config_read)(struct virtio *v, unsigned off, unsigned len, void *out);
    void (*config_write)(struct virtio *v, unsigned off, unsigned len, const void *in);
    /* DRIVER_OK: the driver's features are known, queues are enabled. -1: the device
     * then asks to be reset. Optional. Bus. */
    int (*start)(struct virtio *v, struct err *err);
    /* Queues are no longer watched; let go of all requests and of guest memory before
     * returning. Optional. Bus, or done. */
    void (*stop)(struct virtio *v);
    /* The interrupt of a queue changed while running (vhost must know). Optional. */
    void (*vector_changed)(struct virtio *v, unsigned queue);
    /* Any thread. Does somebody else (vhost) take the kicks of this queue? Optional. */
    bool (*external)(struct virtio *v, unsigned queue);
};

struct virtio_queue {
    struct virtq q;
    struct virtio *v;
    uint16_t max;         /* entries offered */
    atomic_ushort vector; /* VIRTIO_MSI_NO_VECTOR: none */
    int kick;             /* eventfd */
    struct io_thread *thread;
    struct io_watch watch;
    unsigned budget;     /* chains until other watches get their turn */
    bool watched, wired; /* wired: ioeventfd is set at wired_at */
    uint64_t wired_at;
};

struct virtio {
    const struct virtio_ops *ops;
    struct device *dev;
    struct vm *vm;
    struct pci_fn pci;
    uint64_t offered, acked; /* features */
    atomic_uchar status, isr;
    atomic_uchar generation;
    atomic_ushort config_vector;
    uint32_t device_select, driver_select;
    uint16_t queue_select;
    atomic_bool running; /* false before stop is called: begin nothing new */
    unsigned nqueues, config_size;
    struct virtio_queue *queue;
};

/* Set up the function with n queues of `max` entries each; queue i works on I/O thread
 * first_thread + i. Transport's features are added to `features`. Plugs it in. */
int virtio_init(struct virtio *v, struct device *dev, const struct virtio_ops *ops,
                unsigned nqueues, uint16_t max, unsigned config_size, uint64_t features,
                struct err *err);
/* All queues onto one I/O thread (or each its own: after virtio_init, at set-up). */
void virtio_queue_thread(struct virtio *v, unsigned queue, struct io_thread *t);
void virtio_done(struct virtio *v);

static inline bool virtio_has(const struct virtio *v, unsigned feature)
{
    return v->acked >> feature & 1;
}

/* I/O thread: an interrupt for the queue if the driver wants one now. */
void virtio_notify(struct virtio *v, unsigned queue);
/* Any thread: the configuration changed. */
void virtio_config_changed(struct virtio *v);
/* I/O thread: the driver broke the rules on this queue; stop and ask for a reset. */
void virtio_broken(struct virtio *v, unsigned queue);
/* I/O thread: virtq_pop, telling virtio_broken of what is wrong. True: got one. After
 * many in a row it gives none and kicks the queue, so that a guest that adds as fast as
 * we take cannot keep the thread to itself. */
bool virtio_pop(struct virtio *v, unsigned queue, struct virtq_chain *c);
/* At the end of a loop of virtio_pop: ask for kicks; true if it must go round again. */
bool virtio_again(struct virtio *v, unsigned queue);
/* Kick ourselves: look at the queue again. Any thread. */
void virtio_kick(struct virtio *v, unsigned queue);

/* For rows: all queues parked. resume kicks every queue. */
void virtio_resume(struct virtio *v);
enum { VIRTIO_TAG = 0x200 };
void virtio_save(struct virtio *v, struct state_writer *w);
/* Before it, the device has set up what the features imply. Calls ops->start when the
 * saved device was running. */
int virtio_restore(struct virtio *v, const struct state_reader *r, struct err *err);
void virtio_reset(struct virtio *v);
/* A number that a device counts, by its name for the control socket. */
struct virtio_count {
    const char *name;
    atomic_ulong *n;
};
/* {"driver": "running", "features": "0x...", ...} and the device's own counts. */
json_t *virtio_stats(struct virtio *v, const struct virtio_count *counts, size_t n);

/* For device_ops, where the transport is all there is to do. */
int virtio_row_resume(struct device *dev, struct err *err);
void virtio_row_save(struct device *dev, struct state_writer *w);
int virtio_row_restore(struct device *dev, const struct state_reader *r,
                       struct err *err);
void virtio_row_done(struct device *dev);

/* Between virtio_pci.c and virtio_save.c. */
int virtio_start(struct virtio *v, struct err *err);
uint16_t virtio_good_vector(const struct virtio *v, uint64_t n);
