/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-balloon: the guest gives pages back, and takes them again by touching them. The
 * target is set by the control socket: {"device": ID, "mib": N}. With pages larger than
 * 4 KiB the host cannot take parts of one: those are counted as kept. */
#include "vmm/devices.h"
#include "vmm/virtio.h"

#include "base/own.h"

#include <endian.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    QUEUE_SIZE = 128,
    INFLATE = 0,
    DEFLATE = 1,
    PAGE = 4096,
    PART = 256,
    PFNS_MAX = 4096
};

struct balloon {
    struct virtio v;
    atomic_uint target, actual; /* pages of 4 KiB */
    struct virtq_chain chain;
    atomic_ulong given, kept;
};

static void give(struct balloon *b, uint32_t pfn)
{
    uint64_t gpa = (uint64_t)pfn * PAGE;
    void *at = vm_hva(b->v.vm, gpa, PAGE);
    /* A number outside of memory is the guest's mistake and harms nobody. */
    if (at && !vm_dma_used(b->v.vm) && madvise(at, PAGE, MADV_REMOVE) == 0) {
        vm_mark_dirty(b->v.vm, gpa, PAGE);
        atomic_fetch_add(&b->given, 1);
    } else {
        atomic_fetch_add(&b->kept, 1);
    }
}

static void inflate(struct balloon *b)
{
    uint32_t pfn[PART];
    size_t at = 0, got, max = PFNS_MAX * sizeof pfn[0];
    while (at < max && (got = virtq_read(&b->chain, at, pfn, sizeof pfn)) > 0) {
        for (size_t i = 0; i < got / sizeof pfn[0]; i++)
            give(b, le32toh(pfn[i]));
        at += got;
    }
}

static void kicked(struct virtio *v, unsigned queue)
{
    struct balloon *b = v->dev->state;
    do {
        virtq_want_kicks(&v->queue[queue].q, false);
        while (virtio_pop(v, queue, &b->chain)) {
            if (queue == INFLATE)
                inflate(b);
            virtq_push(&v->queue[queue].q, &b->chain, 0);
        }
    } while (virtio_again(v, queue));
    virtio_notify(v, queue);
}

static void config_read(struct virtio *v, unsigned off, unsigned len, void *out)
{
    struct balloon *b = v->dev->state;
    uint32_t c[2] = {htole32(atomic_load(&b->target)),
                     htole32(atomic_load(&b->actual))};
    memcpy(out, (const char *)c + off, len);
}

static void config_write(struct virtio *v, unsigned off, unsigned len, const void *in)
{
    struct balloon *b = v->dev->state;
    uint32_t n;
    if (off != 4 || len != 4)
        return;
    memcpy(&n, in, sizeof n);
    atomic_store(&b->actual, le32toh(n));
}

static const struct virtio_ops ops = {
    .id = VIRTIO_ID_BALLOON,
    .pci_class = 0x00ff00,
    .kicked = kicked,
    .config_read = config_read,
    .config_write = config_write,
};

static int set_target(struct balloon *b, json_t *in, const char *id, struct err *err)
{
    json_error_t je;
    json_int_t mib = 0;
    if (json_unpack_ex(in, &je, 0, "{s?I !}", "mib", &mib) < 0)
        return err_set(err, E_CONFIG, "%s: %s", id, je.text);
    if (mib < 0 || mib > (json_int_t)(UINT32_MAX / 256))
        return err_set(err, E_CONFIG, "%s: \"mib\" is out of range", id);
    atomic_store(&b->target, (unsigned)mib * 256);
    return 0;
}

static int decode(struct device *dev, json_t *in, struct err *err)
{
    return set_target(dev->state, in, dev->id, err);
}

static int set(struct device *dev, json_t *params, struct err *err)
{
    struct balloon *b = dev->state;
    if (set_target(b, params, dev->id, err) < 0)
        return -1;
    virtio_config_changed(&b->v);
    return 0;
}

static int init(struct device *dev, struct err *err)
{
    struct balloon *b = dev->state;
    return virtio_init(&b->v, dev, &ops, 2, QUEUE_SIZE, 8,
                       1ull << VIRTIO_BALLOON_F_DEFLATE_ON_OOM, err);
}

static void save(struct device *dev, struct state_writer *w)
{
    struct balloon *b = dev->state;
    virtio_save(&b->v, w);
    state_put_u64(w, 1, atomic_load(&b->target));
    state_put_u64(w, 2, atomic_load(&b->actual));
}

static int restore(struct device *dev, const struct state_reader *r, struct err *err)
{
    struct balloon *b = dev->state;
    atomic_store(&b->target, (unsigned)state_get_u64_or(r, 1, 0));
    atomic_store(&b->actual, (unsigned)state_get_u64_or(r, 2, 0));
    return virtio_restore(&b->v, r, err);
}

static json_t *stats(struct device *dev)
{
    struct balloon *b = dev->state;
    const struct virtio_count counts[] = {{"given", &b->given}, {"kept", &b->kept}};
    json_t *j = virtio_stats(&b->v, counts, ARRAY_SIZE(counts));
    if (j) {
        json_object_set_new(j, "target_mib",
                            json_integer(atomic_load(&b->target) / 256));
        json_object_set_new(j, "actual_mib",
                            json_integer(atomic_load(&b->actual) / 256));
    }
    return j;
}

const struct device_ops device_balloon = {
    .name = "balloon",
    .help = "mib (how much the guest is to give back; default 0)",
    .state_size = sizeof(struct balloon),
    .max = 1,
    .decode = decode,
    .init = init,
    .resume = virtio_row_resume,
    .save = save,
    .restore = restore,
    .set = set,
    .stats = stats,
    .done = virtio_row_done,
};
