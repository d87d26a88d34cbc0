/* SPDX-License-Identifier: Apache-2.0 */
/* One virtqueue alone: the input sets it up, fills guest memory and says what the device
 * does. What virtq_pop() gives must be safe to touch, whole. */
#include "vmm_guest.h"

#include "vmm/virtq.h"

#include <stdlib.h>

const char fuzz_name[] = "vmm_queue";
const char *const fuzz_seeds[] = {NULL};

struct head {
    uint16_t size;
    uint8_t flags, zero;
    uint32_t desc, avail, used;
} __attribute__((packed));

struct step {
    uint8_t what, len;
    uint16_t at;
} __attribute__((packed));

/* Each byte of the chain is read and the writable ones written. */
static void use(struct virtq *q, const struct virtq_chain *c, uint16_t at)
{
    static uint8_t text[4096];
    struct iovec iov[VIRTQ_SEGS];
    size_t got, sum = 0;
    for (unsigned i = 0; i < c->nout + (unsigned)c->nin; i++) {
        volatile uint8_t *p = c->iov[i].iov_base;
        size_t n = c->iov[i].iov_len;
        p[0] = i < c->nout ? p[0] : 1;
        p[n - 1] = i < c->nout ? p[n - 1] : 2;
        sum += n;
    }
    if (sum != c->out_len + c->in_len)
        abort();
    (void)virtq_read(c, at, text, sizeof text);
    (void)virtq_write(c, at, text, sizeof text);
    unsigned n = virtq_slice(c, at & 1, at, 1 << 20, iov, &got);
    for (unsigned i = 0; i < n; i++)
        got -= iov[i].iov_len;
    if (got)
        abort();
}

static void play(struct vm *vm, struct virtq *q, struct virtq_chain *c, unsigned *held,
                 const struct step *s, const uint8_t *data)
{
    switch (s->what % 8) {
    case 0:
    case 1:
        if (virtq_pop(q, c) > 0) {
            use(q, c, s->at);
            ++*held;
        }
        break;
    case 2:
        if (*held)
            virtq_push(q, c, (uint32_t)(c->in_len < s->at ? c->in_len : s->at));
        *held = 0;
        break;
    case 3:
        virtq_unpop(q, *held);
        *held = 0;
        break;
    case 4:
        (void)virtq_should_notify(q);
        (void)virtq_want_kicks(q, s->at & 1);
        break;
    case 5:
        (void)virtq_want_more(q);
        (void)virtq_is_empty(q);
        break;
    default: /* the guest writes what follows */
        memcpy(fake_memory(vm) + s->at, data, s->len);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct head h;
    if (size < sizeof h)
        return 0;
    memcpy(&h, data, sizeof h);
    struct vm *vm = fake_new();
    struct virtq q;
    struct virtq_chain *c = calloc(1, sizeof *c);
    unsigned held = 0;
    if (!c)
        abort();
    virtq_init(&q, vm);
    q.size = h.size;
    q.desc_gpa = h.desc;
    q.avail_gpa = h.avail;
    q.used_gpa = h.used;
    q.event_idx = h.flags & 1;
    q.indirect = h.flags & 2;
    size_t at = sizeof h;
    if (virtq_enable(&q, NULL) == 0)
        while (at + sizeof(struct step) <= size) {
            struct step s;
            memcpy(&s, data + at, sizeof s);
            at += sizeof s;
            if (s.what % 8 >= 6 && size - at < s.len)
                break;
            play(vm, &q, c, &held, &s, data + at);
            at += s.what % 8 >= 6 ? s.len : 0;
        }
    free(c);
    fake_free(vm);
    return 0;
}
