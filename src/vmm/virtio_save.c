/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio transport's saved form, its numbers, and what the rows of virtio devices
 * have in common. */
#include "vmm/virtio.h"

#include <linux/virtio_config.h>
#include <stdio.h>
#include <string.h>

/* --- saving ---------------------------------------------------------------------- */

enum { TAG_COMMON = VIRTIO_TAG, TAG_QUEUES };

/* Fixed layouts of the two records. */
struct saved_common {
    uint64_t offered, acked;
    uint32_t device_select, driver_select;
    uint16_t queue_select, config_vector, nqueues;
    uint8_t status, isr, generation, running, zero[6];
};

struct saved_queue {
    uint64_t desc, avail, used;
    uint16_t size, vector, next_avail, next_used, signalled;
    uint8_t enabled, signalled_valid, broken, zero[3];
};

void virtio_resume(struct virtio *v)
{
    for (unsigned i = 0; i < v->nqueues; i++)
        if (v->queue[i].q.enabled && v->running)
            virtio_kick(v, i);
}

void virtio_save(struct virtio *v, struct state_writer *w)
{
    pci_fn_save(&v->pci, w);
    struct saved_common c = {.offered = v->offered,
                             .acked = v->acked,
                             .device_select = v->device_select,
                             .driver_select = v->driver_select,
                             .queue_select = v->queue_select,
                             .config_vector = atomic_load(&v->config_vector),
                             .nqueues = v->nqueues,
                             .status = atomic_load(&v->status),
                             .isr = atomic_load(&v->isr),
                             .generation = atomic_load(&v->generation),
                             .running = v->running};
    state_put(w, TAG_COMMON, &c, sizeof c);
    for (unsigned i = 0; i < v->nqueues; i++) {
        const struct virtio_queue *vq = &v->queue[i];
        const struct virtq *q = &vq->q;
        struct saved_queue s = {.desc = q->desc_gpa,
                                .avail = q->avail_gpa,
                                .used = q->used_gpa,
                                .size = q->size,
                                .vector = atomic_load(&vq->vector),
                                .next_avail = q->next_avail,
                                .next_used = q->next_used,
                                .signalled = q->signalled,
                                .enabled = q->enabled,
                                .signalled_valid = q->signalled_valid,
                                .broken = q->broken};
        state_put(w, TAG_QUEUES, &s, sizeof s);
    }
}

static int restore_queue(struct virtio *v, unsigned i, const struct saved_queue *s,
                         struct err *err)
{
    struct virtio_queue *vq = &v->queue[i];
    struct virtq *q = &vq->q;
    if (s->size > vq->max)
        return err_set(err, E_INPUT, "queue %u was saved with %u entries, %u at most",
                       i, s->size, vq->max);
    q->size = s->size;
    q->desc_gpa = s->desc;
    q->avail_gpa = s->avail;
    q->used_gpa = s->used;
    q->next_avail = s->next_avail;
    q->next_used = s->next_used;
    q->signalled = s->signalled;
    q->signalled_valid = s->signalled_valid;
    q->broken = s->broken;
    atomic_store(&vq->vector, virtio_good_vector(v, s->vector));
    return s->enabled ? virtq_enable(q, err) : 0;
}

int virtio_restore(struct virtio *v, const struct state_reader *r, struct err *err)
{
    struct saved_common c;
    if (state_get(r, TAG_COMMON, &c, sizeof c, err) < 0)
        return -1;
    if (c.nqueues != v->nqueues)
        return err_set(err, E_CONFIG, "%s: saved with %u queues, configured with %u",
                       v->dev->id, c.nqueues, v->nqueues);
    if (c.acked & ~v->offered)
        return err_set(err, E_CONFIG, "%s: the guest uses features 0x%llx not offered",
                       v->dev->id, (unsigned long long)(c.acked & ~v->offered));
    virtio_reset(v);
    if (pci_fn_restore(&v->pci, r, err) < 0)
        return -1;
    v->acked = c.acked;
    v->device_select = c.device_select;
    v->driver_select = c.driver_select;
    v->queue_select = c.queue_select;
    atomic_store(&v->config_vector, virtio_good_vector(v, c.config_vector));
    atomic_store(&v->isr, c.isr);
    atomic_store(&v->generation, c.generation);
    for (unsigned i = 0; i < v->nqueues; i++) {
        size_t len;
        const struct saved_queue *s = state_peek(r, TAG_QUEUES, i, &len);
        struct saved_queue copy;
        if (!s || len != sizeof copy)
            return err_set(err, E_INPUT, "%s: queue %u is missing", v->dev->id, i);
        memcpy(&copy, s, sizeof copy);
        if (restore_queue(v, i, &copy, err) < 0)
            return err_at(err, "%s", v->dev->id);
    }
    atomic_store(&v->status, c.status);
    return c.running ? virtio_start(v, err) : 0;
}

json_t *virtio_stats(struct virtio *v, const struct virtio_count *counts, size_t n)
{
    uint8_t s = atomic_load(&v->status);
    const char *driver = s & VIRTIO_CONFIG_S_NEEDS_RESET ? "broken"
                         : s & VIRTIO_CONFIG_S_DRIVER_OK ? "running"
                         : s                             ? "starting"
                                                         : "none";
    char features[32];
    snprintf(features, sizeof features, "0x%llx", (unsigned long long)v->acked);
    json_t *out =
        json_pack("{s:s, s:s, s:i, s:i}", "driver", driver, "features", features,
                  "slot", (int)v->pci.slot, "queues", (int)v->nqueues);
    for (size_t i = 0; out && i < n; i++)
        json_object_set_new(out, counts[i].name,
                            json_integer((json_int_t)atomic_load(counts[i].n)));
    return out;
}

/* --- rows that need nothing of their own --------------------------------------------- */

int virtio_row_resume(struct device *dev, struct err *err)
{
    virtio_resume(dev->state);
    return 0;
}

void virtio_row_save(struct device *dev, struct state_writer *w)
{
    virtio_save(dev->state, w);
}

int virtio_row_restore(struct device *dev, const struct state_reader *r,
                       struct err *err)
{
    return virtio_restore(dev->state, r, err);
}

void virtio_row_done(struct device *dev)
{
    virtio_done(dev->state);
}
