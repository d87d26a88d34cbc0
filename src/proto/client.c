/* SPDX-License-Identifier: Apache-2.0 */
/* The blocking client; see the header. */
#include "proto/client.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/proc.h"
#include "base/str.h"

/* A node far away begins with a login shell of its sshd. */
enum { HELLO_MS = 30000 };

struct rpc_client {
    int fd;
    char *name; /* for messages */
    struct rpc_lines lines;
    unsigned long next_id;
    int fds[FD_PASS_MAX];
    size_t nfds;
};

void rpc_client_free(struct rpc_client *c)
{
    if (!c)
        return;
    if (c->fd >= 0)
        close(c->fd);
    for (size_t i = 0; i < c->nfds; i++)
        close(c->fds[i]);
    rpc_lines_done(&c->lines);
    free(c->name);
    free(c);
}

static int fill(struct rpc_client *c, struct err *err)
{
    enum { PART = 16384 };
    char *room = rpc_lines_room(&c->lines, PART);
    if (!room)
        return err_set(err, E_PROTO, "'%s' sent a message that is too long", c->name);
    size_t room_fds = FD_PASS_MAX - c->nfds;
    ssize_t n = fd_recv(c->fd, room, PART, c->fds + c->nfds, &room_fds, err);
    if (n < 0)
        return err_at(err, "'%s'", c->name);
    c->nfds += room_fds;
    if (n == 0)
        return err_set(err, E_UNAVAIL, "'%s' closed the connection", c->name);
    rpc_lines_added(&c->lines, n);
    return 0;
}

/* The next message; end is on clock_ms(), 0 for none. */
static int next(struct rpc_client *c, uint64_t end, json_t **out, struct err *err)
{
    for (;;) {
        int r = rpc_lines_next(&c->lines, out, err);
        if (r != 0)
            return r < 0 ? err_at(err, "'%s'", c->name) : 0;
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        int64_t left = end ? (int64_t)(end - clock_ms()) : -1;
        int n = poll(&p, 1, !end ? -1 : left > 0 ? (int)left : 0);
        if (n == 0)
            return err_set(err, E_TIMEOUT, "'%s' did not answer in time", c->name);
        if (n < 0 && errno != EINTR)
            return err_sys(err, "poll");
        if (n > 0 && fill(c, err) < 0)
            return -1;
    }
}

int rpc_client_open(int fd, const char *name, struct rpc_client **out, struct err *err)
{
    return rpc_client_open_after(fd, NULL, 0, name, out, err);
}

int rpc_client_open_after(int fd, const char *read, size_t len, const char *name,
                          struct rpc_client **out, struct err *err)
{
    AUTO_FD own = fd;
    AUTO(rpc_client) c = calloc(1, sizeof *c);
    if (!c)
        return err_oom(err);
    c->fd = move_fd(own);
    if (!(c->name = strdup(name)))
        return err_oom(err);
    if (len) {
        char *room = rpc_lines_room(&c->lines, len);
        if (!room)
            return err_set(err, E_PROTO, "'%s' sent a message that is too long", name);
        memcpy(room, read, len);
        rpc_lines_added(&c->lines, len);
    }
    AUTO_JSON hello = NULL;
    int protocol;
    if (next(c, clock_ms() + HELLO_MS, &hello, err) < 0 ||
        rpc_error_of(hello, err) < 0 ||
        rpc_unpack(hello, err, name, "{s:{s:i}}", "hello", "protocol", &protocol) < 0)
        return -1;
    if (protocol != RPC_PROTOCOL)
        return err_set(err, E_PROTO, "'%s' speaks protocol %d, we speak %d", name,
                       protocol, RPC_PROTOCOL);
    *out = move(c);
    return 0;
}

/* By lodge-gate, which speaks munge with the controller; it ends with our connection. */
static int gate_connect(const char *where, struct err *err)
{
    const char *libexec = getenv("LODGE_LIBEXEC_DIR");
    AUTO_STR program =
        str_printf("%s/lodge-gate", libexec && *libexec ? libexec : LODGE_LIBEXECDIR);
    int ends[2];
    AUTO_FD pidfd = -1;
    if (!program)
        return err_oom(err);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return err_sys(err, "socketpair");
    AUTO_FD ours = ends[0];
    AUTO_FD its = ends[1];
    const char *const argv[] = {program, "--connect", where, NULL};
    const int fds[] = {its, its, STDERR_FILENO};
    struct proc_spec spec = {.argv = argv, .fds = fds, .nfds = 3};
    return proc_spawn(&spec, &pidfd, NULL, err) < 0 ? -1 : move_fd(ours);
}

int rpc_client_connect(const char *path, struct rpc_client **out, struct err *err)
{
    int fd = str_starts(path, "tcp:") ? gate_connect(path + 4, err)
                                      : fd_unix_connect(path, err);
    return fd < 0 ? -1 : rpc_client_open(fd, path, out, err);
}

static int send_request(struct rpc_client *c, const char *id, const char *method,
                        json_t *params, const struct rpc_client_opts *opts,
                        struct err *err)
{
    AUTO_JSON request = rpc_request(id, method, params);
    AUTO_STR line = NULL;
    size_t len;
    if (!request)
        return err_oom(err);
    if (rpc_encode(request, &line, &len, err) < 0 ||
        fd_send(c->fd, line, len, opts->fds, opts->nfds, err) < 0)
        return err_at(err, "'%s'", c->name);
    return 0;
}

static void note(const struct rpc_client_opts *opts, json_t *message)
{
    const char *event = json_string_value(json_object_get(message, "event"));
    json_t *data = json_object_get(message, event ? "data" : "progress");
    if (opts->note && data)
        opts->note(event, data, opts->arg);
}

static void give_fds(struct rpc_client *c, const struct rpc_client_opts *opts)
{
    size_t n = opts->got_fds && opts->got_nfds ? *opts->got_nfds : 0;
    if (n > c->nfds)
        n = c->nfds;
    for (size_t i = 0; i < c->nfds; i++) {
        if (i < n)
            opts->got_fds[i] = c->fds[i];
        else
            close(c->fds[i]);
    }
    if (opts->got_nfds)
        *opts->got_nfds = n;
    c->nfds = 0;
}

int rpc_client_call(struct rpc_client *c, const char *method, json_t *params,
                    const struct rpc_client_opts *opts, json_t **result,
                    struct err *err)
{
    static const struct rpc_client_opts none = {0};
    if (!opts)
        opts = &none;
    char id[24];
    snprintf(id, sizeof id, "%lu", ++c->next_id);
    uint64_t end = opts->timeout_ms > 0 ? clock_ms() + opts->timeout_ms : 0;
    if (send_request(c, id, method, params, opts, err) < 0)
        return -1;
    for (;;) {
        AUTO_JSON message = NULL;
        if (next(c, end, &message, err) < 0)
            return -1;
        const char *got = json_string_value(json_object_get(message, "id"));
        bool ours = got && (!strcmp(got, id) || !*got);
        if (!ours || json_object_get(message, "progress")) {
            note(opts, message);
            continue;
        }
        give_fds(c, opts);
        if (rpc_error_of(message, err) < 0)
            return -1;
        if (result)
            *result = json_incref(json_object_get(message, "result"));
        return 0;
    }
}

int rpc_client_wait_event(struct rpc_client *c, int timeout_ms, json_t **event,
                          struct err *err)
{
    uint64_t end = timeout_ms >= 0 ? clock_ms() + timeout_ms + 1 : 0;
    for (;;) {
        AUTO_JSON message = NULL;
        if (next(c, end, &message, err) < 0)
            return -1;
        if (json_object_get(message, "event")) {
            *event = move(message);
            return 0;
        }
    }
}

int rpc_client_take_fd(struct rpc_client *c, char **rest, size_t *rest_len)
{
    *rest_len = c->lines.len;
    *rest = c->lines.len ? move(c->lines.data) : NULL;
    rpc_lines_done(&c->lines);
    return move_fd(c->fd);
}
