/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-console with ports. Each port has a back end on the host: a descriptor, a unix
 * socket we listen on (one client at a time), or our standard input and output. Bytes
 * wait where they are when the other side is slow: the guest's in its queue, the
 * host's in the descriptor; nothing is buffered here. A port without a client drops
 * what the guest sends. All of it runs on one I/O thread. */
#include "vmm/chardev.h"
#include "vmm/devices.h"
#include "vmm/virtio.h"

#include "base/own.h"

#include <endian.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <string.h>

enum { PORTS_MAX = 31, QUEUE_SIZE = 128, NAME_MAX_ = 64, PENDING = 4 * PORTS_MAX + 8 };

struct con_port {
    struct con *c;
    unsigned n;
    const char *name; /* NULL: hvcN, a console */
    struct chardev back;
    bool guest_open;
    /* A chain of the guest's that the back end has not taken whole. */
    bool sending;
    size_t sent;
    struct virtq_chain *tx;
    atomic_ulong in_bytes, out_bytes;
};

struct con {
    struct virtio v;
    struct virtio_console_config config;
    struct con_port port[PORTS_MAX];
    unsigned nports;
    struct virtq_chain chain; /* for one callback */
    /* Control messages that wait for room in the guest's queue. */
    struct con_msg {
        struct virtio_console_control m;
        const char *name;
    } pending[PENDING];
    unsigned npending;
};

/* Port 0 has queues 0 and 1, 2 and 3 are control, port n has 2n + 2 and 2n + 3. */
enum { CTRL_RX = 2, CTRL_TX = 3 };

static unsigned rx_queue(unsigned port)
{
    return port ? 2 * port + 2 : 0;
}

static struct con_port *port_of(struct con *c, unsigned queue)
{
    unsigned n = queue < 2 ? 0 : (queue - 2) / 2;
    return queue == CTRL_RX || queue == CTRL_TX || n >= c->nports ? NULL : &c->port[n];
}

/* --- control --------------------------------------------------------------------- */

static void flush_control(struct con *c)
{
    unsigned i = 0;
    while (i < c->npending) {
        if (!virtio_pop(&c->v, CTRL_RX, &c->chain)) {
            if (virtio_again(&c->v, CTRL_RX))
                continue;
            break;
        }
        const struct con_msg *p = &c->pending[i++];
        size_t n = virtq_write(&c->chain, 0, &p->m, sizeof p->m);
        if (p->name)
            n += virtq_write(&c->chain, sizeof p->m, p->name, strlen(p->name));
        virtq_push(&c->v.queue[CTRL_RX].q, &c->chain, (uint32_t)n);
    }
    c->npending -= i;
    memmove(c->pending, c->pending + i, c->npending * sizeof c->pending[0]);
    if (i)
        virtio_notify(&c->v, CTRL_RX);
}

/* Tell the guest. When it asks so much that there is no room, it does not hear. */
static void tell(struct con *c, unsigned port, unsigned event, unsigned value,
                 const char *name)
{
    if (!virtio_has(&c->v, VIRTIO_CONSOLE_F_MULTIPORT))
        return;
    if (c->npending == PENDING) {
        atomic_fetch_add(&c->v.dev->guest_errors, 1);
        return;
    }
    c->pending[c->npending++] = (struct con_msg){
        .m = {.id = htole32(port), .event = htole16(event), .value = htole16(value)},
        .name = name};
}

static void port_ready(struct con *c, struct con_port *p)
{
    if (!p->name)
        tell(c, p->n, VIRTIO_CONSOLE_CONSOLE_PORT, 1, NULL);
    else
        tell(c, p->n, VIRTIO_CONSOLE_PORT_NAME, 1, p->name);
    if (p->back.connected)
        tell(c, p->n, VIRTIO_CONSOLE_PORT_OPEN, 1, NULL);
}

static void control(struct con *c, const struct virtio_console_control *m)
{
    unsigned id = le32toh(m->id), value = le16toh(m->value);
    struct con_port *p = id < c->nports ? &c->port[id] : NULL;
    switch (le16toh(m->event)) {
    case VIRTIO_CONSOLE_DEVICE_READY:
        for (unsigned i = 0; value && i < c->nports; i++)
            tell(c, i, VIRTIO_CONSOLE_PORT_ADD, 1, NULL);
        break;
    case VIRTIO_CONSOLE_PORT_READY:
        if (p && value)
            port_ready(c, p);
        break;
    case VIRTIO_CONSOLE_PORT_OPEN:
        if (p) {
            p->guest_open = value;
            virtio_kick(&c->v, rx_queue(p->n)); /* there may be input waiting */
        }
        break;
    default:
        break;
    }
}

static void control_kicked(struct con *c)
{
    struct virtio *v = &c->v;
    struct virtio_console_control m;
    bool any = false;
    do {
        while (virtio_pop(v, CTRL_TX, &c->chain)) {
            if (virtq_read(&c->chain, 0, &m, sizeof m) == sizeof m)
                control(c, &m);
            virtq_push(&v->queue[CTRL_TX].q, &c->chain, 0);
            any = true;
        }
    } while (virtio_again(v, CTRL_TX));
    if (any)
        virtio_notify(v, CTRL_TX);
    flush_control(c);
}

/* --- data --------------------------------------------------------------------------- */

enum { TURN = 4 << 20 }; /* bytes until other watches get their turn */

/* Guest to host. */
static void transmit(struct con_port *p)
{
    struct virtio *v = &p->c->v;
    unsigned queue = rx_queue(p->n) + 1;
    bool any = false, was = p->back.connected;
    for (size_t turn = 0;;) {
        if (!p->sending && !virtio_pop(v, queue, p->tx)) {
            if (virtio_again(v, queue))
                continue;
            break;
        }
        p->sending = true;
        if (!p->back.connected)
            p->sent = p->tx->out_len;
        if (turn > TURN) {
            virtio_kick(v, queue);
            break;
        }
        struct iovec *iov = p->c->chain.iov; /* scratch */
        size_t got;
        unsigned n = virtq_slice(p->tx, false, p->sent, (size_t)1 << 20, iov, &got);
        ssize_t k = got ? chardev_write(&p->back, iov, n, got) : 0;
        if (k < 0)
            break; /* comes back when there is room */
        p->sent += (size_t)k;
        turn += (size_t)k;
        atomic_fetch_add(&p->out_bytes, (unsigned long)k);
        if (p->sent < p->tx->out_len)
            continue;
        virtq_push(&v->queue[queue].q, p->tx, 0);
        p->sending = false;
        p->sent = 0;
        any = true;
    }
    if (any)
        virtio_notify(v, queue);
    if (was && !p->back.connected) {
        tell(p->c, p->n, VIRTIO_CONSOLE_PORT_OPEN, 0, NULL);
        flush_control(p->c);
    }
}

/* Does the guest want bytes? Consoles are always open. */
static bool listens(const struct con_port *p)
{
    return !p->name || p->guest_open ||
           !virtio_has(&p->c->v, VIRTIO_CONSOLE_F_MULTIPORT);
}

/* Host to guest: read into the guest's buffers while there are both. */
static void receive(struct con_port *p)
{
    struct con *c = p->c;
    struct virtio *v = &c->v;
    unsigned queue = rx_queue(p->n);
    struct virtq *q = &v->queue[queue].q;
    bool any = false;
    for (;;) {
        if (!v->running || !listens(p) || virtq_is_empty(q)) {
            chardev_want_input(&p->back, false); /* a kick brings us back */
            if (v->running && listens(p) && virtio_again(v, queue))
                continue;
            break;
        }
        if (!chardev_readable(&p->back)) {
            chardev_want_input(&p->back, true);
            break;
        }
        if (!virtio_pop(v, queue, &c->chain))
            break; /* the rules were broken, or it is others' turn: then a kick comes */
        if (!c->chain.in_len) {
            virtio_broken(v, queue);
            break;
        }
        ssize_t k = chardev_read(&p->back, c->chain.iov + c->chain.nout, c->chain.nin);
        if (k <= 0) {
            virtq_unpop(q, 1);
            chardev_want_input(&p->back, true);
            break;
        }
        virtq_push(q, &c->chain, (uint32_t)k);
        atomic_fetch_add(&p->in_bytes, (unsigned long)k);
        any = true;
    }
    if (any)
        virtio_notify(v, queue);
}

static void kicked(struct virtio *v, unsigned queue)
{
    struct con *c = v->dev->state;
    struct con_port *p = port_of(c, queue);
    if (queue == CTRL_TX)
        control_kicked(c);
    else if (queue == CTRL_RX)
        flush_control(c);
    else if (p && queue == rx_queue(p->n))
        receive(p);
    else if (p)
        transmit(p);
}

static void back_ready(struct chardev *b, unsigned what)
{
    struct con_port *p = b->arg;
    struct con *c = p->c;
    if (!c->v.running)
        return;
    if (what & CHARDEV_CHANGED) {
        tell(c, p->n, VIRTIO_CONSOLE_PORT_OPEN, b->connected, NULL);
        flush_control(c);
    }
    if (what & (CHARDEV_OUTPUT | CHARDEV_CHANGED))
        transmit(p);
    if (what & (CHARDEV_INPUT | CHARDEV_CHANGED))
        receive(p);
}

/* --- configuration -------------------------------------------------------------------- */

static void config_read(struct virtio *v, unsigned off, unsigned len, void *out)
{
    struct con *c = v->dev->state;
    memcpy(out, (const char *)&c->config + off, len);
}

/* Back ends outlive a reset of the device; what the guest had under way does not. */
static void stop(struct virtio *v)
{
    struct con *c = v->dev->state;
    struct io_thread *t = v->queue[0].thread;
    io_lock(t);
    for (unsigned i = 0; i < c->nports; i++) {
        c->port[i].guest_open = c->port[i].sending = false;
        c->port[i].sent = 0;
        chardev_want_input(&c->port[i].back, false);
    }
    c->npending = 0;
    io_unlock(t);
}

static const struct virtio_ops ops = {
    .id = VIRTIO_ID_CONSOLE,
    .pci_class = 0x078000,
    .kicked = kicked,
    .config_read = config_read,
    .stop = stop,
};

static int decode_port(struct con *c, json_t *in, const char *id, struct err *err)
{
    struct con_port *p = &c->port[c->nports];
    json_error_t je;
    json_t *back = json_copy(in);
    if (!back)
        return err_oom(err);
    json_t *name = json_object_get(in, "name");
    json_object_del(back, "name");
    int r = chardev_decode(&p->back, back, id, err);
    json_decref(back);
    if (r < 0)
        return -1;
    if (name && json_unpack_ex(name, &je, 0, "s", &p->name) < 0)
        return err_set(err, E_CONFIG, "%s: \"name\": %s", id, je.text);
    if (p->name && (!*p->name || strlen(p->name) > NAME_MAX_))
        return err_set(err, E_CONFIG, "%s: a port's name has 1 to %d characters", id,
                       NAME_MAX_);
    for (unsigned i = 0; p->name && i < c->nports; i++)
        if (c->port[i].name && !strcmp(c->port[i].name, p->name))
            return err_set(err, E_CONFIG, "%s: two ports are called '%s'", id, p->name);
    p->c = c;
    p->n = c->nports++;
    return 0;
}

static int decode(struct device *dev, json_t *in, struct err *err)
{
    struct con *c = dev->state;
    json_error_t je;
    json_t *ports, *p;
    size_t i;
    int cols = 0, rows = 0;
    if (json_unpack_ex(in, &je, 0, "{s:o, s?i, s?i !}", "ports", &ports, "cols", &cols,
                       "rows", &rows) < 0)
        return err_set(err, E_CONFIG, "%s: %s", dev->id, je.text);
    if (!json_is_array(ports) || !json_array_size(ports) ||
        json_array_size(ports) > PORTS_MAX)
        return err_set(err, E_CONFIG, "%s: \"ports\" is a list of 1 to %d ports",
                       dev->id, PORTS_MAX);
    json_array_foreach (ports, i, p) {
        if (decode_port(c, p, dev->id, err) < 0)
            return -1;
    }
    if (cols < 0 || cols > 10000 || rows < 0 || rows > 10000)
        return err_set(err, E_CONFIG, "%s: no terminal has that size", dev->id);
    c->config = (struct virtio_console_config){.cols = htole16(cols),
                                               .rows = htole16(rows),
                                               .max_nr_ports = htole32(c->nports)};
    return 0;
}

static int init(struct device *dev, struct err *err)
{
    struct con *c = dev->state;
    uint64_t features = 1ull << VIRTIO_CONSOLE_F_MULTIPORT;
    if (c->config.cols && c->config.rows)
        features |= 1ull << VIRTIO_CONSOLE_F_SIZE;
    if (virtio_init(&c->v, dev, &ops, 2 * c->nports + 2, QUEUE_SIZE,
                    offsetof(struct virtio_console_config, emerg_wr), features,
                    err) < 0)
        return -1;
    struct io_thread *t = vm_io_thread(dev->vm, dev->index);
    for (unsigned i = 0; i < c->v.nqueues; i++)
        virtio_queue_thread(&c->v, i, t);
    for (unsigned i = 0; i < c->nports; i++) {
        struct con_port *p = &c->port[i];
        p->tx = calloc(1, sizeof *p->tx);
        if (!p->tx)
            return err_oom(err);
        if (chardev_open(&p->back, t, back_ready, p, err) < 0)
            return err_at(err, "%s: port '%s'", dev->id, p->name ? p->name : "console");
    }
    return 0;
}

static void done(struct device *dev)
{
    struct con *c = dev->state;
    virtio_done(&c->v);
    for (unsigned i = 0; i < c->nports; i++) {
        chardev_close(&c->port[i].back);
        free(c->port[i].tx);
        c->port[i].tx = NULL;
    }
}

/* --- the row ------------------------------------------------------------------------------ */

/* A chain half sent is given back: what was sent of it must not be sent again, so the
 * offset is kept, and the chain is the first one popped after resume. */
static int pause_(struct device *dev, struct err *err)
{
    struct con *c = dev->state;
    for (unsigned i = 0; i < c->nports; i++) {
        struct con_port *p = &c->port[i];
        if (p->sending)
            virtq_unpop(&c->v.queue[rx_queue(i) + 1].q, 1);
        p->sending = false;
    }
    return 0;
}

enum { TAG_PORT = 1, TAG_PENDING };
struct saved_port {
    uint64_t sent;
    uint32_t guest_open, zero;
};

static void save(struct device *dev, struct state_writer *w)
{
    struct con *c = dev->state;
    virtio_save(&c->v, w);
    for (unsigned i = 0; i < c->nports; i++) {
        struct saved_port s = {.sent = c->port[i].sent,
                               .guest_open = c->port[i].guest_open};
        state_put(w, TAG_PORT, &s, sizeof s);
    }
    for (unsigned i = 0; i < c->npending; i++)
        state_put(w, TAG_PENDING, &c->pending[i].m, sizeof c->pending[i].m);
}

static int restore(struct device *dev, const struct state_reader *r, struct err *err)
{
    struct con *c = dev->state;
    size_t len;
    const void *rec;
    struct saved_port s;
    if (virtio_restore(&c->v, r, err) < 0)
        return -1;
    for (unsigned i = 0; i < c->nports; i++) {
        rec = state_peek(r, TAG_PORT, i, &len);
        if (!rec || len != sizeof s)
            return err_set(err, E_INPUT, "%s: port %u is missing", dev->id, i);
        memcpy(&s, rec, sizeof s);
        c->port[i].sent = s.sent;
        c->port[i].guest_open = s.guest_open;
    }
    for (c->npending = 0; c->npending < PENDING; c->npending++) {
        struct con_msg *p = &c->pending[c->npending];
        rec = state_peek(r, TAG_PENDING, c->npending, &len);
        if (!rec || len != sizeof p->m)
            break;
        memcpy(&p->m, rec, len);
        unsigned id = le32toh(p->m.id);
        bool named = le16toh(p->m.event) == VIRTIO_CONSOLE_PORT_NAME;
        p->name = named && id < c->nports ? c->port[id].name : NULL;
    }
    /* The guest heard of the back ends of another process; tell it how ours are. */
    for (unsigned i = 0; i < c->nports && c->v.running; i++)
        if (c->port[i].name)
            tell(c, i, VIRTIO_CONSOLE_PORT_OPEN, c->port[i].back.connected, NULL);
    return 0;
}

static json_t *stats(struct device *dev)
{
    struct con *c = dev->state;
    json_t *j = virtio_stats(&c->v, NULL, 0), *ports = json_array();
    for (unsigned i = 0; i < c->nports; i++) {
        struct con_port *p = &c->port[i];
        json_array_append_new(
            ports, json_pack("{s:s, s:b, s:b, s:I, s:I}", "name",
                             p->name ? p->name : "console", "connected",
                             p->back.connected, "open", listens(p), "in_bytes",
                             (json_int_t)atomic_load(&p->in_bytes), "out_bytes",
                             (json_int_t)atomic_load(&p->out_bytes)));
    }
    if (j)
        json_object_set_new(j, "ports", ports);
    else
        json_decref(ports);
    return j;
}

static void forget(json_t *in)
{
    json_t *port;
    size_t i;
    json_array_foreach (json_object_get(in, "ports"), i, port)
        chardev_forget(port);
}

const struct device_ops device_console = {
    .name = "console",
    .help = "ports: [{name (none: a console, hvcN), fd|path (listens)|stdio: true}], "
            "cols, rows",
    .state_size = sizeof(struct con),
    .decode = decode,
    .init = init,
    .pause = pause_,
    .resume = virtio_row_resume,
    .save = save,
    .restore = restore,
    .stats = stats,
    .done = done,
    .forget = forget,
};
