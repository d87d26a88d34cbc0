/* SPDX-License-Identifier: Apache-2.0 */
/* A lasting connection to an agent; see the header. States: DOWN waits for the retry
 * timer, CONNECTING for the transport and the agent's hello, UP has a heartbeat. */
#include "transport/link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/list.h"
#include "proto/rpc.h"

enum { PROGRESS_BYTES = 16384 }; /* less than that in a heartbeat is nothing */

struct call {
    struct list in;
    char id[24];
    link_done_f done;
    void *arg;
    uint64_t deadline; /* clock_ms(), 0: none */
};

struct link {
    sd_event *event;
    char *name;
    /* A copy of the spec with its strings. */
    struct transport_spec spec;
    char **argv;
    struct link_times times;
    struct link_hooks hooks;
    void *arg;
    enum link_state state;
    struct transport *transport;
    struct rpc_lines lines;
    sd_event_source *timer; /* retry, connect deadline, or heartbeat: one at a time */
    sd_event_source *expiry;
    struct list calls;
    unsigned long next_id;
    unsigned backoff;
    bool pinged;   /* since the last byte heard */
    uint64_t sent; /* transport_progress() at the last ping */
    uint64_t heard_ms;
    char why[256];
};

static void arm(struct link *l, unsigned ms)
{
    sd_event_source_set_time_relative(l->timer, (uint64_t)ms * 1000);
    sd_event_source_set_enabled(l->timer, SD_EVENT_ONESHOT);
}

static void fail_calls(struct link *l, enum err_code code, const char *why)
{
    struct err err;
    err_set(&err, code, "%s: %s", l->name, why);
    while (!list_is_empty(&l->calls)) {
        struct call *c = list_entry(l->calls.next, struct call, in);
        list_remove(&c->in);
        c->done(NULL, &err, c->arg);
        free(c);
    }
}

static void change(struct link *l, enum link_state state, const struct err *why)
{
    bool told = l->state != state;
    l->state = state;
    if (told && l->hooks.state && state != LINK_CONNECTING)
        l->hooks.state(state, why, l->arg);
}

/* Between half and all of the back-off, so that a thousand nodes do not come at once.
 */
static unsigned jitter(unsigned ms)
{
    unsigned r = 0;
    if (getrandom(&r, sizeof r, GRND_NONBLOCK) < 0)
        r = (unsigned)clock_us();
    return ms / 2 + r % (ms / 2 + 1);
}

static void go_down(struct link *l, const struct err *why)
{
    transport_close(l->transport);
    l->transport = NULL;
    rpc_lines_done(&l->lines);
    snprintf(l->why, sizeof l->why, "%s", why->text);
    /* A hook or a callback may ask again: it must find the link down. */
    enum link_state was = l->state;
    l->state = LINK_DOWN;
    arm(l, jitter(l->backoff));
    l->backoff =
        l->backoff * 2 < l->times.backoff_max ? l->backoff * 2 : l->times.backoff_max;
    fail_calls(l, E_HOST, why->text);
    if (l->hooks.state && was != LINK_DOWN)
        l->hooks.state(LINK_DOWN, why, l->arg);
}

static void go_down_text(struct link *l, enum err_code code, const char *text)
{
    struct err err;
    err_set(&err, code, "%s", text);
    go_down(l, &err);
}

static void answer(struct link *l, const char *id, json_t *message)
{
    struct call *c;
    list_each (c, &l->calls, in)
        if (!strcmp(c->id, id)) {
            struct err err;
            bool bad = rpc_error_of(message, &err) < 0;
            list_remove(&c->in);
            c->done(json_object_get(message, "result"), bad ? &err : NULL, c->arg);
            free(c);
            return;
        }
}

static void message(struct link *l, json_t *m)
{
    const char *id = json_string_value(json_object_get(m, "id"));
    const char *event = json_string_value(json_object_get(m, "event"));
    int protocol;
    if (event && l->hooks.event) {
        l->hooks.event(event, json_object_get(m, "data"), l->arg);
    } else if (id && !json_object_get(m, "progress")) {
        answer(l, id, m);
    } else if (json_unpack(m, "{s:{s:i}}", "hello", "protocol", &protocol) == 0) {
        if (protocol != RPC_PROTOCOL) {
            go_down_text(l, E_PROTO, "the agent speaks another protocol: upgrade it");
            return;
        }
        l->backoff = l->times.backoff_min;
        arm(l, l->times.heartbeat);
        link_call(l, "events.subscribe", NULL, 0, NULL, NULL, NULL);
        change(l, LINK_UP, NULL);
    }
}

static void on_up(void *arg)
{
}

static void on_data(const void *data, size_t len, void *arg)
{
    struct link *l = arg;
    l->heard_ms = clock_wall_ms();
    l->pinged = false;
    char *room = rpc_lines_room(&l->lines, len);
    if (!room) {
        go_down_text(l, E_PROTO, "the agent sent a message that is too long");
        return;
    }
    memcpy(room, data, len);
    rpc_lines_added(&l->lines, len);
    while (l->transport) {
        AUTO_JSON m = NULL;
        struct err err;
        int r = rpc_lines_next(&l->lines, &m, &err);
        if (r == 0)
            return;
        if (r < 0)
            go_down(l, &err);
        else
            message(l, m);
    }
}

static void on_down(const struct err *why, void *arg)
{
    go_down(arg, why);
}

static void connect_now(struct link *l)
{
    static const struct transport_callbacks callbacks = {on_up, on_data, on_down};
    struct err err;
    l->state = LINK_CONNECTING;
    l->pinged = false;
    arm(l, l->times.connect);
    if (transport_open(l->event, &l->spec, &callbacks, l, &l->transport, &err) < 0)
        go_down(l, &err);
}

static void on_pong(json_t *result, const struct err *err, void *arg)
{
}

static int on_timer(sd_event_source *source, uint64_t now, void *arg)
{
    struct link *l = arg;
    switch (l->state) {
    case LINK_DOWN:
        connect_now(l);
        break;
    case LINK_CONNECTING:
        go_down_text(l, E_TIMEOUT, "no answer in time");
        break;
    case LINK_UP:
        /* The ping may stand behind much else: as long as that goes out, it lives. */
        if (l->pinged && transport_progress(l->transport) - l->sent < PROGRESS_BYTES) {
            go_down_text(l, E_TIMEOUT, "the agent went silent");
            break;
        }
        arm(l, l->times.heartbeat);
        if (!l->pinged)
            link_call(l, "ping", NULL, 0, on_pong, NULL, NULL);
        l->pinged = true;
        l->sent = transport_progress(l->transport);
        break;
    }
    return 0;
}

static void rearm_expiry(struct link *l)
{
    uint64_t first = 0;
    struct call *c;
    list_each (c, &l->calls, in)
        if (c->deadline && (!first || c->deadline < first))
            first = c->deadline;
    if (first)
        sd_event_source_set_time(l->expiry, first * 1000);
    sd_event_source_set_enabled(l->expiry, first ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

static int on_expiry(sd_event_source *source, uint64_t now, void *arg)
{
    struct link *l = arg;
    struct err err;
    struct list late;
    struct call *c, *next;
    list_init(&late);
    list_each_safe (c, next, &l->calls, in)
        if (c->deadline && c->deadline <= clock_ms()) {
            list_remove(&c->in);
            list_add(&late, &c->in);
        }
    err_set(&err, E_TIMEOUT, "%s: no answer in time", l->name);
    while (!list_is_empty(&late)) {
        c = list_entry(late.next, struct call, in);
        list_remove(&c->in);
        c->done(NULL, &err, c->arg);
        free(c);
    }
    rearm_expiry(l);
    return 0;
}

int link_call(struct link *l, const char *method, json_t *params, unsigned timeout_ms,
              link_done_f done, void *arg, struct err *err)
{
    AUTO_JSON own = params;
    if (!l->transport)
        return err_set(err, E_HOST, "%s: not connected%s%s", l->name,
                       *l->why ? ": " : "", l->why);
    struct call *c = calloc(1, sizeof *c);
    if (!c)
        return err_oom(err);
    snprintf(c->id, sizeof c->id, "%lu", ++l->next_id);
    AUTO_JSON request = rpc_request(c->id, method, own ? json_incref(own) : NULL);
    AUTO_STR line = NULL;
    size_t len;
    int r = request ? rpc_encode(request, &line, &len, err) : err_oom(err);
    if (r == 0)
        r = transport_send(l->transport, line, len, err);
    if (r < 0) {
        free(c);
        return err_at(err, "%s", l->name);
    }
    c->done = done ? done : on_pong;
    c->arg = arg;
    c->deadline = timeout_ms ? clock_ms() + timeout_ms : 0;
    list_add(&l->calls, &c->in);
    if (timeout_ms)
        rearm_expiry(l);
    return 0;
}

static bool copy(const char **to, const char *from)
{
    *to = from ? strdup(from) : NULL;
    return !from || *to;
}

static bool copy_argv(struct link *l, const char *const *argv)
{
    size_t n = 0;
    while (argv && argv[n])
        n++;
    if (!(l->argv = calloc(n + 1, sizeof *l->argv)))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!(l->argv[i] = strdup(argv[i])))
            return false;
    l->spec.argv = argv ? (const char *const *)l->argv : NULL;
    return true;
}

static bool copy_spec(struct link *l, const struct transport_spec *from)
{
    l->spec.port = from->port;
    return copy(&l->spec.kind, from->kind) && copy(&l->spec.host, from->host) &&
           copy(&l->spec.user, from->user) && copy(&l->spec.identity, from->identity) &&
           copy(&l->spec.known_hosts, from->known_hosts) &&
           copy(&l->spec.subsystem, from->subsystem) &&
           copy(&l->spec.path, from->path) && copy_argv(l, from->argv);
}

static unsigned or_usual(unsigned given, unsigned usual)
{
    return given ? given : usual;
}

int link_new(sd_event *event, const char *name, const struct transport_spec *spec,
             const struct link_times *times, const struct link_hooks *hooks, void *arg,
             struct link **out, struct err *err)
{
    static const struct link_times none = {0};
    const struct link_times *t = times ? times : &none;
    AUTO(link) l = calloc(1, sizeof *l);
    if (!l)
        return err_oom(err);
    list_init(&l->calls);
    l->event = sd_event_ref(event);
    l->hooks = *hooks;
    l->arg = arg;
    l->times = (struct link_times){.connect = or_usual(t->connect, 20000),
                                   .heartbeat = or_usual(t->heartbeat, 4000),
                                   .backoff_min = or_usual(t->backoff_min, 500),
                                   .backoff_max = or_usual(t->backoff_max, 30000)};
    l->backoff = l->times.backoff_min;
    if (!(l->name = strdup(name)) || !copy_spec(l, spec))
        return err_oom(err);
    int r = sd_event_add_time_relative(event, &l->timer, CLOCK_MONOTONIC, 0, 1000,
                                       on_timer, l);
    if (r >= 0)
        r = sd_event_add_time(event, &l->expiry, CLOCK_MONOTONIC, 0, 1000, on_expiry,
                              l);
    if (r < 0) {
        errno = -r;
        return err_sys(err, "event");
    }
    sd_event_source_set_enabled(l->expiry, SD_EVENT_OFF);
    *out = move(l);
    return 0;
}

void link_free(struct link *l)
{
    if (!l)
        return;
    l->hooks = (struct link_hooks){0};
    transport_close(l->transport);
    l->transport = NULL;
    fail_calls(l, E_CANCELLED, "the connection was given up");
    sd_event_source_disable_unref(l->timer);
    sd_event_source_disable_unref(l->expiry);
    rpc_lines_done(&l->lines);
    free((char *)l->spec.kind);
    free((char *)l->spec.host);
    free((char *)l->spec.user);
    free((char *)l->spec.identity);
    free((char *)l->spec.known_hosts);
    free((char *)l->spec.subsystem);
    free((char *)l->spec.path);
    for (char **a = l->argv; a && *a; a++)
        free(*a);
    free(l->argv);
    free(l->name);
    sd_event_unref(l->event);
    free(l);
}

const struct transport *link_transport(const struct link *l)
{
    return l->state == LINK_UP ? l->transport : NULL;
}

enum link_state link_state(const struct link *l)
{
    return l->state;
}

const char *link_why(const struct link *l)
{
    return l->why;
}

uint64_t link_heard_ms(const struct link *l)
{
    return l->heard_ms;
}

void link_kick(struct link *l)
{
    if (l->transport)
        go_down_text(l, E_CANCELLED, "connecting anew");
    l->backoff = l->times.backoff_min;
    arm(l, 0);
}
