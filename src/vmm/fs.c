/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-fs: a host directory in the guest, served by a daemon (virtiofsd) that speaks
 * vhost-user on a unix socket. We hand it the guest's memory (the memfd), rings and
 * event descriptors, and take no part in the traffic. The daemon runs with the rights
 * of whoever's directory it is; it is as trusted as the guest's memory is worth: it may
 * end or hang, then the device asks to be reset, and we wait for its answers 5 s only. */
#include "vmm/devices.h"
#include "vmm/virtio.h"

#include "base/fd.h"
#include "base/own.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_ids.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { QUEUE_SIZE = 1024, QUEUES_MAX = 8, REGIONS = 8, ANSWER_MS = 5000 };

/* Requests of the vhost-user protocol. */
enum {
    GET_FEATURES = 1,
    SET_FEATURES = 2,
    SET_OWNER = 3,
    SET_MEM_TABLE = 5,
    SET_VRING_NUM = 8,
    SET_VRING_ADDR = 9,
    SET_VRING_BASE = 10,
    GET_VRING_BASE = 11,
    SET_VRING_KICK = 12,
    SET_VRING_CALL = 13,
    GET_PROTOCOL_FEATURES = 15,
    SET_PROTOCOL_FEATURES = 16,
    SET_VRING_ENABLE = 18,
    F_PROTOCOL_FEATURES = 30,
    FLAG_VERSION = 1,
    FLAG_ANSWER = 4,
    NO_FD = 1 << 8, /* in KICK and CALL: there is none */
};

struct message {
    uint32_t request, flags, size;
    union {
        uint64_t u64;
        struct {
            uint32_t index, num;
        } state;
        struct {
            uint32_t index, flags;
            uint64_t desc, used, avail, log;
        } addr;
        struct {
            uint32_t count, zero;
            struct {
                uint64_t gpa, size, user, offset;
            } region[REGIONS];
        } memory;
    };
} __attribute__((packed));
enum { HEAD = 12 };

struct fs {
    struct virtio v;
    struct device_file socket;
    const char *tag;
    int fd, queues;
    uint64_t backend; /* features of the daemon */
    struct virtio_fs_config config;
    struct io_watch watch;
    atomic_bool dead;
};

/* --- the protocol ----------------------------------------------------------------- */

/* Once it failed to answer, a later answer would be taken for another's. */
static int give_up(struct fs *f, struct err *err, enum err_code code, const char *why)
{
    atomic_store(&f->dead, true);
    return err_set(err, code, "the file server %s", why);
}

/* Send one message. A server that takes nothing for 5 s is given up: the guest, whose
 * vCPU may wait here, can make us send as much as it likes. */
static int tell(struct fs *f, struct message *m, uint32_t request, uint32_t size,
                const int *fds, size_t nfds, struct err *err)
{
    struct pollfd p = {.fd = f->fd, .events = POLLOUT};
    m->request = request;
    m->flags = FLAG_VERSION;
    m->size = size;
    if (atomic_load(&f->dead))
        return err_set(err, E_IO, "the file server is gone");
    while (poll(&p, 1, ANSWER_MS) < 0 && errno == EINTR)
        continue;
    if (!(p.revents & POLLOUT))
        return give_up(f, err, E_TIMEOUT, "takes no messages");
    return fd_send(f->fd, m, HEAD + size, fds, nfds, err);
}

static int tell_u64(struct fs *f, uint32_t request, uint64_t v, struct err *err)
{
    struct message m = {.u64 = v};
    return tell(f, &m, request, sizeof m.u64, NULL, 0, err);
}

static int tell_state(struct fs *f, uint32_t request, unsigned index, unsigned num,
                      struct err *err)
{
    struct message m = {.state = {.index = index, .num = num}};
    return tell(f, &m, request, sizeof m.state, NULL, 0, err);
}

/* The answer to `request`, of `size` bytes. */
static int hear(struct fs *f, struct message *m, uint32_t request, uint32_t size,
                struct err *err)
{
    size_t have = 0;
    while (have < HEAD + size) {
        struct pollfd p = {.fd = f->fd, .events = POLLIN};
        int r = poll(&p, 1, ANSWER_MS);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return give_up(f, err, E_TIMEOUT, "does not answer");
        ssize_t n = recv(f->fd, (char *)m + have, HEAD + size - have, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n <= 0)
            return give_up(f, err, E_IO, "hung up");
        have += (size_t)n;
    }
    if (m->request != request || !(m->flags & FLAG_ANSWER) || m->size != size)
        return give_up(f, err, E_PROTO, "answers something else");
    return 0;
}

static int ask_u64(struct fs *f, uint32_t request, uint64_t *out, struct err *err)
{
    struct message m = {0};
    if (tell(f, &m, request, 0, NULL, 0, err) < 0 ||
        hear(f, &m, request, sizeof m.u64, err) < 0)
        return -1;
    *out = m.u64;
    return 0;
}

static int send_memory(struct fs *f, struct err *err)
{
    size_t count;
    const struct vm_memory *all = vm_memory_list(f->v.vm, &count);
    struct message m = {0};
    int fds[REGIONS];
    for (size_t i = 0; i < count; i++) {
        if (!all[i].ram)
            continue;
        if (m.memory.count == REGIONS || all[i].fd < 0)
            return err_set(err, E_UNAVAIL,
                           "the guest's memory is in more than %d pieces", REGIONS);
        fds[m.memory.count] = all[i].fd;
        m.memory.region[m.memory.count].gpa = all[i].gpa;
        m.memory.region[m.memory.count].size = all[i].size;
        m.memory.region[m.memory.count].user = (uintptr_t)all[i].hva;
        m.memory.region[m.memory.count].offset = all[i].offset;
        m.memory.count++;
    }
    return tell(f, &m, SET_MEM_TABLE, 8 + 32 * m.memory.count, fds, m.memory.count,
                err);
}

static int send_call(struct fs *f, unsigned queue, struct err *err)
{
    unsigned vector = atomic_load(&f->v.queue[queue].vector);
    bool any = vector < f->v.pci.msix.count;
    struct message m = {.u64 = queue | (any ? 0 : NO_FD)};
    return tell(f, &m, SET_VRING_CALL, 8, any ? &f->v.pci.msix.irq[vector].fd : NULL,
                any, err);
}

static int start_ring(struct fs *f, unsigned i, struct err *err)
{
    struct virtio_queue *vq = &f->v.queue[i];
    struct message addr = {.addr = {.index = i,
                                    .desc = (uintptr_t)vq->q.desc,
                                    .used = (uintptr_t)vq->q.used,
                                    .avail = (uintptr_t)vq->q.avail}};
    struct message kick = {.u64 = i};
    if (tell_state(f, SET_VRING_NUM, i, vq->q.size, err) < 0 ||
        tell_state(f, SET_VRING_BASE, i, vq->q.next_avail, err) < 0 ||
        tell(f, &addr, SET_VRING_ADDR, sizeof addr.addr, NULL, 0, err) < 0 ||
        send_call(f, i, err) < 0 ||
        tell(f, &kick, SET_VRING_KICK, 8, &vq->kick, 1, err) < 0 ||
        tell_state(f, SET_VRING_ENABLE, i, 1, err) < 0)
        return err_at(err, "queue %u", i);
    return 0;
}

static int start_all(struct fs *f, struct err *err)
{
    uint64_t features = f->v.acked | 1ull << F_PROTOCOL_FEATURES;
    if (tell_u64(f, SET_FEATURES, features, err) < 0 || send_memory(f, err) < 0)
        return -1;
    for (unsigned i = 0; i < f->v.nqueues; i++)
        if (f->v.queue[i].q.enabled && start_ring(f, i, err) < 0)
            return -1;
    return 0;
}

/* When it answers it no longer touches the ring. */
static void stop_all(struct fs *f)
{
    for (unsigned i = 0; i < f->v.nqueues; i++) {
        struct virtq *q = &f->v.queue[i].q;
        struct message m = {.state = {.index = i}};
        if (!q->enabled ||
            tell(f, &m, GET_VRING_BASE, sizeof m.state, NULL, 0, NULL) < 0 ||
            hear(f, &m, GET_VRING_BASE, sizeof m.state, NULL) < 0)
            continue;
        q->next_avail = (uint16_t)m.state.num;
        q->next_used = __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE);
    }
}

/* --- virtio -------------------------------------------------------------------------- */

static int start(struct virtio *v, struct err *err)
{
    return start_all(v->dev->state, err);
}

static void stop(struct virtio *v)
{
    stop_all(v->dev->state);
}

static bool external(struct virtio *v, unsigned queue)
{
    return true;
}

static void kicked(struct virtio *v, unsigned queue)
{
}

static void vector_changed(struct virtio *v, unsigned queue)
{
    (void)send_call(v->dev->state, queue, NULL);
}

static void config_read(struct virtio *v, unsigned off, unsigned len, void *out)
{
    struct fs *f = v->dev->state;
    memcpy(out, (const char *)&f->config + off, len);
}

static void server_gone(struct io_watch *w, uint32_t events)
{
    struct fs *f = w->arg;
    io_watch_del(w);
    atomic_store(&f->dead, true);
    if (f->v.running)
        virtio_broken(&f->v, 0);
}

static const struct virtio_ops ops = {
    .id = VIRTIO_ID_FS,
    .pci_class = 0x018000,
    .kicked = kicked,
    .config_read = config_read,
    .start = start,
    .stop = stop,
    .vector_changed = vector_changed,
    .external = external,
};

/* --- the row ---------------------------------------------------------------------------- */

static int decode(struct device *dev, json_t *in, struct err *err)
{
    struct fs *f = dev->state;
    json_error_t je;
    f->fd = f->socket.fd = -1;
    f->queues = 1;
    if (json_unpack_ex(in, &je, 0, "{s:s, s?s, s?i, s?i !}", "tag", &f->tag, "socket",
                       &f->socket.path, "fd", &f->socket.fd, "queues", &f->queues) < 0)
        return err_set(err, E_CONFIG, "%s: %s", dev->id, je.text);
    if (!*f->tag || strlen(f->tag) > sizeof f->config.tag)
        return err_set(err, E_CONFIG, "%s: \"tag\" has 1 to %zu characters", dev->id,
                       sizeof f->config.tag);
    if (f->queues < 1 || f->queues > QUEUES_MAX)
        return err_set(err, E_CONFIG, "%s: \"queues\" is 1 to %d", dev->id, QUEUES_MAX);
    if ((f->socket.path != NULL) + (f->socket.fd >= 0) != 1)
        return err_set(err, E_CONFIG, "%s: give either \"socket\" or \"fd\"", dev->id);
    memcpy(f->config.tag, f->tag, strlen(f->tag));
    f->config.num_request_queues = htole32((uint32_t)f->queues);
    return 0;
}

static int meet(struct fs *f, struct err *err)
{
    uint64_t protocol;
    struct message m = {0};
    if (tell(f, &m, SET_OWNER, 0, NULL, 0, err) < 0 ||
        ask_u64(f, GET_FEATURES, &f->backend, err) < 0)
        return -1;
    if (!(f->backend >> F_PROTOCOL_FEATURES & 1) ||
        !(f->backend >> VIRTIO_F_VERSION_1 & 1))
        return err_set(err, E_UNAVAIL, "the file server is too old");
    if (ask_u64(f, GET_PROTOCOL_FEATURES, &protocol, err) < 0)
        return -1;
    return tell_u64(f, SET_PROTOCOL_FEATURES, 0, err);
}

static int init(struct device *dev, struct err *err)
{
    struct fs *f = dev->state;
    f->fd = f->socket.path ? fd_unix_connect(f->socket.path, err) : f->socket.fd;
    if (f->fd < 0)
        return err_at(err, "%s", dev->id);
    (void)fcntl(f->fd, F_SETFD, FD_CLOEXEC);
    if (meet(f, err) < 0 || virtio_init(&f->v, dev, &ops, 1 + (unsigned)f->queues,
                                        QUEUE_SIZE, sizeof f->config, 0, err) < 0)
        return err_at(err, "%s", dev->id);
    f->v.offered &= f->backend;
    for (unsigned i = 0; i < f->v.pci.msix.count; i++)
        if (vm_irq_fd(&f->v.pci.msix.irq[i], err) < 0)
            return err_at(err, "%s", dev->id);
    f->watch = (struct io_watch){.fd = f->fd, .ready = server_gone, .arg = f};
    return io_watch_add(f->v.queue[0].thread, &f->watch, EPOLLRDHUP, err);
}

static void done(struct device *dev)
{
    struct fs *f = dev->state;
    virtio_done(&f->v);
    if (f->watch.thread)
        io_watch_del(&f->watch);
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

static int pause_(struct device *dev, struct err *err)
{
    struct fs *f = dev->state;
    if (f->v.running)
        stop_all(f);
    return 0;
}

static int resume(struct device *dev, struct err *err)
{
    struct fs *f = dev->state;
    if (f->v.running && start_all(f, err) < 0)
        return err_at(err, "%s", dev->id);
    virtio_resume(&f->v);
    return 0;
}

static bool untracked(struct device *dev)
{
    struct fs *f = dev->state;
    return f->v.running;
}

static json_t *stats(struct device *dev)
{
    struct fs *f = dev->state;
    json_t *j = virtio_stats(&f->v, NULL, 0);
    if (j) {
        json_object_set_new(j, "tag", json_string(f->tag));
        json_object_set_new(j, "server", json_string(f->dead ? "gone" : "connected"));
    }
    return j;
}

/* Saved are the rings only: which files the guest has open is the daemon's to know. A guest that
 * is restored elsewhere mounts again (the agent unmounts shares before a checkpoint). */
const struct device_ops device_fs = {
    .name = "fs",
    .help = "tag, socket|fd (of a vhost-user file server, as virtiofsd), queues",
    .state_size = sizeof(struct fs),
    .decode = decode,
    .init = init,
    .pause = pause_,
    .resume = resume,
    .save = virtio_row_save,
    .restore = virtio_row_restore,
    .untracked = untracked,
    .stats = stats,
    .done = done,
};
