/* SPDX-License-Identifier: Apache-2.0 */
/* One struct guest a VM: its transport, its channel, its relays. */
#include "agent/guest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/identity.h"
#include "agent/life.h"
#include "agent/sock.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "proto/chan.h"

enum {
    RECONNECT_MIN_MS = 20,
    RECONNECT_MAX_MS = 1000,
    RELAYS_MAX = 256,     /* of one VM */
    TURN_BYTES = 1 << 20, /* read from one guest before others get their turn */
    MAY_COME_MS = 10000
};

struct guest {
    struct vm *vm;
    struct chan *chan;
    int fd; /* -1: not connected */
    sd_event_source *io, *timer;
    sd_event_source *young; /* until it had its time to come */
    unsigned wait_ms;
    bool ready;   /* it took its identity */
    bool turning; /* its events are being handled */
    struct list relays;
    size_t nrelays;
};

/* Who speaks through a stream. For the agent's own requests client is NULL. */
struct relay {
    struct list in; /* guest->relays */
    struct guest *guest;
    uint32_t stream;     /* at the guest; 0: closed there */
    struct chan *client; /* direct; its only stream is CHAN_DIRECT */
    int fd;
    sd_event_source *io;
    bool client_closed;
    bool is_identity;
    guest_told_f told; /* of guest_ask(), until it was */
    void *arg;
};

static void guest_turn(struct guest *g);
static void relay_turn(struct relay *r);

/* --- relays ------------------------------------------------------------------- */

static void relay_free(struct relay *r)
{
    struct guest *g = r->guest;
    guest_told_f told = r->told;
    void *arg = r->arg;
    if (r->stream && g->chan) {
        chan_set_user(g->chan, r->stream, NULL);
        chan_close(g->chan, r->stream);
    }
    list_remove(&r->in);
    g->nrelays--;
    if (r->client) {
        g->vm->agent->busy--;
        agent_touch(g->vm->agent);
    }
    sd_event_source_disable_unref(r->io);
    if (r->fd >= 0)
        close(r->fd);
    chan_free(r->client);
    free(r);
    if (told) {
        struct err why;
        err_set(&why, E_STATE, "the guest of VM '%s' went away", g->vm->name);
        told(arg, &why);
    }
}

static struct relay *relay_new(struct guest *g, struct err *err)
{
    if (g->nrelays >= RELAYS_MAX) {
        err_set(err, E_BUSY, "VM '%s' has %d commands under way already", g->vm->name,
                RELAYS_MAX);
        return NULL;
    }
    struct relay *r = calloc(1, sizeof *r);
    if (!r) {
        err_oom(err);
        return NULL;
    }
    *r = (struct relay){.guest = g, .fd = -1};
    list_add(&g->relays, &r->in);
    g->nrelays++;
    return r;
}

/* The guest is away: the client may come back and attach. */
static void relay_lost(struct relay *r)
{
    chan_msg(r->client, CHAN_DIRECT, json_pack("{s:b}", "lost", 1), NULL);
    chan_close(r->client, CHAN_DIRECT);
}

/* Write what is there; false: the client is gone. */
static bool relay_flush(struct relay *r)
{
    size_t len;
    const void *p;
    while ((p = chan_output(r->client, &len)) && len) {
        ssize_t n = fd_send_some(r->fd, p, len);
        if (n < 0)
            return false;
        if (n == 0)
            break;
        chan_output_done(r->client, n);
    }
    size_t left = chan_output_len(r->client);
    if (!left && !r->stream)
        return false; /* all said */
    bool feed = chan_output_len(r->guest->chan) < CHAN_OUTPUT_HIGH;
    sd_event_source_set_io_events(r->io, (feed ? EPOLLIN : 0) | (left ? EPOLLOUT : 0));
    return true;
}

/* What the client said goes to the guest. */
static bool relay_take(struct relay *r)
{
    struct chan_event ev;
    while (chan_next(r->client, &ev)) {
        if (ev.kind == CHAN_EV_LOST || ev.kind == CHAN_EV_GONE)
            return false;
        if (ev.kind == CHAN_EV_CLOSE) {
            chan_close(r->client, CHAN_DIRECT);
            r->client_closed = true;
        }
        if (r->stream && chan_forward(r->guest->chan, r->stream, &ev, NULL) < 0)
            return false;
    }
    return !r->client_closed;
}

static void relay_turn(struct relay *r)
{
    struct guest *g = r->guest;
    if (!relay_take(r) || !relay_flush(r))
        relay_free(r);
    guest_turn(g);
}

static int on_client(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    struct relay *r = arg;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        size_t room;
        void *p = chan_room(r->client, &room);
        ssize_t n = read(fd, p, room);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            struct guest *g = r->guest;
            relay_free(r);
            guest_turn(g);
            return 0;
        }
        if (n > 0)
            chan_added(r->client, n);
    }
    relay_turn(r);
    return 0;
}

void guest_relay(struct vm *vm, struct rpc_call *call, json_t *request)
{
    AUTO_JSON own = request;
    struct err err;
    if (!guest_is_up(vm)) {
        err_set(&err, E_STATE, "the guest of VM '%s' does not answer (it is %s)",
                vm->name, state_name(vm->state));
        rpc_call_fail(call, &err);
        return;
    }
    struct guest *g = vm->guest;
    struct relay *r = relay_new(g, &err);
    if (!r) {
        rpc_call_fail(call, &err);
        return;
    }
    struct chan_config config = {.role = CHAN_GUEST, .direct = true, .user = r};
    if (!own || chan_new(&config, &r->client, &err) < 0 || (vm->agent->busy++, false) ||
        chan_open(g->chan, json_incref(own), r, &r->stream, &err) < 0) {
        rpc_call_fail(call, &err);
        relay_free(r);
        return;
    }
    char *rest = NULL;
    size_t rest_len = 0;
    r->fd = rpc_call_upgrade(call, NULL, &rest, &rest_len);
    for (size_t at = 0; r->fd >= 0 && at < rest_len;) {
        size_t room;
        void *p = chan_room(r->client, &room);
        size_t part = rest_len - at < room ? rest_len - at : room;
        memcpy(p, rest + at, part);
        chan_added(r->client, part);
        at += part;
        if (at < rest_len && !relay_take(r))
            break;
    }
    free(rest);
    if (r->fd < 0 ||
        sd_event_add_io(vm->agent->event, &r->io, r->fd, EPOLLIN, on_client, r) < 0) {
        relay_free(r);
        guest_turn(g);
        return;
    }
    relay_turn(r);
}

/* --- the agent's own requests ---------------------------------------------------- */

static bool own_request(struct guest *g, json_t *request, bool is_identity)
{
    AUTO_JSON own = request;
    struct err err;
    struct relay *r = own ? relay_new(g, &err) : NULL;
    if (!r)
        return false;
    r->is_identity = is_identity;
    if (chan_open(g->chan, json_incref(own), r, &r->stream, &err) < 0) {
        log_debug(NULL, "guest of '%s': %s", g->vm->name, err.text);
        relay_free(r);
        return false;
    }
    return true;
}

/* True: the VM went away under us. */
static bool own_event(struct relay *r, const struct chan_event *ev)
{
    struct guest *g = r->guest;
    struct vm *vm = g->vm;
    struct err why;
    AUTO_JSON message = NULL;
    if (ev->kind == CHAN_EV_DATA)
        chan_consumed(g->chan, r->stream, ev->flow, ev->len);
    if (ev->kind == CHAN_EV_CLOSE || ev->kind == CHAN_EV_GONE) {
        if (ev->kind == CHAN_EV_GONE)
            r->stream = 0;
        relay_free(r);
        return false;
    }
    if (ev->kind == CHAN_EV_MSG && r->told) {
        guest_told_f told = r->told;
        r->told = NULL;
        bool good =
            chan_parse(ev, &message, &why) == 0 && identity_answer(message, &why) == 0;
        told(r->arg, good ? NULL : &why);
        return false;
    }
    if (ev->kind != CHAN_EV_MSG || !r->is_identity)
        return false;
    if (chan_parse(ev, &message, &why) < 0 || identity_answer(message, &why) < 0) {
        err_at(&why, "the guest refused its identity");
        life_fail(vm, &why);
        return true;
    }
    g->ready = true;
    life_guest_up(vm);
    return false;
}

/* --- the channel ------------------------------------------------------------------ */

/* False: g is gone. */
static bool guest_event(struct guest *g, const struct chan_event *ev)
{
    struct relay *r = ev->user;
    switch (ev->kind) {
    case CHAN_EV_UP: {
        struct log_ctx ctx = {.job = g->vm->job, .vm = g->vm->name};
        log_debug(&ctx, "the guest is there");
        own_request(g, identity_request(g->vm), true);
        return true;
    }
    case CHAN_EV_LOST:
        log_debug(NULL, "guest of '%s' lost: %.*s", g->vm->name, (int)ev->len,
                  ev->data ? ev->data : "");
        g->ready = false;
        return true;
    default:
        break;
    }
    if (!r)
        return true;
    if (!r->client)
        return !own_event(r, ev);
    if (ev->kind == CHAN_EV_GONE)
        relay_lost(r);
    else if (chan_forward(r->client, CHAN_DIRECT, ev, NULL) < 0) {
        relay_free(r);
        return true;
    }
    if (ev->kind == CHAN_EV_CLOSE)
        chan_close(g->chan, r->stream);
    if (ev->kind == CHAN_EV_CLOSE || ev->kind == CHAN_EV_GONE)
        r->stream = 0;
    if (!relay_flush(r))
        relay_free(r);
    return true;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *arg);

static void set_timer(struct guest *g, int ms)
{
    g->timer = sd_event_source_disable_unref(g->timer);
    if (ms >= 0)
        sd_event_add_time_relative(g->vm->agent->event, &g->timer, CLOCK_MONOTONIC,
                                   ms * 1000ull, 1000, on_timer, g);
}

static void transport_lost(struct guest *g)
{
    g->io = sd_event_source_disable_unref(g->io);
    if (g->fd >= 0)
        close(g->fd);
    g->fd = -1;
    chan_reset(g->chan);
    g->wait_ms = g->wait_ms ? g->wait_ms * 2 : RECONNECT_MIN_MS;
    if (g->wait_ms > RECONNECT_MAX_MS)
        g->wait_ms = RECONNECT_MAX_MS;
}

/* Handle what came, write what is to be written, set the next alarm. */
static void guest_turn(struct guest *g)
{
    struct chan_event ev;
    if (g->turning)
        return;
    g->turning = true;
    while (chan_next(g->chan, &ev))
        if (!guest_event(g, &ev))
            return;
    g->turning = false;
    size_t len;
    const void *p;
    while (g->fd >= 0 && (p = chan_output(g->chan, &len)) && len) {
        ssize_t n = write(g->fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            transport_lost(g);
            guest_turn(g);
            return;
        }
        chan_output_done(g->chan, n);
    }
    if (g->fd < 0) {
        set_timer(g, g->wait_ms);
        return;
    }
    size_t left = chan_output_len(g->chan);
    sd_event_source_set_io_events(g->io, EPOLLIN | (left ? EPOLLOUT : 0));
    set_timer(g, chan_timeout(g->chan, clock_ms()));
    /* Clients that were held back may go on. */
    struct relay *r;
    if (left < CHAN_OUTPUT_HIGH)
        list_each (r, &g->relays, in)
            if (r->client && r->io)
                sd_event_source_set_io_events(
                    r->io, EPOLLIN | (chan_output_len(r->client) ? EPOLLOUT : 0));
}

static int on_guest(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    struct guest *g = arg;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        size_t room;
        void *p = chan_room(g->chan, &room);
        ssize_t n = read(fd, p, room);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            transport_lost(g);
        } else if (n > 0) {
            g->wait_ms = 0;
            chan_added(g->chan, n);
        }
    }
    guest_turn(g);
    return 0;
}

static void guest_connect(struct guest *g)
{
    const char *path = json_string_value(json_object_get(g->vm->vt, "guest"));
    struct err err;
    int fd = path ? sock_open(path, &err) : -1;
    if (fd >= 0 &&
        sd_event_add_io(g->vm->agent->event, &g->io, fd, EPOLLIN, on_guest, g) < 0) {
        close(fd);
        fd = -1;
    }
    if (fd < 0) {
        g->wait_ms = g->wait_ms ? g->wait_ms * 2 : RECONNECT_MIN_MS;
        if (g->wait_ms > RECONNECT_MAX_MS)
            g->wait_ms = RECONNECT_MAX_MS;
        return;
    }
    g->fd = fd;
    chan_reset(g->chan);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
    struct guest *g = arg;
    if (g->fd < 0)
        guest_connect(g);
    else
        chan_tick(g->chan, clock_ms());
    guest_turn(g);
    return 0;
}

static int on_late(sd_event_source *source, uint64_t usec, void *arg)
{
    struct guest *g = arg;
    g->young = sd_event_source_disable_unref(g->young);
    life_notify(g->vm);
    return 0;
}

void guest_open(struct vm *vm)
{
    if (vm->guest)
        return;
    struct err err;
    struct guest *g = calloc(1, sizeof *g);
    struct chan_config config = {.role = CHAN_HOST};
    if (!g || chan_new(&config, &g->chan, &err) < 0) {
        free(g);
        err_oom(&err);
        life_fail(vm, &err);
        return;
    }
    g->vm = vm;
    g->fd = -1;
    sd_event_add_time_relative(vm->agent->event, &g->young, CLOCK_MONOTONIC,
                               MAY_COME_MS * 1000ull, 0, on_late, g);
    list_init(&g->relays);
    vm->guest = g;
    guest_connect(g);
    guest_turn(g);
}

void guest_close(struct vm *vm)
{
    struct guest *g = vm->guest;
    if (!g)
        return;
    vm->guest = NULL;
    struct relay *r, *next;
    list_each_safe (r, next, &g->relays, in) {
        if (r->client && r->stream) {
            /* The client hears that its stream is gone before the line drops. */
            relay_lost(r);
            r->stream = 0;
            if (r->io)
                relay_flush(r);
        }
        relay_free(r);
    }
    sd_event_source_disable_unref(g->io);
    sd_event_source_disable_unref(g->timer);
    sd_event_source_disable_unref(g->young);
    if (g->fd >= 0)
        close(g->fd);
    chan_free(g->chan);
    free(g);
}

bool guest_is_up(const struct vm *vm)
{
    return vm->guest && vm->guest->ready && chan_state(vm->guest->chan) == CHAN_UP;
}

bool guest_may_come(const struct vm *vm)
{
    return vm->guest && !guest_is_up(vm) && vm->guest->young;
}

int guest_ask(struct vm *vm, json_t *request, guest_told_f told, void *arg,
              struct err *err)
{
    AUTO_JSON own = request;
    if (!own)
        return err_oom(err);
    if (!guest_is_up(vm))
        return err_set(err, E_STATE, "the guest of VM '%s' does not answer (it is %s)",
                       vm->name, state_name(vm->state));
    struct guest *g = vm->guest;
    struct relay *r = relay_new(g, err);
    if (!r)
        return -1;
    if (chan_open(g->chan, json_incref(own), r, &r->stream, err) < 0) {
        relay_free(r);
        return -1;
    }
    r->told = told;
    r->arg = arg;
    guest_turn(g);
    return 0;
}

void guest_set_clock(struct vm *vm)
{
    json_t *request = guest_is_up(vm) ? identity_clock(vm) : NULL;
    if (request && own_request(vm->guest, request, false))
        guest_turn(vm->guest);
}

bool guest_shutdown(struct vm *vm)
{
    if (!guest_is_up(vm) || !own_request(vm->guest, identity_shutdown(), false))
        return false;
    guest_turn(vm->guest);
    return true;
}
