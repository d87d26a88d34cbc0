/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-pmem: a file as memory of the guest, which mounts it with DAX: all guests of a
 * node share one copy in the host's page cache. The window is a multiple of 2 MiB; what
 * is beyond the file's end reads as zeros. */
#include "vmm/devices.h"
#include "vmm/virtio.h"

#include <endian.h>
#include <fcntl.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pmem.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { QUEUE_SIZE = 64 };

struct pmem {
    struct virtio v;
    struct device_file file;
    int fd, readonly;
    void *room; /* the whole mapping */
    size_t room_size;
    uint64_t gpa, size;
    struct virtq_chain chain;
};

static void kicked(struct virtio *v, unsigned queue)
{
    struct pmem *p = v->dev->state;
    do {
        virtq_want_kicks(&v->queue[queue].q, false);
        while (virtio_pop(v, queue, &p->chain)) {
            uint32_t type = 0;
            bool good = virtq_read(&p->chain, 0, &type, sizeof type) == sizeof type &&
                        le32toh(type) == VIRTIO_PMEM_REQ_TYPE_FLUSH &&
                        (p->readonly || fdatasync(p->fd) == 0);
            uint32_t answer = htole32(good ? 0 : 1);
            size_t n = virtq_write(&p->chain, 0, &answer, sizeof answer);
            virtq_push(&v->queue[queue].q, &p->chain, (uint32_t)n);
        }
    } while (virtio_again(v, queue));
    virtio_notify(v, queue);
}

static void config_read(struct virtio *v, unsigned off, unsigned len, void *out)
{
    struct pmem *p = v->dev->state;
    uint64_t c[2] = {htole64(p->gpa), htole64(p->size)};
    memcpy(out, (const char *)c + off, len);
}

static const struct virtio_ops ops = {
    .id = VIRTIO_ID_PMEM,
    .pci_class = 0x00ff00,
    .kicked = kicked,
    .config_read = config_read,
};

static int decode(struct device *dev, json_t *in, struct err *err)
{
    struct pmem *p = dev->state;
    json_error_t je;
    p->fd = p->file.fd = -1;
    p->readonly = 1;
    if (json_unpack_ex(in, &je, 0, "{s?s, s?i, s?b !}", "path", &p->file.path, "fd",
                       &p->file.fd, "readonly", &p->readonly) < 0)
        return err_set(err, E_CONFIG, "%s: %s", dev->id, je.text);
    return device_file_check(&p->file, dev->id, err);
}

/* The file, at an address that is a multiple of 2 MiB, zeros behind it. */
static int map(struct pmem *p, uint64_t bytes, void **at, struct err *err)
{
    int prot = PROT_READ | (p->readonly ? 0 : PROT_WRITE);
    p->size = (bytes + 2 * MIB - 1) & ~(2 * MIB - 1);
    p->room_size = p->size + 2 * MIB;
    p->room = mmap(NULL, p->room_size, prot,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p->room == MAP_FAILED) {
        p->room = NULL;
        return err_sys(err, "room for %llu bytes", (unsigned long long)p->size);
    }
    *at = (void *)(((uintptr_t)p->room + 2 * MIB - 1) & ~(uintptr_t)(2 * MIB - 1));
    if (mmap(*at, bytes, prot, MAP_SHARED | MAP_FIXED, p->fd, 0) == MAP_FAILED)
        return err_sys(err, "mapping the file");
    return 0;
}

static int init(struct device *dev, struct err *err)
{
    struct pmem *p = dev->state;
    struct stat st;
    void *at = NULL;
    p->fd = device_file_open(&p->file, p->readonly ? O_RDONLY : O_RDWR, err);
    if (p->fd < 0)
        return err_at(err, "%s", dev->id);
    if (fstat(p->fd, &st) < 0)
        return err_sys(err, "%s", dev->id);
    if (!S_ISREG(st.st_mode) || !st.st_size)
        return err_set(err, E_CONFIG, "%s: not a file with something in it", dev->id);
    if (map(p, (uint64_t)st.st_size, &at, err) < 0)
        return err_at(err, "%s", dev->id);
    p->gpa = vm_alloc_mmio64(dev->vm, p->size, 2 * MIB, err);
    if (!p->gpa ||
        vm_memory_add(dev->vm, p->gpa, p->size, at, p->fd, 0, p->readonly, err) < 0)
        return err_at(err, "%s", dev->id);
    return virtio_init(&p->v, dev, &ops, 1, QUEUE_SIZE, 16, 0, err);
}

static void done(struct device *dev)
{
    struct pmem *p = dev->state;
    virtio_done(&p->v);
    if (p->room)
        munmap(p->room, p->room_size);
    p->room = NULL;
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
}

static int pause_(struct device *dev, struct err *err)
{
    struct pmem *p = dev->state;
    return p->readonly || fdatasync(p->fd) == 0 ? 0
                                                : err_sys(err, "%s: flush", dev->id);
}

static void save(struct device *dev, struct state_writer *w)
{
    struct pmem *p = dev->state;
    virtio_save(&p->v, w);
    state_put_u64(w, 1, p->gpa);
    state_put_u64(w, 2, p->size);
}

static int restore(struct device *dev, const struct state_reader *r, struct err *err)
{
    struct pmem *p = dev->state;
    uint64_t gpa, size;
    if (state_get_u64(r, 1, &gpa, err) < 0 || state_get_u64(r, 2, &size, err) < 0)
        return -1;
    if (gpa != p->gpa || size != p->size)
        return err_set(err, E_CONFIG, "%s: saved with another file or place", dev->id);
    return virtio_restore(&p->v, r, err);
}

static json_t *stats(struct device *dev)
{
    struct pmem *p = dev->state;
    json_t *j = virtio_stats(&p->v, NULL, 0);
    if (j)
        json_object_set_new(j, "size", json_integer((json_int_t)p->size));
    return j;
}

const struct device_ops device_pmem = {
    .name = "pmem",
    .help = "path|fd, readonly (default: true)",
    .state_size = sizeof(struct pmem),
    .decode = decode,
    .init = init,
    .pause = pause_,
    .resume = virtio_row_resume,
    .save = save,
    .restore = restore,
    .stats = stats,
    .done = done,
};
