/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-blk on a raw file or block device. Each queue has an io_uring, whose eventfd
 * wakes the queue's I/O thread; where the host forbids io_uring the thread does the work
 * itself. A flush is answered when fdatasync is done. Requests in flight hold pointers
 * into guest memory: stop and pause wait for them. */
#include "vmm/devices.h"
#include "vmm/virtio.h"

#include "base/own.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

enum {
    QUEUE_SIZE = 256,
    DEPTH = 128, /* requests in flight a queue */
    SECTOR = 512,
    SEGMENTS = 126, /* data buffers of a request */
    QUEUES_MAX = 64,
    DISCARD_SECTORS = 1 << 22,
};

struct blk_req {
    struct virtq_chain chain;
    struct iovec iov[VIRTQ_SEGS];
    struct blk_req *next;
    uint32_t type;
    uint64_t offset; /* in the file */
    size_t len, done;
};

struct blk_queue {
    struct blk *b;
    unsigned n;
    struct io_uring ring;
    bool uring;
    int event; /* completions */
    struct io_watch watch;
    struct blk_req *reqs, *free; /* DEPTH of them; used again last in, first out */
    unsigned fresh;              /* reqs[fresh..] were never used, nor their memory */
    unsigned inflight;
};

struct blk {
    struct virtio v;
    struct device_file file;
    const char *serial;
    int readonly, queues;
    int fd;
    struct virtio_blk_config config;
    struct blk_queue *queue;
    atomic_ulong reads, writes, read_bytes, write_bytes, flushes, errors;
};

/* --- requests --------------------------------------------------------------- */

static void finish(struct blk_queue *bq, struct blk_req *r, uint8_t status)
{
    struct blk *b = bq->b;
    if (status == VIRTIO_BLK_S_IOERR)
        atomic_fetch_add(&b->errors, 1);
    uint64_t in = r->chain.in_len;
    virtq_write(&r->chain, in - 1, &status, 1);
    /* The status is the last byte, so what is before it counts as written. */
    virtq_push(&b->v.queue[bq->n].q, &r->chain, in > UINT32_MAX ? UINT32_MAX : in);
    r->next = bq->free;
    bq->free = r;
}

/* Do what is left of a request here and now; gives its result as io_uring would. */
static int do_now(struct blk *b, struct blk_req *r, unsigned n)
{
    ssize_t k = 0;
    switch (r->type) {
    case VIRTIO_BLK_T_IN:
        k = preadv(b->fd, r->iov, (int)n, (off_t)(r->offset + r->done));
        break;
    case VIRTIO_BLK_T_OUT:
        k = pwritev(b->fd, r->iov, (int)n, (off_t)(r->offset + r->done));
        break;
    case VIRTIO_BLK_T_FLUSH:
        k = fdatasync(b->fd);
        break;
    default:
        k = fallocate(b->fd, (int)n, (off_t)r->offset, (off_t)r->len);
        break;
    }
    return k < 0 ? -errno : (int)k;
}

static unsigned fallocate_mode(uint32_t type)
{
    /* Both leave zeros; only discard gives the space back. */
    return type == VIRTIO_BLK_T_DISCARD ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
                                        : FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
}

static void submit(struct blk_queue *bq, struct blk_req *r);

/* One step of a request ended with res. */
static void step_done(struct blk_queue *bq, struct blk_req *r, int res)
{
    bool data = r->type == VIRTIO_BLK_T_IN || r->type == VIRTIO_BLK_T_OUT;
    if (res == -EINTR || res == -EAGAIN) {
        submit(bq, r);
    } else if (res < 0) {
        finish(bq, r, res == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR);
    } else if (data && r->done + (unsigned)res < r->len) {
        r->done += (unsigned)res;
        if (res)
            submit(bq, r);
        else
            finish(bq, r, VIRTIO_BLK_S_IOERR); /* the file became shorter */
    } else {
        finish(bq, r, VIRTIO_BLK_S_OK);
    }
}

static void submit(struct blk_queue *bq, struct blk_req *r)
{
    struct blk *b = bq->b;
    unsigned n = fallocate_mode(r->type);
    size_t got;
    if (r->type == VIRTIO_BLK_T_IN)
        n = virtq_slice(&r->chain, true, r->done, r->len - r->done, r->iov, &got);
    else if (r->type == VIRTIO_BLK_T_OUT)
        n = virtq_slice(&r->chain, false, sizeof(struct virtio_blk_outhdr) + r->done,
                        r->len - r->done, r->iov, &got);
    struct io_uring_sqe *e = bq->uring ? io_uring_get_sqe(&bq->ring) : NULL;
    if (!e) {
        step_done(bq, r, do_now(b, r, n));
        return;
    }
    switch (r->type) {
    case VIRTIO_BLK_T_IN:
        io_uring_prep_readv(e, b->fd, r->iov, n, r->offset + r->done);
        break;
    case VIRTIO_BLK_T_OUT:
        io_uring_prep_writev(e, b->fd, r->iov, n, r->offset + r->done);
        break;
    case VIRTIO_BLK_T_FLUSH:
        io_uring_prep_fsync(e, b->fd, IORING_FSYNC_DATASYNC);
        break;
    default:
        io_uring_prep_fallocate(e, b->fd, (int)n, (off_t)r->offset, (off_t)r->len);
        break;
    }
    io_uring_sqe_set_data(e, r);
    bq->inflight++;
}

/* Is [sector, sector + len) of the disk? */
static bool in_disk(const struct blk *b, uint64_t sector, uint64_t len)
{
    uint64_t cap = le64toh(b->config.capacity);
    return len % SECTOR == 0 && sector <= cap && len / SECTOR <= cap - sector;
}

static uint8_t begin_data(struct blk *b, struct blk_req *r, uint64_t sector)
{
    bool in = r->type == VIRTIO_BLK_T_IN;
    r->len =
        in ? r->chain.in_len - 1 : r->chain.out_len - sizeof(struct virtio_blk_outhdr);
    if (!in_disk(b, sector, r->len) || (!in && b->readonly))
        return VIRTIO_BLK_S_IOERR;
    r->offset = sector * SECTOR;
    atomic_fetch_add(in ? &b->reads : &b->writes, 1);
    atomic_fetch_add(in ? &b->read_bytes : &b->write_bytes, r->len);
    return VIRTIO_BLK_S_OK;
}

static uint8_t begin_discard(struct blk *b, struct blk_req *r)
{
    struct virtio_blk_discard_write_zeroes d;
    size_t at = sizeof(struct virtio_blk_outhdr);
    if (!virtio_has(&b->v, r->type == VIRTIO_BLK_T_DISCARD ? VIRTIO_BLK_F_DISCARD
                                                           : VIRTIO_BLK_F_WRITE_ZEROES))
        return VIRTIO_BLK_S_UNSUPP;
    if (r->chain.out_len != at + sizeof d ||
        virtq_read(&r->chain, at, &d, sizeof d) != sizeof d)
        return VIRTIO_BLK_S_IOERR;
    uint32_t sectors = le32toh(d.num_sectors), flags = le32toh(d.flags);
    uint32_t known =
        r->type == VIRTIO_BLK_T_DISCARD ? 0 : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
    if (flags & ~known)
        return VIRTIO_BLK_S_UNSUPP;
    r->len = (size_t)sectors * SECTOR;
    r->offset = le64toh(d.sector) * SECTOR;
    if (!sectors || sectors > DISCARD_SECTORS ||
        !in_disk(b, le64toh(d.sector), r->len) || b->readonly)
        return VIRTIO_BLK_S_IOERR;
    if (flags)
        r->type = VIRTIO_BLK_T_DISCARD; /* a hole reads as zeros as well */
    return VIRTIO_BLK_S_OK;
}

/* Start one request. */
static void begin(struct blk_queue *bq, struct blk_req *r)
{
    struct blk *b = bq->b;
    struct virtio_blk_outhdr h;
    char id[VIRTIO_BLK_ID_BYTES] = {0};
    uint8_t status = VIRTIO_BLK_S_OK;
    (void)virtq_read(&r->chain, 0, &h, sizeof h);
    r->type = le32toh(h.type);
    r->done = r->len = 0;
    r->offset = 0;
    switch (r->type) {
    case VIRTIO_BLK_T_IN:
    case VIRTIO_BLK_T_OUT:
        status = begin_data(b, r, le64toh(h.sector));
        break;
    case VIRTIO_BLK_T_FLUSH:
        atomic_fetch_add(&b->flushes, 1);
        break;
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
        status = begin_discard(b, r);
        break;
    case VIRTIO_BLK_T_GET_ID:
        memcpy(id, b->serial, strnlen(b->serial, sizeof id));
        virtq_write(&r->chain, 0, id,
                    r->chain.in_len - 1 < sizeof id ? r->chain.in_len - 1 : sizeof id);
        finish(bq, r, VIRTIO_BLK_S_OK);
        return;
    default:
        status = VIRTIO_BLK_S_UNSUPP;
        break;
    }
    bool empty = (r->type == VIRTIO_BLK_T_IN || r->type == VIRTIO_BLK_T_OUT) && !r->len;
    if (status != VIRTIO_BLK_S_OK || empty)
        finish(bq, r, status);
    else
        submit(bq, r);
}

/* Is there an unused request? It is bq->free then. */
static bool room(struct blk_queue *bq)
{
    if (!bq->free && bq->fresh < DEPTH)
        bq->free = &bq->reqs[bq->fresh++];
    return bq->free;
}

static void work(struct blk_queue *bq)
{
    struct virtio *v = &bq->b->v;
    struct virtq *q = &v->queue[bq->n].q;
    do {
        virtq_want_kicks(q, false);
        while (room(bq) && virtio_pop(v, bq->n, &bq->free->chain)) {
            struct blk_req *r = bq->free;
            if (r->chain.out_len < sizeof(struct virtio_blk_outhdr) ||
                !r->chain.in_len) {
                virtio_broken(v, bq->n);
                break;
            }
            bq->free = r->next;
            begin(bq, r);
        }
    } while (room(bq) && virtio_again(v, bq->n));
    if (bq->uring && io_uring_sq_ready(&bq->ring))
        io_uring_submit(&bq->ring);
    virtio_notify(v, bq->n);
}

static void kicked(struct virtio *v, unsigned queue)
{
    struct blk *b = v->dev->state;
    work(&b->queue[queue]);
}

/* --- completions --------------------------------------------------------------- */

static void reap(struct blk_queue *bq)
{
    struct io_uring_cqe *e;
    while (bq->inflight && io_uring_peek_cqe(&bq->ring, &e) == 0) {
        struct blk_req *r = io_uring_cqe_get_data(e);
        int res = e->res;
        io_uring_cqe_seen(&bq->ring, e);
        bq->inflight--;
        step_done(bq, r, res);
    }
}

static void completed(struct io_watch *w, uint32_t events)
{
    struct blk_queue *bq = w->arg;
    eventfd_t n;
    (void)eventfd_read(bq->event, &n);
    reap(bq);
    if (bq->b->v.running)
        work(bq); /* there may be room again */
}

/* Wait until nothing is in flight. Starts nothing new. */
static void drain(struct blk_queue *bq)
{
    struct io_uring_cqe *e;
    while (bq->inflight) {
        io_uring_submit(&bq->ring);
        if (io_uring_wait_cqe(&bq->ring, &e) == 0)
            reap(bq);
    }
}

static void stop(struct virtio *v)
{
    struct blk *b = v->dev->state;
    for (int i = 0; i < b->queues; i++) {
        struct io_thread *t = v->queue[i].thread;
        io_lock(t);
        drain(&b->queue[i]);
        io_unlock(t);
    }
}

/* --- configuration --------------------------------------------------------------- */

static void config_read(struct virtio *v, unsigned off, unsigned len, void *out)
{
    struct blk *b = v->dev->state;
    memcpy(out, (const char *)&b->config + off, len);
}

static const struct virtio_ops ops = {
    .id = VIRTIO_ID_BLOCK,
    .pci_class = 0x018000,
    .kicked = kicked,
    .config_read = config_read,
    .stop = stop,
};

static int decode(struct device *dev, json_t *in, struct err *err)
{
    struct blk *b = dev->state;
    json_error_t je;
    b->fd = b->file.fd = -1;
    b->queues = 1;
    b->serial = dev->id;
    if (json_unpack_ex(in, &je, 0, "{s?s, s?i, s?b, s?s, s?i !}", "path", &b->file.path,
                       "fd", &b->file.fd, "readonly", &b->readonly, "serial",
                       &b->serial, "queues", &b->queues) < 0)
        return err_set(err, E_CONFIG, "%s: %s", dev->id, je.text);
    if (b->queues < 1 || b->queues > QUEUES_MAX)
        return err_set(err, E_CONFIG, "%s: \"queues\" is 1 to %d", dev->id, QUEUES_MAX);
    if (strlen(b->serial) > VIRTIO_BLK_ID_BYTES)
        return err_set(err, E_CONFIG, "%s: \"serial\" has at most %d characters",
                       dev->id, VIRTIO_BLK_ID_BYTES);
    return device_file_check(&b->file, dev->id, err);
}

static int disk_size(struct blk *b, const char *id, uint64_t *size, struct err *err)
{
    struct stat st;
    if (fstat(b->fd, &st) < 0)
        return err_sys(err, "%s", id);
    *size = (uint64_t)st.st_size;
    if (S_ISBLK(st.st_mode)) {
        if (ioctl(b->fd, BLKGETSIZE64, size) < 0)
            return err_sys(err, "%s: size", id);
    } else if (!S_ISREG(st.st_mode)) {
        return err_set(err, E_CONFIG, "%s: neither a file nor a block device", id);
    }
    if (*size % SECTOR && !b->readonly)
        return err_set(
            err, E_CONFIG,
            "%s: the size %llu is not a multiple of 512; enlarge the file with "
            "truncate",
            id, (unsigned long long)*size);
    return 0;
}

static int queue_init(struct blk *b, unsigned n, struct err *err)
{
    struct blk_queue *bq = &b->queue[n];
    bq->b = b;
    bq->n = n;
    bq->event = -1;
    bq->reqs = calloc(DEPTH, sizeof *bq->reqs);
    if (!bq->reqs)
        return err_oom(err);
    struct io_thread *t = vm_io_thread(b->v.vm, b->v.dev->index + n);
    virtio_queue_thread(&b->v, n, t);
    if (io_uring_queue_init(DEPTH, &bq->ring, 0) < 0)
        return 0; /* the thread does it */
    bq->uring = true;
    bq->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (bq->event < 0 || io_uring_register_eventfd(&bq->ring, bq->event) < 0)
        return err_sys(err, "eventfd");
    bq->watch = (struct io_watch){.fd = bq->event, .ready = completed, .arg = bq};
    return io_watch_add(t, &bq->watch, EPOLLIN, err);
}

static int init(struct device *dev, struct err *err)
{
    struct blk *b = dev->state;
    uint64_t size;
    b->fd = device_file_open(&b->file, b->readonly ? O_RDONLY : O_RDWR, err);
    if (b->fd < 0)
        return err_at(err, "%s", dev->id);
    if (disk_size(b, dev->id, &size, err) < 0)
        return -1;
    b->config = (struct virtio_blk_config){
        .capacity = htole64(size / SECTOR),
        .seg_max = htole32(SEGMENTS),
        .blk_size = htole32(SECTOR),
        .num_queues = htole16(b->queues),
        .max_discard_sectors = htole32(DISCARD_SECTORS),
        .max_discard_seg = htole32(1),
        .discard_sector_alignment = htole32(1),
        .max_write_zeroes_sectors = htole32(DISCARD_SECTORS),
        .max_write_zeroes_seg = htole32(1),
        .write_zeroes_may_unmap = 1,
    };
    uint64_t features = 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE |
                        1ull << VIRTIO_BLK_F_FLUSH;
    if (b->queues > 1)
        features |= 1ull << VIRTIO_BLK_F_MQ;
    features |= b->readonly
                    ? 1ull << VIRTIO_BLK_F_RO
                    : 1ull << VIRTIO_BLK_F_DISCARD | 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
    b->queue = calloc((size_t)b->queues, sizeof *b->queue);
    if (!b->queue)
        return err_oom(err);
    for (int i = 0; i < b->queues; i++)
        b->queue[i].event = -1;
    if (virtio_init(&b->v, dev, &ops, (unsigned)b->queues, QUEUE_SIZE,
                    offsetof(struct virtio_blk_config, write_zeroes_may_unmap) + 4,
                    features, err) < 0)
        return -1;
    for (int i = 0; i < b->queues; i++)
        if (queue_init(b, (unsigned)i, err) < 0)
            return err_at(err, "%s", dev->id);
    return 0;
}

static void done(struct device *dev)
{
    struct blk *b = dev->state;
    virtio_done(&b->v);
    for (int i = 0; b->queue && i < b->queues; i++) {
        struct blk_queue *bq = &b->queue[i];
        if (bq->watch.thread)
            io_watch_del(&bq->watch);
        if (bq->uring)
            io_uring_queue_exit(&bq->ring);
        if (bq->event >= 0)
            close(bq->event);
        free(bq->reqs);
    }
    free(b->queue);
    b->queue = NULL;
    if (b->fd >= 0)
        close(b->fd);
    b->fd = -1;
}

/* --- the row ----------------------------------------------------------------------- */

static int pause_(struct device *dev, struct err *err)
{
    struct blk *b = dev->state;
    for (int i = 0; i < b->queues; i++) {
        drain(&b->queue[i]);
        virtio_notify(&b->v, (unsigned)i);
    }
    /* What the guest believes to be on the disk is in the file's cache at least; a
     * checkpoint that outlives a power cut has to have it on the disk. */
    if (!b->readonly && fdatasync(b->fd) < 0)
        return err_sys(err, "%s: flush", dev->id);
    return 0;
}

static void save(struct device *dev, struct state_writer *w)
{
    struct blk *b = dev->state;
    virtio_save(&b->v, w);
    state_put_u64(w, 1, b->config.capacity);
}

static int restore(struct device *dev, const struct state_reader *r, struct err *err)
{
    struct blk *b = dev->state;
    uint64_t capacity;
    if (state_get_u64(r, 1, &capacity, err) < 0)
        return -1;
    if (capacity != b->config.capacity)
        return err_set(err, E_CONFIG, "%s: saved with %llu sectors, the disk has %llu",
                       dev->id, (unsigned long long)capacity,
                       (unsigned long long)b->config.capacity);
    return virtio_restore(&b->v, r, err);
}

static json_t *stats(struct device *dev)
{
    struct blk *b = dev->state;
    const struct virtio_count counts[] = {
        {"reads", &b->reads},           {"writes", &b->writes},
        {"read_bytes", &b->read_bytes}, {"write_bytes", &b->write_bytes},
        {"flushes", &b->flushes},       {"errors", &b->errors}};
    json_t *j = virtio_stats(&b->v, counts, ARRAY_SIZE(counts));
    if (j)
        json_object_set_new(j, "io_uring", json_boolean(b->queue && b->queue[0].uring));
    return j;
}

const struct device_ops device_blk = {
    .name = "blk",
    .help = "path|fd, readonly, serial (default: the id), queues",
    .state_size = sizeof(struct blk),
    .decode = decode,
    .init = init,
    .pause = pause_,
    .resume = virtio_row_resume,
    .save = save,
    .restore = restore,
    .stats = stats,
    .done = done,
};
