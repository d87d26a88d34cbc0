/* SPDX-License-Identifier: Apache-2.0 */
/* A relay between a client and a node's agent; see the header. Each direction holds at
 * most RELAY_MAX bytes, then its source is not read. */
#include "controller/relay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/log.h"
#include "proto/rpc.h"

enum { RELAY_MAX = 1 << 18 };

struct relay {
    int fd;
    sd_event_source *io;
    struct transport *node;
    struct str_buf to_client;
    size_t at; /* sent of to_client */
    bool client_ended, node_ended, node_paused;
    void (*ended)(void *arg);
    void *arg;
};

void relay_stop(struct relay *r)
{
    if (!r)
        return;
    transport_close(r->node);
    sd_event_source_disable_unref(r->io);
    close(r->fd);
    str_buf_done(&r->to_client);
    free(r);
}

static void finish(struct relay *r)
{
    void (*ended)(void *) = r->ended;
    void *arg = r->arg;
    relay_stop(r);
    if (ended)
        ended(arg);
}

static size_t waiting(const struct relay *r)
{
    return r->to_client.len - r->at;
}

static void update(struct relay *r)
{
    uint32_t events = 0;
    if (!r->client_ended && transport_pending(r->node) < RELAY_MAX)
        events |= EPOLLIN;
    if (waiting(r))
        events |= EPOLLOUT;
    sd_event_source_set_io_events(r->io, events);
    bool pause = waiting(r) >= RELAY_MAX;
    if (pause != r->node_paused && !r->node_ended) {
        r->node_paused = pause;
        transport_pause(r->node, pause);
    }
}

/* False: the client is gone. */
static bool flush_client(struct relay *r)
{
    ssize_t n = fd_send_some(r->fd, r->to_client.data + r->at, waiting(r));
    if (n > 0)
        r->at += n;
    str_buf_compact(&r->to_client, &r->at);
    return n >= 0;
}

static int on_client(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    struct relay *r = arg;
    char part[32768];
    if (!flush_client(r) || (r->node_ended && !waiting(r))) {
        finish(r);
        return 0;
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        ssize_t n = recv(fd, part, sizeof part, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) ||
            (n > 0 && transport_send(r->node, part, n, NULL) < 0 && !r->node_ended)) {
            finish(r);
            return 0;
        }
    }
    update(r);
    return 0;
}

static void on_up(void *arg)
{
}

static void on_data(const void *data, size_t len, void *arg)
{
    struct relay *r = arg;
    str_buf_add(&r->to_client, data, len);
    if (r->to_client.failed || !flush_client(r))
        finish(r);
    else
        update(r);
}

static void on_down(const struct err *why, void *arg)
{
    struct relay *r = arg;
    log_debug(NULL, "relay: %s", why->text);
    r->node_ended = true;
    if (!waiting(r))
        finish(r);
    else
        update(r);
}

static void on_drained(void *arg)
{
    struct relay *r = arg;
    if (r->node)
        update(r);
}

static int greet(struct relay *r, uid_t uid, gid_t gid, const void *rest,
                 size_t rest_len, struct err *err)
{
    if (uid != 0) {
        AUTO_JSON as = rpc_request(
            "as", "session.as",
            json_pack("{s:I, s:I}", "uid", (json_int_t)uid, "gid", (json_int_t)gid));
        AUTO_STR line = NULL;
        size_t len;
        if (!as)
            return err_oom(err);
        if (rpc_encode(as, &line, &len, err) < 0 ||
            transport_send(r->node, line, len, err) < 0)
            return -1;
    }
    return rest_len ? transport_send(r->node, rest, rest_len, err) : 0;
}

int relay_start(sd_event *event, int fd, const struct transport_spec *spec, uid_t uid,
                gid_t gid, const void *rest, size_t rest_len, void (*ended)(void *arg),
                void *arg, struct relay **out, struct err *err)
{
    static const struct transport_callbacks callbacks = {on_up, on_data, on_down,
                                                         on_drained};
    struct relay *r = calloc(1, sizeof *r);
    if (!r) {
        close(fd);
        return err_oom(err);
    }
    *r = (struct relay){.fd = fd, .ended = ended, .arg = arg};
    int e = sd_event_add_io(event, &r->io, fd, EPOLLIN, on_client, r);
    if (e < 0)
        errno = -e, e = err_sys(err, "event");
    else
        e = transport_open(event, spec, &callbacks, r, &r->node, err);
    if (e == 0)
        e = greet(r, uid, gid, rest, rest_len, err);
    if (e < 0) {
        relay_stop(r);
        return -1;
    }
    *out = r;
    return 0;
}
