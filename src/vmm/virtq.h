/* SPDX-License-Identifier: Apache-2.0 */
/* Split virtqueues, the device's side. The rings and every buffer are the guest's: each
 * index, address, length and chain is checked here, once, on a private copy; what a
 * device gets are host pointers that are good. A queue that lies is "broken": it gives
 * nothing more until the driver resets it. One thread at a time uses a queue. */
#pragma once
#include "base/err.h"
#include "vmm/device.h"

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
    VIRTQ_SIZE_MAX = 1024, /* entries of a ring */
    VIRTQ_SEGS = 256,      /* buffers of one chain; more is refused */
};

struct virtq {
    struct vm *vm;
    /* As the driver set them; only changed while not enabled. */
    uint16_t size;
    uint64_t desc_gpa, avail_gpa, used_gpa;
    bool enabled;
    bool event_idx, indirect; /* negotiated */
    /* The rings in our address space, while enabled. */
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    uint16_t next_avail, next_used;
    uint16_t signalled; /* value of next_used when we last asked "notify?" */
    bool signalled_valid;
    bool broken;
    const char *why; /* what was wrong, a constant, for the log */
};

/* One request: first nout buffers to read, then nin to write. */
struct virtq_chain {
    uint16_t head;
    uint16_t nout, nin;
    uint64_t out_len, in_len;
    struct iovec iov[VIRTQ_SEGS];
    uint64_t gpa[VIRTQ_SEGS];
};

void virtq_init(struct virtq *q, struct vm *vm);
/* Check size and addresses, find the rings in memory. */
int virtq_enable(struct virtq *q, struct err *err);
/* Back to nothing (vm stays). */
void virtq_reset(struct virtq *q);

/* The next request: 1 in *c, 0 there is none, -1 broken (once set it stays). */
int virtq_pop(struct virtq *q, struct virtq_chain *c);
/* Give back the n chains popped last, as if never popped. */
void virtq_unpop(struct virtq *q, unsigned n);
bool virtq_is_empty(const struct virtq *q);
/* Return the chain, `written` bytes of its in-buffers filled (from their start). */
void virtq_push(struct virtq *q, const struct virtq_chain *c, uint32_t written);
/* The same in two steps, for several chains that must appear at once: fill slot i after
 * the published ones, then publish n. */
void virtq_fill(struct virtq *q, const struct virtq_chain *c, uint32_t written,
                unsigned i);
void virtq_flush(struct virtq *q, unsigned n);
/* Does the driver want an interrupt for what was pushed since the last time asked? */
bool virtq_should_notify(struct virtq *q);
/* Ask (or not) for kicks. After switching on, true if there is work already: look
 * again instead of sleeping. */
bool virtq_want_kicks(struct virtq *q, bool on);
/* Ask for a kick when more comes than is there now (what is there is not enough). True
 * if more came meanwhile. */
bool virtq_want_more(struct virtq *q);

/* Copy between a flat buffer and the out- (in-) buffers, from offset `at`; gives the
 * bytes copied, less than len at the chain's end. */
size_t virtq_read(const struct virtq_chain *c, size_t at, void *buf, size_t len);
size_t virtq_write(const struct virtq_chain *c, size_t at, const void *buf, size_t len);
/* The part [at, at+len) of the out- (in: `in`) buffers as an iovec; gives the entries,
 * *got the bytes. dst has room for VIRTQ_SEGS. */
unsigned virtq_slice(const struct virtq_chain *c, bool in, size_t at, size_t len,
                     struct iovec *dst, size_t *got);
