/* SPDX-License-Identifier: Apache-2.0 */
/* A 16550A serial port for early output: what the kernel prints before it has drivers.
 * What the guest sends goes to a ring that the I/O thread empties; a full ring shows as
 * a busy transmitter, which Linux waits for 10 ms a character and no longer. Registers
 * are read and written under the bus lock and our own; the I/O thread takes ours. */
#include "vmm/aml.h"
#include "vmm/chardev.h"
#include "vmm/devices.h"

#include <linux/serial_reg.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { RING = 16384, FIFO = 16, PORTS = 8 };

/* The registers, as they are saved. */
struct serial_regs {
    uint8_t ier, lcr, mcr, scr, dll, dlm, fcr;
    uint8_t thri; /* "transmitter empty" is to be told */
    uint8_t line; /* the interrupt is raised */
    uint8_t nrx;
    uint8_t rx[FIFO];
};

struct serial {
    struct vm *vm;
    struct bus_range range;
    struct chardev back;
    struct io_watch kick_watch;
    int kick;
    pthread_mutex_t lock;
    struct serial_regs r;
    uint32_t head, tail; /* of out: written, read; both only grow */
    uint8_t out[RING];
    bool stalled; /* the back end takes nothing now */
    unsigned long out_bytes, in_bytes, dropped;
};

static unsigned used(const struct serial *s)
{
    return s->head - s->tail;
}

/* Bring the interrupt in line with its causes; only a rise is an edge. */
static void update(struct serial *s)
{
    const struct serial_regs *r = &s->r;
    bool want =
        ((r->ier & UART_IER_RDI) && r->nrx) || ((r->ier & UART_IER_THRI) && r->thri);
    if (want && !r->line)
        vm_pin_pulse(s->vm, LAYOUT_PIN_SERIAL);
    s->r.line = want;
}

static void put(struct serial *s, uint8_t c)
{
    struct serial_regs *r = &s->r;
    if (r->mcr & UART_MCR_LOOP) {
        if (r->nrx < FIFO)
            r->rx[r->nrx++] = c;
    } else if (used(s) == RING) {
        s->dropped++;
    } else {
        bool was_empty = !used(s);
        s->out[s->head++ % RING] = c;
        s->out_bytes++;
        if (was_empty && !s->stalled)
            eventfd_write(s->kick, 1);
    }
    r->thri = used(s) < RING;
}

static uint8_t take(struct serial *s)
{
    struct serial_regs *r = &s->r;
    if (!r->nrx)
        return 0;
    uint8_t c = r->rx[0];
    memmove(r->rx, r->rx + 1, --r->nrx);
    if (!r->nrx)
        eventfd_write(s->kick, 1); /* there is room for more input */
    return c;
}

static uint8_t interrupt_id(struct serial *s)
{
    struct serial_regs *r = &s->r;
    uint8_t fifo = r->fcr & UART_FCR_ENABLE_FIFO ? 0xc0 : 0;
    if ((r->ier & UART_IER_RDI) && r->nrx)
        return fifo | UART_IIR_RDI;
    if ((r->ier & UART_IER_THRI) && r->thri) {
        r->thri = 0; /* reading is the acknowledgement */
        return fifo | UART_IIR_THRI;
    }
    return fifo | UART_IIR_NO_INT;
}

static uint8_t modem_status(const struct serial *s)
{
    uint8_t m = s->r.mcr;
    if (!(m & UART_MCR_LOOP))
        return UART_MSR_CTS | UART_MSR_DSR | UART_MSR_DCD;
    return (m & UART_MCR_RTS ? UART_MSR_CTS : 0) |
           (m & UART_MCR_DTR ? UART_MSR_DSR : 0) |
           (m & UART_MCR_OUT1 ? UART_MSR_RI : 0) |
           (m & UART_MCR_OUT2 ? UART_MSR_DCD : 0);
}

static uint8_t reg_read(struct serial *s, unsigned reg)
{
    struct serial_regs *r = &s->r;
    bool dlab = r->lcr & UART_LCR_DLAB;
    switch (reg) {
    case UART_RX:
        return dlab ? r->dll : take(s);
    case UART_IER:
        return dlab ? r->dlm : r->ier;
    case UART_IIR:
        return interrupt_id(s);
    case UART_LCR:
        return r->lcr;
    case UART_MCR:
        return r->mcr;
    case UART_LSR:
        return (used(s) < RING ? UART_LSR_THRE : 0) |
               (!used(s) || !s->stalled ? UART_LSR_TEMT : 0) |
               (r->nrx ? UART_LSR_DR : 0);
    case UART_MSR:
        return modem_status(s);
    default:
        return r->scr;
    }
}

static void reg_write(struct serial *s, unsigned reg, uint8_t v)
{
    struct serial_regs *r = &s->r;
    bool dlab = r->lcr & UART_LCR_DLAB;
    switch (reg) {
    case UART_TX:
        if (dlab)
            r->dll = v;
        else
            put(s, v);
        break;
    case UART_IER:
        if (dlab) {
            r->dlm = v;
            break;
        }
        /* Switching it on tells of an empty transmitter at once. */
        if ((v & ~r->ier & UART_IER_THRI) && used(s) < RING)
            r->thri = 1;
        r->ier = v & 0x0f;
        break;
    case UART_FCR:
        r->fcr = v;
        if (v & UART_FCR_CLEAR_RCVR)
            r->nrx = 0;
        break;
    case UART_LCR:
        r->lcr = v;
        break;
    case UART_MCR:
        r->mcr = v & 0x1f;
        break;
    case UART_SCR:
        r->scr = v;
        break;
    default:
        break;
    }
}

static uint64_t bus_read(void *arg, uint64_t off, unsigned len)
{
    struct serial *s = arg;
    uint64_t v = 0;
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < len; i++)
        v |= (uint64_t)reg_read(s, (unsigned)off + i) << 8 * i;
    update(s);
    pthread_mutex_unlock(&s->lock);
    return v;
}

static void bus_write(void *arg, uint64_t off, unsigned len, uint64_t v)
{
    struct serial *s = arg;
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < len; i++)
        reg_write(s, (unsigned)off + i, v >> 8 * i & 0xff);
    update(s);
    pthread_mutex_unlock(&s->lock);
}

/* --- the I/O thread -------------------------------------------------------------- */

/* Hand the ring to the back end. Only we move tail, so the bytes stay while we write
 * without the lock. */
static void drain(struct serial *s)
{
    for (unsigned turns = 0; turns < 64; turns++) {
        pthread_mutex_lock(&s->lock);
        uint32_t n = used(s), at = s->tail % RING;
        pthread_mutex_unlock(&s->lock);
        if (!n)
            return;
        struct iovec iov = {.iov_base = s->out + at,
                            .iov_len = n < RING - at ? n : RING - at};
        ssize_t k = chardev_write(&s->back, &iov, 1, iov.iov_len);
        pthread_mutex_lock(&s->lock);
        s->stalled = k < 0;
        if (k > 0) {
            bool was_full = used(s) == RING;
            s->tail += (uint32_t)k;
            if (was_full)
                s->r.thri = 1;
            update(s);
        }
        pthread_mutex_unlock(&s->lock);
        if (k < 0)
            return;
    }
    eventfd_write(s->kick, 1); /* others' turn first */
}

static void input(struct serial *s)
{
    uint8_t buf[FIFO];
    pthread_mutex_lock(&s->lock);
    unsigned room = s->r.mcr & UART_MCR_LOOP ? 0 : FIFO - s->r.nrx;
    pthread_mutex_unlock(&s->lock);
    struct iovec iov = {.iov_base = buf, .iov_len = room};
    ssize_t k =
        room && chardev_readable(&s->back) ? chardev_read(&s->back, &iov, 1) : -1;
    pthread_mutex_lock(&s->lock);
    /* A loop-back write may have used up room meanwhile. */
    for (ssize_t i = 0; i < k && s->r.nrx < FIFO; i++) {
        s->r.rx[s->r.nrx++] = buf[i];
        s->in_bytes++;
    }
    room = FIFO - s->r.nrx;
    update(s);
    pthread_mutex_unlock(&s->lock);
    chardev_want_input(&s->back, room > 0);
}

static void kicked(struct io_watch *w, uint32_t events)
{
    struct serial *s = w->arg;
    eventfd_t n;
    (void)eventfd_read(s->kick, &n);
    drain(s);
    input(s);
}

static void back_ready(struct chardev *b, unsigned what)
{
    struct serial *s = b->arg;
    drain(s);
    input(s);
}

/* --- the row ------------------------------------------------------------------------ */

static int decode(struct device *dev, json_t *in, struct err *err)
{
    struct serial *s = dev->state;
    s->kick = -1;
    pthread_mutex_init(&s->lock, NULL);
    return chardev_decode(&s->back, in, dev->id, err);
}

static int init(struct device *dev, struct err *err)
{
    struct serial *s = dev->state;
    struct io_thread *t = vm_io_thread(dev->vm, dev->index);
    s->vm = dev->vm;
    s->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->kick < 0)
        return err_sys(err, "%s: eventfd", dev->id);
    s->kick_watch = (struct io_watch){.fd = s->kick, .ready = kicked, .arg = s};
    s->range = (struct bus_range){.base = LAYOUT_PORT_SERIAL,
                                  .size = PORTS,
                                  .pio = true,
                                  .name = "serial",
                                  .read = bus_read,
                                  .write = bus_write,
                                  .arg = s};
    if (io_watch_add(t, &s->kick_watch, EPOLLIN, err) < 0 ||
        chardev_open(&s->back, t, back_ready, s, err) < 0)
        return err_at(err, "%s", dev->id);
    chardev_want_input(&s->back, true);
    return bus_add(dev->vm, &s->range, err);
}

static void acpi(struct device *dev, struct aml *a)
{
    aml_device(a, "COM1");
    aml_name(a, "_HID");
    aml_eisaid(a, "PNP0501");
    aml_name(a, "_UID");
    aml_int(a, 1);
    aml_name(a, "_CRS");
    aml_resources(a);
    aml_io(a, LAYOUT_PORT_SERIAL, PORTS);
    aml_irq_edge(a, LAYOUT_PIN_SERIAL);
    aml_resources_end(a);
    aml_end(a);
}

static void done(struct device *dev)
{
    struct serial *s = dev->state;
    if (s->range.on)
        bus_remove(dev->vm, &s->range);
    if (s->kick_watch.thread)
        io_watch_del(&s->kick_watch);
    if (s->kick >= 0)
        drain(s); /* the last words, as far as they are taken now */
    chardev_close(&s->back);
    if (s->kick >= 0)
        close(s->kick);
    s->kick = -1;
    pthread_mutex_destroy(&s->lock);
}

static int pause_(struct device *dev, struct err *err)
{
    drain(dev->state);
    return 0;
}

static int resume(struct device *dev, struct err *err)
{
    struct serial *s = dev->state;
    eventfd_write(s->kick, 1);
    return 0;
}

enum { TAG_REGS = 1, TAG_OUT };

static void save(struct device *dev, struct state_writer *w)
{
    struct serial *s = dev->state;
    uint8_t left[RING];
    uint32_t n = used(s);
    for (uint32_t i = 0; i < n; i++)
        left[i] = s->out[(s->tail + i) % RING];
    state_put(w, TAG_REGS, &s->r, sizeof s->r);
    state_put(w, TAG_OUT, left, n);
}

static int restore(struct device *dev, const struct state_reader *r, struct err *err)
{
    struct serial *s = dev->state;
    struct serial_regs regs;
    size_t n;
    if (state_get(r, TAG_REGS, &regs, sizeof regs, err) < 0)
        return -1;
    const void *left = state_peek(r, TAG_OUT, 0, &n);
    if (regs.nrx > FIFO || (left && n > RING))
        return err_set(err, E_INPUT, "%s: more bytes than fit", dev->id);
    s->r = regs;
    s->head = s->tail = 0;
    if (left && n) {
        memcpy(s->out, left, n);
        s->head = (uint32_t)n;
    }
    return 0;
}

static json_t *stats(struct device *dev)
{
    struct serial *s = dev->state;
    pthread_mutex_lock(&s->lock);
    unsigned long out = s->out_bytes, in = s->in_bytes, dropped = s->dropped;
    pthread_mutex_unlock(&s->lock);
    return json_pack("{s:I, s:I, s:I}", "out_bytes", (json_int_t)out, "in_bytes",
                     (json_int_t)in, "dropped_bytes", (json_int_t)dropped);
}

const struct device_ops device_serial = {
    .name = "serial",
    .help = "fd|path (a socket to listen on)|stdio: true",
    .state_size = sizeof(struct serial),
    .max = 1,
    .decode = decode,
    .init = init,
    .acpi = acpi,
    .pause = pause_,
    .resume = resume,
    .save = save,
    .restore = restore,
    .stats = stats,
    .done = done,
    .forget = chardev_forget,
};
