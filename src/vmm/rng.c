/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-rng: the host kernel's own generator, getrandom(), into the guest's buffers. */
#include "vmm/devices.h"
#include "vmm/virtio.h"

#include "base/own.h"

#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { QUEUE_SIZE = 64, REQUEST_MAX = 4096 };

struct rng {
    struct virtio v;
    struct virtq_chain chain;
    atomic_ulong bytes;
};

static void kicked(struct virtio *v, unsigned queue)
{
    struct rng *g = v->dev->state;
    uint8_t buf[256];
    do {
        virtq_want_kicks(&v->queue[queue].q, false);
        while (virtio_pop(v, queue, &g->chain)) {
            size_t want = g->chain.in_len < REQUEST_MAX ? g->chain.in_len : REQUEST_MAX;
            size_t done = 0;
            while (done < want) {
                ssize_t n = getrandom(buf, sizeof buf, 0);
                if (n <= 0)
                    continue; /* a signal: blocks only before the host's first seed */
                if ((size_t)n > want - done)
                    n = (ssize_t)(want - done);
                done += virtq_write(&g->chain, done, buf, (size_t)n);
            }
            virtq_push(&v->queue[queue].q, &g->chain, (uint32_t)done);
            atomic_fetch_add(&g->bytes, done);
        }
    } while (virtio_again(v, queue));
    explicit_bzero(buf, sizeof buf);
    virtio_notify(v, queue);
}

static void config_read(struct virtio *v, unsigned off, unsigned len, void *out)
{
}

static const struct virtio_ops ops = {
    .id = VIRTIO_ID_RNG,
    .pci_class = 0x00ff00,
    .kicked = kicked,
    .config_read = config_read,
};

static int decode(struct device *dev, json_t *in, struct err *err)
{
    json_error_t je;
    if (json_unpack_ex(in, &je, 0, "{!}") < 0)
        return err_set(err, E_CONFIG, "%s: %s", dev->id, je.text);
    return 0;
}

static int init(struct device *dev, struct err *err)
{
    struct rng *g = dev->state;
    return virtio_init(&g->v, dev, &ops, 1, QUEUE_SIZE, 0, 0, err);
}

static json_t *stats(struct device *dev)
{
    struct rng *g = dev->state;
    const struct virtio_count counts[] = {{"bytes", &g->bytes}};
    return virtio_stats(&g->v, counts, ARRAY_SIZE(counts));
}

const struct device_ops device_rng = {
    .name = "rng",
    .help = "(no members)",
    .state_size = sizeof(struct rng),
    .decode = decode,
    .init = init,
    .resume = virtio_row_resume,
    .save = virtio_row_save,
    .restore = virtio_row_restore,
    .stats = stats,
    .done = virtio_row_done,
};
