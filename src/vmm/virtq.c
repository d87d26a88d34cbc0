/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/virtq.h"

#include <string.h>

/* Ring fields change under us: each is read once, by these. */
#define LOAD(x)         __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define LOAD_ACQ(x)     __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define STORE(x, v)     __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
#define STORE_REL(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELEASE)

void virtq_init(struct virtq *q, struct vm *vm)
{
    *q = (struct virtq){.vm = vm};
}

void virtq_reset(struct virtq *q)
{
    virtq_init(q, q->vm);
}

static int broken(struct virtq *q, const char *why)
{
    q->broken = true;
    q->why = why;
    return -1;
}

static void *find(struct virtq *q, uint64_t gpa, uint64_t len, unsigned align)
{
    return gpa % align ? NULL : vm_hva(q->vm, gpa, len);
}

/* The driver's "used_event" and our "avail_event", behind the rings' entries. */
static uint16_t *used_event(const struct virtq *q)
{
    return (uint16_t *)&q->avail->ring[q->size];
}

static uint16_t *avail_event(const struct virtq *q)
{
    return (uint16_t *)&q->used->ring[q->size];
}

static uint64_t used_bytes(const struct virtq *q)
{
    return 6 + 8ull * q->size;
}

int virtq_enable(struct virtq *q, struct err *err)
{
    if (!q->size || q->size > VIRTQ_SIZE_MAX || (q->size & (q->size - 1)))
        return err_set(err, E_INPUT, "queue size %u is not a power of two up to %d",
                       q->size, VIRTQ_SIZE_MAX);
    q->desc = find(q, q->desc_gpa, 16ull * q->size, 16);
    q->avail = find(q, q->avail_gpa, 6 + 2ull * q->size, 2);
    q->used = find(q, q->used_gpa, used_bytes(q), 4);
    if (!q->desc || !q->avail || !q->used)
        return err_set(err, E_INPUT, "a ring is not aligned or not in memory");
    q->enabled = true;
    return 0;
}

bool virtq_is_empty(const struct virtq *q)
{
    return !q->enabled || q->broken || LOAD_ACQ(q->avail->idx) == q->next_avail;
}

/* Add one buffer to the chain. */
static int add(struct virtq *q, struct virtq_chain *c, const struct vring_desc *d)
{
    unsigned n = c->nout + c->nin;
    bool in = d->flags & VRING_DESC_F_WRITE;
    if (n == VIRTQ_SEGS)
        return broken(q, "a chain is too long");
    if (!in && c->nin)
        return broken(q, "a buffer to read follows one to write");
    void *host = d->len ? vm_hva(q->vm, d->addr, d->len) : NULL;
    if (!host)
        return broken(q, d->len ? "a buffer is not in memory" : "an empty buffer");
    c->iov[n] = (struct iovec){.iov_base = host, .iov_len = d->len};
    c->gpa[n] = d->addr;
    if (in) {
        c->nin++;
        c->in_len += d->len;
    } else {
        c->nout++;
        c->out_len += d->len;
    }
    return 0;
}

/* Follow a chain in a table of n descriptors, from number i. Each step uses up one of n
 * steps, so a loop ends. */
static int walk(struct virtq *q, struct virtq_chain *c, const struct vring_desc *table,
                unsigned n, unsigned i, bool is_indirect)
{
    for (unsigned steps = 0; steps < n; steps++) {
        if (i >= n)
            return broken(q, "a descriptor's number is beyond the table");
        struct vring_desc d;
        memcpy(&d, (const void *)&table[i], sizeof d);
        __asm__ __volatile__("" : : "g"(&d) : "memory"); /* d is ours from here on */
        if (d.flags & VRING_DESC_F_INDIRECT) {
            if (is_indirect || !q->indirect || (d.flags & VRING_DESC_F_NEXT))
                return broken(q, "an indirect descriptor where none may be");
            unsigned entries = d.len / sizeof d;
            if (d.len % sizeof d || !entries || entries > VIRTQ_SIZE_MAX)
                return broken(q, "an indirect table has a wrong size");
            const struct vring_desc *inner = vm_hva(q->vm, d.addr, d.len);
            if (!inner)
                return broken(q, "an indirect table is not in memory");
            return walk(q, c, inner, entries, 0, true);
        }
        if (add(q, c, &d) < 0)
            return -1;
        if (!(d.flags & VRING_DESC_F_NEXT))
            return 0;
        i = d.next;
    }
    return broken(q, "a chain of descriptors is a loop");
}

int virtq_pop(struct virtq *q, struct virtq_chain *c)
{
    if (!q->enabled || q->broken)
        return q->broken ? -1 : 0;
    uint16_t idx = LOAD_ACQ(q->avail->idx);
    if (idx == q->next_avail)
        return 0;
    if ((uint16_t)(idx - q->next_avail) > q->size)
        return broken(q, "the available index jumped");
    uint16_t head = LOAD(q->avail->ring[q->next_avail & (q->size - 1)]);
    if (head >= q->size)
        return broken(q, "a head is beyond the ring");
    c->head = head;
    c->nout = c->nin = 0;
    c->out_len = c->in_len = 0;
    if (walk(q, c, q->desc, q->size, head, false) < 0)
        return -1;
    q->next_avail++;
    return 1;
}

void virtq_unpop(struct virtq *q, unsigned n)
{
    q->next_avail -= n;
}

/* Tell who tracks memory (migration) what a device wrote. */
static void mark(struct virtq *q, const struct virtq_chain *c, uint32_t written)
{
    for (unsigned i = c->nout; i < c->nout + (unsigned)c->nin && written; i++) {
        uint64_t n = c->iov[i].iov_len;
        if (n > written)
            n = written;
        vm_mark_dirty(q->vm, c->gpa[i], n);
        written -= n;
    }
}

void virtq_fill(struct virtq *q, const struct virtq_chain *c, uint32_t written,
                unsigned i)
{
    if (!q->enabled)
        return;
    mark(q, c, written);
    struct vring_used_elem *e = &q->used->ring[(q->next_used + i) & (q->size - 1)];
    STORE(e->id, (uint32_t)c->head);
    STORE(e->len, written);
}

void virtq_flush(struct virtq *q, unsigned n)
{
    if (!q->enabled)
        return;
    q->next_used += n;
    STORE_REL(q->used->idx, q->next_used);
    vm_mark_dirty(q->vm, q->used_gpa, used_bytes(q));
}

void virtq_push(struct virtq *q, const struct virtq_chain *c, uint32_t written)
{
    virtq_fill(q, c, written, 0);
    virtq_flush(q, 1);
}

bool virtq_should_notify(struct virtq *q)
{
    if (!q->enabled || q->broken)
        return false;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!q->event_idx)
        return !(LOAD(q->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
    uint16_t old = q->signalled, new = q->next_used;
    bool valid = q->signalled_valid;
    q->signalled = new;
    q->signalled_valid = true;
    uint16_t event = LOAD(*used_event(q));
    return !valid || (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

bool virtq_want_kicks(struct virtq *q, bool on)
{
    if (!q->enabled || q->broken)
        return false;
    if (q->event_idx) {
        /* Off: an index the driver has just passed and will not meet soon. */
        STORE(*avail_event(q), on ? q->next_avail : (uint16_t)(q->next_avail - 1));
    } else {
        STORE(q->used->flags, on ? 0 : VRING_USED_F_NO_NOTIFY);
    }
    if (!on)
        return false;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return !virtq_is_empty(q);
}

bool virtq_want_more(struct virtq *q)
{
    if (!q->enabled || q->broken)
        return false;
    uint16_t seen = LOAD_ACQ(q->avail->idx);
    if (q->event_idx)
        STORE(*avail_event(q), seen);
    else
        STORE(q->used->flags, 0);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return LOAD_ACQ(q->avail->idx) != seen;
}

unsigned virtq_slice(const struct virtq_chain *c, bool in, size_t at, size_t len,
                     struct iovec *dst, size_t *got)
{
    const struct iovec *src = in ? c->iov + c->nout : c->iov;
    unsigned n = in ? c->nin : c->nout, used = 0;
    *got = 0;
    for (unsigned i = 0; i < n && len; i++) {
        if (at >= src[i].iov_len) {
            at -= src[i].iov_len;
            continue;
        }
        size_t k = src[i].iov_len - at;
        if (k > len)
            k = len;
        dst[used++] =
            (struct iovec){.iov_base = (char *)src[i].iov_base + at, .iov_len = k};
        *got += k;
        len -= k;
        at = 0;
    }
    return used;
}

/* Between buf and what lies behind the first `at` bytes of n pieces of guest memory. */
static size_t copy(const struct iovec *iov, unsigned n, size_t at, char *buf,
                   size_t len, bool to_guest)
{
    size_t done = 0;
    for (unsigned i = 0; i < n && done < len; i++) {
        if (at >= iov[i].iov_len) {
            at -= iov[i].iov_len;
            continue;
        }
        char *guest = (char *)iov[i].iov_base + at;
        size_t k = iov[i].iov_len - at;
        if (k > len - done)
            k = len - done;
        if (to_guest)
            memcpy(guest, buf + done, k);
        else
            memcpy(buf + done, guest, k);
        done += k;
        at = 0;
    }
    return done;
}

size_t virtq_read(const struct virtq_chain *c, size_t at, void *buf, size_t len)
{
    return copy(c->iov, c->nout, at, buf, len, false);
}

size_t virtq_write(const struct virtq_chain *c, size_t at, const void *buf, size_t len)
{
    return copy(c->iov + c->nout, c->nin, at, (char *)buf, len, true);
}
