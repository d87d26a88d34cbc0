/* SPDX-License-Identifier: Apache-2.0 */
/* The controller's connections to nodes; see the header. */
#include "controller/hub.h"

#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/str.h"
#include "controller/relay.h"
#include "proto/rpc.h"

struct hub {
    sd_event *event;
    struct hub_hooks hooks;
    void *arg;
    struct list nodes;
};

struct node {
    struct list in;
    struct hub *hub;
    char *name;
    json_t *spec;
    struct link *link;
    struct list relays;
    json_t *room;
    bool asking, stale; /* for the room; it changed since it was asked for */
};

struct hub_stream {
    struct list in; /* node->relays */
    struct relay *relay;
};

static void node_free(struct node *n)
{
    if (!n)
        return;
    list_remove(&n->in);
    struct hub_stream *s, *next;
    list_each_safe (s, next, &n->relays, in) {
        list_remove(&s->in);
        relay_stop(s->relay);
        free(s);
    }
    link_free(n->link);
    json_decref(n->spec);
    json_decref(n->room);
    free(n->name);
    free(n);
}
OWN_DEFINE(node)

static struct node *find(const struct hub *h, const char *name)
{
    struct node *n;
    list_each (n, &h->nodes, in)
        if (!strcmp(n->name, name))
            return n;
    return NULL;
}

int hub_new(sd_event *event, const struct hub_hooks *hooks, void *arg, struct hub **out,
            struct err *err)
{
    struct hub *h = calloc(1, sizeof *h);
    if (!h)
        return err_oom(err);
    *h = (struct hub){.event = sd_event_ref(event), .hooks = *hooks, .arg = arg};
    list_init(&h->nodes);
    *out = h;
    return 0;
}

void hub_free(struct hub *h)
{
    if (!h)
        return;
    struct node *n, *next;
    list_each_safe (n, next, &h->nodes, in)
        node_free(n);
    sd_event_unref(h->event);
    free(h);
}

static void ask_room(struct node *n);

static void on_room(json_t *result, const struct err *why, void *arg)
{
    struct node *n = arg;
    n->asking = false;
    if (why)
        return;
    json_decref(n->room);
    n->room = json_incref(json_object_get(result, "room"));
    if (n->stale)
        ask_room(n);
}

static void ask_room(struct node *n)
{
    n->stale = n->asking;
    if (!n->asking && n->link)
        n->asking =
            link_call(n->link, "agent.info", NULL, 10000, on_room, n, NULL) == 0;
}

static void on_state(enum link_state state, const struct err *why, void *arg)
{
    struct node *n = arg;
    if (state == LINK_UP)
        ask_room(n);
    if (n->hub->hooks.state)
        n->hub->hooks.state(n->name, state, why, n->hub->arg);
}

static void on_event(const char *event, json_t *data, void *arg)
{
    struct node *n = arg;
    if (str_starts(event, "vm."))
        ask_room(n);
    if (n->hub->hooks.event)
        n->hub->hooks.event(n->name, event, data, n->hub->arg);
}

int hub_put(struct hub *h, const char *name, json_t *spec, struct err *err)
{
    static const struct link_hooks hooks = {.state = on_state, .event = on_event};
    struct hub_spec parsed;
    struct node *old = find(h, name);
    if (old && json_equal(old->spec, spec))
        return 0;
    if (hub_spec_parse(spec, &parsed, err) < 0)
        return err_at(err, "node '%s'", name);
    AUTO(node) n = calloc(1, sizeof *n);
    int r = 0;
    if (!n) {
        r = err_oom(err);
    } else {
        list_init(&n->in);
        list_init(&n->relays);
        n->hub = h;
        n->spec = json_deep_copy(spec);
        if (!(n->name = strdup(name)) || !n->spec)
            r = err_oom(err);
        else
            r = link_new(h->event, name, &parsed.to, NULL, &hooks, n, &n->link, err);
    }
    hub_spec_done(&parsed);
    if (r < 0)
        return r;
    node_free(old);
    list_add(&h->nodes, &n->in);
    move(n);
    return 0;
}

void hub_drop(struct hub *h, const char *name)
{
    node_free(find(h, name));
}

json_t *hub_room(const struct hub *h, const char *name)
{
    struct node *n = find(h, name);
    return n ? n->room : NULL;
}

void hub_keep(struct hub *h, const json_t *rows)
{
    struct node *n, *next;
    list_each_safe (n, next, &h->nodes, in) {
        bool kept = false;
        size_t i;
        json_t *row;
        json_array_foreach (rows, i, row)
            kept |= !strcmp(json_string_value(json_object_get(row, "name")), n->name);
        if (!kept)
            node_free(n);
    }
}

struct link *hub_link(const struct hub *h, const char *name)
{
    struct node *n = find(h, name);
    return n ? n->link : NULL;
}

json_t *hub_status(const struct hub *h, const char *name)
{
    static const char *const states[] = {
        [LINK_DOWN] = "down", [LINK_CONNECTING] = "connecting", [LINK_UP] = "up"};
    struct link *l = hub_link(h, name);
    if (!l)
        return NULL;
    enum link_state state = link_state(l);
    const char *why = state == LINK_UP ? "" : link_why(l);
    return json_pack("{s:s, s:s, s:o}", "link", states[state], "why", why, "heard",
                     link_heard_ms(l) ? json_integer(link_heard_ms(l)) : json_null());
}

static int no_node(const char *node, struct err *err)
{
    return err_set(err, E_NOENT, "no node '%s'; see 'lodge node list'", node);
}

int hub_call(struct hub *h, const char *node, const char *method, json_t *params,
             unsigned timeout_ms, link_done_f done, void *arg, struct err *err)
{
    struct link *l = hub_link(h, node);
    if (l)
        return link_call(l, method, params, timeout_ms, done, arg, err);
    json_decref(params);
    return no_node(node, err);
}

static void on_relay_ended(void *arg)
{
    struct hub_stream *s = arg;
    list_remove(&s->in);
    free(s);
}

int hub_relay(struct hub *h, const char *node, int fd, uid_t uid, gid_t gid,
              const void *rest, size_t rest_len, struct err *err)
{
    AUTO_FD own = fd;
    struct node *n = find(h, node);
    if (!n)
        return no_node(node, err);
    if (link_state(n->link) != LINK_UP)
        return err_set(err, E_HOST, "node '%s' is not connected: %s", node,
                       link_why(n->link));
    struct hub_spec parsed;
    if (hub_spec_parse(n->spec, &parsed, err) < 0)
        return -1;
    parsed.to.over = link_transport(n->link);
    struct hub_stream *s = calloc(1, sizeof *s);
    if (!s) {
        hub_spec_done(&parsed);
        return err_oom(err);
    }
    list_init(&s->in);
    int r = relay_start(h->event, move_fd(own), &parsed.to, uid, gid, rest, rest_len,
                        on_relay_ended, s, &s->relay, err);
    hub_spec_done(&parsed);
    if (r < 0) {
        free(s);
        return -1;
    }
    list_add(&n->relays, &s->in);
    return 0;
}
