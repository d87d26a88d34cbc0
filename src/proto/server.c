/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON-lines server; see the header. A connection lives as long as its socket or
 * its last unanswered call; a closed one only waits for those answers. */
#include "proto/server.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "base/str.h"

enum { OUT_MAX = 8 << 20, CALLS_MAX = 64, FDS_MAX = 16 };
enum { CONNS_MAX = 256, FDS_ROOT = 128 }; /* of one user; kept for root */

struct rpc_server {
    sd_event *event;
    sd_event_source *listen;
    int listen_fd;
    const char *program;
    const struct rpc_method *methods;
    void *arg;
    struct list conns;
};

struct rpc_conn {
    struct list in; /* server->conns */
    struct rpc_server *server;
    int fd; /* -1: gone */
    sd_event_source *io;
    uid_t uid;
    gid_t gid;
    pid_t pid;
    struct rpc_lines lines;
    struct str_buf out;
    size_t out_at;
    bool subscribed;
    int fds[FDS_MAX]; /* received, not yet taken by a call */
    size_t nfds;
    struct list calls;
    size_t ncalls;
};

struct rpc_call {
    struct list in; /* conn->calls */
    struct rpc_conn *conn;
    char *id, *method;
    int fds[FDS_MAX];
    size_t nfds, fd_at;
    void (*gone)(struct rpc_call *c, void *arg);
    void *gone_arg;
};

static void conn_maybe_free(struct rpc_conn *c)
{
    if (c->fd >= 0 || c->ncalls)
        return;
    list_remove(&c->in);
    rpc_lines_done(&c->lines);
    str_buf_done(&c->out);
    free(c);
}

static void conn_close(struct rpc_conn *c)
{
    if (c->fd < 0)
        return;
    sd_event_source_disable_unref(c->io);
    close(c->fd);
    c->fd = -1;
    for (size_t i = 0; i < c->nfds; i++)
        close(c->fds[i]);
    c->nfds = 0;
    c->ncalls++; /* hold on while the callbacks run */
    struct rpc_call *call, *next;
    list_each_safe (call, next, &c->calls, in)
        if (call->gone) {
            void (*gone)(struct rpc_call *, void *) = move(call->gone);
            gone(call, call->gone_arg);
        }
    c->ncalls--;
    conn_maybe_free(c);
}

static void call_free(struct rpc_call *call)
{
    struct rpc_conn *c = call->conn;
    list_remove(&call->in);
    c->ncalls--;
    for (; call->fd_at < call->nfds; call->fd_at++)
        close(call->fds[call->fd_at]);
    free(call->id);
    free(call->method);
    free(call);
    conn_maybe_free(c);
}

/* False: the connection is broken and must be closed (not done here). */
static bool conn_flush(struct rpc_conn *c)
{
    if (c->out_at < c->out.len) {
        ssize_t n =
            fd_send_some(c->fd, c->out.data + c->out_at, c->out.len - c->out_at);
        if (n < 0)
            return false;
        c->out_at += n;
    }
    str_buf_compact(&c->out, &c->out_at);
    sd_event_source_set_io_events(c->io, c->out.len ? EPOLLIN | EPOLLOUT : EPOLLIN);
    return true;
}

/* Steals object. The connection may be gone afterwards only by a later event: a broken
 * one is shut down here and closed when its hang-up is read. */
static void conn_send(struct rpc_conn *c, json_t *object, const int *fds, size_t nfds)
{
    AUTO_JSON own = object;
    AUTO_STR line = NULL;
    size_t len;
    struct err err;
    if (c->fd < 0)
        return;
    if (!own || rpc_encode(own, &line, &len, &err) < 0) {
        log_debug(NULL, "message dropped: %s", own ? err.text : "out of memory");
        shutdown(c->fd, SHUT_RDWR);
        return;
    }
    if (nfds) {
        /* Descriptors go with their line: all before it must be out. */
        if (!conn_flush(c) || c->out.len ||
            fd_send(c->fd, line, len, fds, nfds, &err) < 0)
            shutdown(c->fd, SHUT_RDWR);
        return;
    }
    if (c->out.len - c->out_at + len > OUT_MAX) {
        log_debug(NULL, "client of uid %u does not read: dropped", (unsigned)c->uid);
        shutdown(c->fd, SHUT_RDWR);
        return;
    }
    str_buf_add(&c->out, line, len);
    if (c->out.failed || !conn_flush(c))
        shutdown(c->fd, SHUT_RDWR);
}

static void refuse(struct rpc_conn *c, const char *id, enum err_code code,
                   const char *text)
{
    struct err err;
    err_set(&err, code, "%s", text);
    conn_send(c, rpc_refusal(id, &err), NULL, 0);
}

static const struct rpc_method *find(const struct rpc_server *s, const char *name)
{
    for (const struct rpc_method *m = s->methods; m->name; m++)
        if (!strcmp(m->name, name))
            return m;
    return NULL;
}

static int run_ping(struct rpc_conn *c, json_t *params, struct err *err)
{
    return 0;
}

static int run_subscribe(struct rpc_conn *c, json_t *params, struct err *err)
{
    c->subscribed = true;
    return 0;
}

/* Root may act as somebody else from now on: so the controller tunnels a user's stream.
 */
static int run_as(struct rpc_conn *c, json_t *params, struct err *err)
{
    json_int_t uid, gid;
    if (rpc_unpack(params, err, "session.as", "{s:I, s:I !}", "uid", &uid, "gid",
                   &gid) < 0)
        return -1;
    if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX)
        return err_set(err, E_PROTO, "session.as: not an id");
    if (c->uid != 0)
        return err_set(err, E_PERM, "only root may act as somebody else");
    c->uid = uid;
    c->gid = gid;
    return 0;
}

static const struct {
    const char *name;
    int (*run)(struct rpc_conn *c, json_t *params, struct err *err);
} builtins[] = {
    {"ping", run_ping}, {"events.subscribe", run_subscribe}, {"session.as", run_as}};

static void dispatch(struct rpc_conn *c, json_t *message)
{
    const char *id, *method;
    json_t *params = NULL;
    struct err err;
    if (rpc_unpack(message, &err, "request", "{s:s, s:s, s?o !}", "id", &id, "method",
                   &method, "params", &params) < 0) {
        refuse(c, "", E_PROTO, err.text);
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(builtins); i++)
        if (!strcmp(method, builtins[i].name)) {
            bool fine = builtins[i].run(c, params, &err) == 0;
            conn_send(c, fine ? rpc_answer(id, NULL) : rpc_refusal(id, &err), NULL, 0);
            return;
        }
    const struct rpc_method *m = find(c->server, method);
    if (!m || c->ncalls >= CALLS_MAX) {
        refuse(c, id, m ? E_BUSY : E_PROTO,
               m ? "too many requests at once on one connection" : "no such method");
        return;
    }
    struct rpc_call *call = calloc(1, sizeof *call);
    if (!call || !(call->id = strdup(id)) || !(call->method = strdup(method))) {
        if (call)
            free(call->id);
        free(call);
        refuse(c, id, E_SYS, "out of memory");
        return;
    }
    call->conn = c;
    memcpy(call->fds, c->fds, sizeof call->fds);
    call->nfds = c->nfds;
    c->nfds = 0;
    list_add(&c->calls, &call->in);
    c->ncalls++;
    AUTO_JSON none = params ? json_incref(params) : json_object();
    m->handle(call, none, c->server->arg);
}

static bool conn_read(struct rpc_conn *c)
{
    enum { PART = 16384 };
    char *room = rpc_lines_room(&c->lines, PART);
    if (!room)
        return false;
    int fds[FDS_MAX];
    size_t nfds = FDS_MAX - c->nfds;
    ssize_t n = fd_recv(c->fd, room, PART, fds, &nfds, NULL);
    if (n < 0)
        return errno == EAGAIN;
    memcpy(c->fds + c->nfds, fds, nfds * sizeof *fds);
    c->nfds += nfds;
    if (n == 0)
        return false;
    rpc_lines_added(&c->lines, n);
    return true;
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    struct rpc_conn *c = arg;
    if ((events & EPOLLOUT) && !conn_flush(c)) {
        conn_close(c);
        return 0;
    }
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return 0;
    if (!conn_read(c)) {
        conn_close(c);
        return 0;
    }
    c->ncalls++; /* hold on: a handler may upgrade or close */
    int r = 0;
    while (c->fd >= 0) {
        AUTO_JSON message = NULL;
        struct err err;
        r = rpc_lines_next(&c->lines, &message, &err);
        if (r == 0)
            break;
        if (r < 0) {
            refuse(c, "", E_PROTO, err.text);
            break;
        }
        dispatch(c, message);
    }
    c->ncalls--;
    if (r < 0 && c->fd >= 0)
        conn_close(c);
    else
        conn_maybe_free(c);
    return 0;
}

/* One user's connections take neither all our descriptors nor all our memory (a line under
 * way is up to RPC_LINE_MAX), and the last descriptors are root's, who can then help. What
 * an upgrade took away does not count. */
static int has_room(const struct rpc_server *s, int fd, uid_t uid, struct err *err)
{
    struct rlimit files;
    const struct rpc_conn *c;
    size_t same = 0;
    if (uid == 0 || uid == geteuid())
        return 0;
    list_each (c, &s->conns, in)
        same += c->uid == uid && c->fd >= 0;
    if (same >= CONNS_MAX)
        return err_set(err, E_BUSY, "uid %u has %d connections already; close some",
                       (unsigned)uid, CONNS_MAX);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 &&
        (rlim_t)fd + FDS_ROOT >= files.rlim_cur)
        return err_set(err, E_BUSY, "%s has no descriptors left; try again later",
                       s->program);
    return 0;
}

/* In place of the hello; if it does not fit into the socket, nobody reads it. */
static void turn_away(int fd, const struct err *why)
{
    AUTO_JSON refusal = rpc_refusal("", why);
    AUTO_STR line = NULL;
    size_t len;
    if (refusal && rpc_encode(refusal, &line, &len, NULL) == 0 &&
        send(fd, line, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        log_debug(NULL, "a refused client does not read");
}

int rpc_server_add(struct rpc_server *s, int fd, bool trusted, uid_t uid,
                   struct err *err)
{
    AUTO_FD own = fd;
    struct ucred cred = {.uid = uid, .gid = (gid_t)-1};
    socklen_t len = sizeof cred;
    if (!trusted && getsockopt(own, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return err_sys(err, "peer credentials");
    if (has_room(s, own, cred.uid, err) < 0) {
        turn_away(own, err);
        return -1;
    }
    if (fd_set_nonblock(own, true, err) < 0)
        return -1;
    struct rpc_conn *c = calloc(1, sizeof *c);
    if (!c)
        return err_oom(err);
    *c = (struct rpc_conn){
        .server = s, .fd = own, .uid = cred.uid, .gid = cred.gid, .pid = cred.pid};
    int r = sd_event_add_io(s->event, &c->io, own, EPOLLIN, on_io, c);
    if (r < 0) {
        free(c);
        errno = -r;
        return err_sys(err, "event");
    }
    move_fd(own);
    list_init(&c->calls);
    list_add(&s->conns, &c->in);
    conn_send(c, rpc_hello(s->program), NULL, 0);
    return 0;
}

static int on_listen(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    struct err err;
    int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (conn >= 0 && rpc_server_add(arg, conn, false, 0, &err) < 0) {
        if (err.code == E_BUSY) /* no user fills the log either */
            log_debug(NULL, "connection refused: %s", err.text);
        else
            log_warn(NULL, "connection refused: %s", err.text);
    }
    return 0;
}

int rpc_server_new(sd_event *event, int listen_fd, const char *program,
                   const struct rpc_method *methods, void *arg, struct rpc_server **out,
                   struct err *err)
{
    AUTO(rpc_server) s = calloc(1, sizeof *s);
    if (!s) {
        if (listen_fd >= 0)
            close(listen_fd);
        return err_oom(err);
    }
    *s = (struct rpc_server){.event = sd_event_ref(event),
                             .listen_fd = listen_fd,
                             .program = program,
                             .methods = methods,
                             .arg = arg};
    list_init(&s->conns);
    if (listen_fd >= 0 && fd_set_nonblock(listen_fd, true, err) < 0)
        return -1;
    int r = listen_fd < 0
                ? 0
                : sd_event_add_io(event, &s->listen, listen_fd, EPOLLIN, on_listen, s);
    if (r < 0) {
        errno = -r;
        return err_sys(err, "event");
    }
    *out = move(s);
    return 0;
}

void rpc_server_free(struct rpc_server *s)
{
    if (!s)
        return;
    struct rpc_conn *c, *next;
    list_each_safe (c, next, &s->conns, in) {
        c->ncalls++;
        conn_close(c);
        struct rpc_call *call, *after;
        list_each_safe (call, after, &c->calls, in)
            call_free(call);
        c->ncalls--;
        conn_maybe_free(c);
    }
    sd_event_source_disable_unref(s->listen);
    if (s->listen_fd >= 0)
        close(s->listen_fd);
    sd_event_unref(s->event);
    free(s);
}

size_t rpc_server_emit(struct rpc_server *s, const char *event, json_t *data,
                       bool (*may)(uid_t uid, const json_t *data))
{
    AUTO_JSON message = rpc_event(event, data);
    struct rpc_conn *c, *next;
    size_t heard = 0;
    list_each_safe (c, next, &s->conns, in)
        if (message && c->subscribed && c->fd >= 0 && (!may || may(c->uid, data))) {
            conn_send(c, json_incref(message), NULL, 0);
            heard++;
        }
    return heard;
}

uid_t rpc_call_uid(const struct rpc_call *c)
{
    return c->conn->uid;
}

gid_t rpc_call_gid(const struct rpc_call *c)
{
    return c->conn->gid;
}

pid_t rpc_call_pid(const struct rpc_call *c)
{
    return c->conn->pid;
}

const char *rpc_call_id(const struct rpc_call *c)
{
    return c->id;
}

const char *rpc_call_method(const struct rpc_call *c)
{
    return c->method;
}

int rpc_call_take_fd(struct rpc_call *c)
{
    return c->fd_at < c->nfds ? c->fds[c->fd_at++] : -1;
}

void rpc_call_on_gone(struct rpc_call *c, void (*gone)(struct rpc_call *c, void *arg),
                      void *arg)
{
    c->gone = gone;
    c->gone_arg = arg;
}

void rpc_call_answer(struct rpc_call *c, json_t *result)
{
    rpc_call_answer_fds(c, result, NULL, 0);
}

void rpc_call_answer_fds(struct rpc_call *c, json_t *result, const int *fds,
                         size_t nfds)
{
    conn_send(c->conn, rpc_answer(c->id, result), fds, nfds);
    call_free(c);
}

void rpc_call_fail(struct rpc_call *c, const struct err *why)
{
    conn_send(c->conn, rpc_refusal(c->id, why), NULL, 0);
    call_free(c);
}

void rpc_call_drop(struct rpc_call *c)
{
    struct err why;
    err_set(&why, E_CANCELLED, "the caller went away");
    rpc_call_fail(c, &why);
}

void rpc_call_progress(struct rpc_call *c, json_t *what)
{
    conn_send(c->conn, rpc_progress(c->id, what), NULL, 0);
}

int rpc_call_upgrade(struct rpc_call *call, json_t *result, char **rest,
                     size_t *rest_len)
{
    struct rpc_conn *c = call->conn;
    struct err err;
    AUTO_JSON answer = rpc_answer(call->id, result);
    AUTO_STR line = NULL;
    size_t len = 0;
    *rest = NULL;
    *rest_len = 0;
    int fd = -1;
    if (c->fd >= 0 && answer && rpc_encode(answer, &line, &len, &err) == 0)
        str_buf_add(&c->out, line, len);
    if (line && !c->out.failed && conn_flush(c) && !c->out.len) {
        sd_event_source_disable_unref(c->io);
        c->io = NULL;
        fd = move_fd(c->fd);
        *rest_len = c->lines.len;
        *rest = c->lines.len ? move(c->lines.data) : NULL;
        rpc_lines_done(&c->lines);
    } else if (c->fd >= 0) {
        shutdown(c->fd, SHUT_RDWR);
    }
    call_free(call);
    return fd;
}
