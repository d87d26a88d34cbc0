/* SPDX-License-Identifier: Apache-2.0 */
/* lodge-gate: the way from submit hosts to the controller over TCP, see seal.h.
 *
 *   lodge-gate --listen ADDRESS:PORT SOCKET   lodged's side: one child a connection; what
 *       comes by it reaches lodged's socket as the uid that munge tells
 *   lodge-gate --connect HOST:PORT            the submit host's side: its standard input
 *       and output are the connection, as if it were lodged's socket
 *
 *   server, first   "lodge-gate 1 NONCE UID"
 *   client          a credential whose data is its own nonce
 *   both            credentials, one a line; or, by the server, "! why it is refused" */
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/str.h"
#include "proto/rpc.h"
#include "transport/seal.h"

enum { CHILDREN_MAX = 512, HELLO_S = 10, QUEUE_MAX = 256 << 10 };

/* What waits to be written to a descriptor. */
struct queue {
    int fd;
    struct str_buf data;
    size_t at;
};

struct gate {
    struct seal seal;
    int plain_in;
    struct queue plain, tcp;
    struct str_buf line; /* of a credential that is not whole yet */
};

static size_t waiting(const struct queue *q)
{
    return q->data.len - q->at;
}

/* False: nobody takes it any more. */
static bool flush(struct queue *q)
{
    while (waiting(q)) {
        ssize_t n = write(q->fd, q->data.data + q->at, waiting(q));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        q->at += (size_t)n;
        str_buf_compact(&q->data, &q->at);
    }
    return true;
}

static void drop(struct queue *q)
{
    q->data.len = 0;
    q->at = 0;
}

static int send_piece(struct gate *g, const void *data, size_t len, struct err *err)
{
    AUTO_STR credential = NULL;
    if (seal_wrap(&g->seal, data, len, &credential, err) < 0)
        return -1;
    str_buf_printf(&g->tcp.data, "%s\n", credential);
    return g->tcp.data.failed ? err_oom(err) : 0;
}

/* One line of the other side. */
static int take_line(struct gate *g, const char *line, struct err *err)
{
    AUTO_STR data = NULL;
    size_t len;
    if (!g->seal.server && str_starts(line, "! "))
        return err_set(err, E_PERM, "the controller refuses: %.300s", line + 2);
    if (seal_open(&g->seal, line, &data, &len, err) < 0)
        return -1;
    str_buf_add(&g->plain.data, data, len);
    return g->plain.data.failed ? err_oom(err) : 0;
}

static int take_lines(struct gate *g, const char *data, size_t len, struct err *err)
{
    while (len) {
        const char *end = memchr(data, '\n', len);
        size_t n = end ? (size_t)(end - data) : len;
        str_buf_add(&g->line, data, n);
        if (g->line.failed || g->line.len > SEAL_LINE_MAX)
            return err_set(err, E_PROTO, "a line is too long");
        if (end) {
            if (take_line(g, g->line.data ? g->line.data : "", err) < 0)
                return -1;
            g->line.len = 0;
            n++;
        }
        data += n;
        len -= n;
    }
    return 0;
}

/* A connection that is closed with something unread loses what was sent and has not
 * arrived: say that nothing more comes, and hear the other side out. */
static void hang_up(int fd)
{
    const struct timeval soon = {.tv_sec = HELLO_S};
    char rest[4096];
    fd_set_nonblock(fd, false, NULL);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
    shutdown(fd, SHUT_WR);
    while (read(fd, rest, sizeof rest) > 0)
        ;
}

/* Until one side ends. */
static int relay(struct gate *g, struct err *err)
{
    static char part[SEAL_MAX];
    bool ended = false;
    fd_set_nonblock(g->plain_in, true, NULL);
    fd_set_nonblock(g->plain.fd, true, NULL);
    fd_set_nonblock(g->tcp.fd, true, NULL);
    for (;;) {
        /* Who takes nothing any more may still have said something. */
        if (!flush(&g->tcp))
            drop(&g->tcp);
        if (!flush(&g->plain))
            drop(&g->plain);
        if (ended && !waiting(&g->plain) && !waiting(&g->tcp)) {
            hang_up(g->tcp.fd);
            return 0;
        }
        struct pollfd p[] = {
            {!ended && waiting(&g->tcp) < QUEUE_MAX ? g->plain_in : -1, POLLIN, 0},
            {g->tcp.fd,
             (!ended && waiting(&g->plain) < QUEUE_MAX ? POLLIN : 0) |
                 (waiting(&g->tcp) ? POLLOUT : 0),
             0},
            {waiting(&g->plain) ? g->plain.fd : -1, POLLOUT, 0},
        };
        if (poll(p, 3, -1) < 0 && errno != EINTR)
            return err_sys(err, "poll");
        if (p[0].revents) {
            ssize_t n = read(g->plain_in, part, sizeof part);
            if (n > 0 && send_piece(g, part, (size_t)n, err) < 0)
                return -1;
            ended |= n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
        }
        if (p[1].revents & (POLLIN | POLLHUP | POLLERR)) {
            ssize_t n = read(g->tcp.fd, part, sizeof part);
            if (n > 0 && take_lines(g, part, (size_t)n, err) < 0)
                return -1;
            ended |= n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
        }
    }
}

/* A line, byte by byte, so that nothing behind it is taken. */
static int read_line(int fd, char *to, size_t size, struct err *err)
{
    size_t n = 0;
    for (;;) {
        char c;
        ssize_t r = read(fd, &c, 1);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return err_set(err, E_PROTO, "the other side closed the connection");
        if (c == '\n')
            break;
        if (n + 1 >= size)
            return err_set(err, E_PROTO, "this is no lodge-gate: a line is too long");
        to[n++] = c;
    }
    to[n] = '\0';
    return 0;
}

/* --- the controller's side -------------------------------------------------------------- */

static int join_lodged(struct gate *g, const char *path, struct err *err)
{
    int fd = fd_unix_connect(path, err);
    if (fd < 0)
        return -1;
    g->plain_in = g->plain.fd = fd;
    if (g->seal.uid == geteuid())
        return 0;
    AUTO_JSON as = rpc_request("as", "session.as",
                               json_pack("{s:I, s:I}", "uid", (json_int_t)g->seal.uid,
                                         "gid", (json_int_t)g->seal.gid));
    AUTO_STR line = NULL;
    size_t len;
    if (!as)
        return err_oom(err);
    return rpc_encode(as, &line, &len, err) < 0 ? -1 : fd_write_all(fd, line, len, err);
}

static int hello(struct gate *g, struct err *err)
{
    AUTO_STR line = malloc(SEAL_LINE_MAX);
    AUTO_STR nonce = NULL;
    size_t len;
    if (!line)
        return err_oom(err);
    seal_nonce(g->seal.session);
    int n = snprintf(line, SEAL_LINE_MAX, "lodge-gate 1 %s %u\n", g->seal.session,
                     (unsigned)geteuid());
    if (fd_write_all(g->tcp.fd, line, (size_t)n, err) < 0 ||
        read_line(g->tcp.fd, line, SEAL_LINE_MAX, err) < 0 ||
        seal_open(&g->seal, line, &nonce, &len, err) < 0)
        return -1;
    if (len != SEAL_NONCE || strspn(nonce, "0123456789abcdef") != SEAL_NONCE)
        return err_set(err, E_PROTO, "the client gave no number of its own");
    g->seal.session[SEAL_NONCE] = ':';
    memcpy(g->seal.session + SEAL_NONCE + 1, nonce, SEAL_NONCE + 1);
    g->seal.only = g->seal.uid;
    return 0;
}

static void serve_one(int fd, const char *path, const char *peer)
{
    struct gate g = {.seal = {.server = true},
                     .plain_in = -1,
                     .plain = {.fd = -1},
                     .tcp = {.fd = fd}};
    struct err err = {0};
    alarm(HELLO_S);
    int r = hello(&g, &err);
    alarm(0);
    if (r == 0)
        r = join_lodged(&g, path, &err);
    if (r == 0)
        r = relay(&g, &err);
    if (r == 0)
        _exit(0);
    log_warn(NULL, "%s: refused: %s", peer, err.text);
    fd_set_nonblock(fd, false, NULL);
    alarm(HELLO_S);
    flush(&g.tcp);
    dprintf(fd, "! %s\n", err.text);
    _exit(1);
}

static int resolve(const char *where, bool passive, struct addrinfo **out,
                   struct err *err)
{
    const char *colon = strrchr(where, ':');
    if (!colon || !colon[1])
        return err_set(err, E_CONFIG, "'%s' is not of the form address:port", where);
    bool bracket = *where == '[' && colon > where && colon[-1] == ']';
    AUTO_STR host = bracket ? strndup(where + 1, (size_t)(colon - where) - 2)
                            : strndup(where, (size_t)(colon - where));
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = passive ? AI_PASSIVE : 0};
    if (!host)
        return err_oom(err);
    int e =
        getaddrinfo(*host && strcmp(host, "*") ? host : NULL, colon + 1, &hints, out);
    return e ? err_set(err, E_HOST, "'%s': %s", where, gai_strerror(e)) : 0;
}

static int listen_on(const char *where, struct err *err)
{
    struct addrinfo *all = NULL;
    if (resolve(where, true, &all, err) < 0)
        return -1;
    AUTO_FD fd = socket(all->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    bool up = fd >= 0 &&
              setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
              bind(fd, all->ai_addr, all->ai_addrlen) == 0 && listen(fd, 128) == 0;
    freeaddrinfo(all);
    return up ? move_fd(fd) : err_sys(err, "listen on '%s'", where);
}

static void name_of(const struct sockaddr_storage *a, socklen_t len, char *to,
                    size_t size)
{
    if (getnameinfo((const struct sockaddr *)a, len, to, (socklen_t)size, NULL, 0,
                    NI_NUMERICHOST) != 0)
        snprintf(to, size, "?");
}

static int serve(const char *where, const char *path, struct err *err)
{
    unsigned children = 0;
    AUTO_FD fd = listen_on(where, err);
    if (fd < 0)
        return -1;
    log_info(NULL, "submit hosts are served on %s", where);
    for (;;) {
        struct sockaddr_storage from;
        socklen_t len = sizeof from;
        char peer[128];
        while (children &&
               waitpid(-1, NULL, children >= CHILDREN_MAX ? 0 : WNOHANG) > 0)
            children--;
        AUTO_FD conn = accept4(fd, (struct sockaddr *)&from, &len, SOCK_CLOEXEC);
        if (conn < 0) {
            usleep(errno == EINTR ? 0 : 100000); /* out of descriptors: later */
            continue;
        }
        name_of(&from, len, peer, sizeof peer);
        pid_t pid = fork();
        if (pid == 0)
            serve_one(conn, path, peer);
        children += pid > 0;
    }
}

/* --- the submit host's side --------------------------------------------------------------- */

static int dial(const char *where, struct err *err)
{
    struct addrinfo *all = NULL;
    if (resolve(where, false, &all, err) < 0)
        return -1;
    int fd = -1, e = ECONNREFUSED;
    for (struct addrinfo *a = all; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
            e = errno;
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(all);
    errno = e;
    return fd >= 0 ? fd : err_sys(err, "controller '%s'", where);
}

static int greet(struct gate *g, struct err *err)
{
    char line[512], nonce[SEAL_NONCE + 1];
    unsigned uid;
    if (read_line(g->tcp.fd, line, sizeof line, err) < 0)
        return -1;
    if (sscanf(line, "lodge-gate 1 %32[0-9a-f] %u", nonce, &uid) != 2 ||
        strlen(nonce) != SEAL_NONCE)
        return err_set(err, E_PROTO, "no lodged serves submit hosts there");
    if (uid != 0 && uid != geteuid())
        return err_set(err, E_PERM, "what serves there is uid %u, not root", uid);
    g->seal.only = uid;
    memcpy(g->seal.session, nonce, sizeof nonce);
    seal_nonce(nonce);
    if (send_piece(g, nonce, SEAL_NONCE, err) < 0)
        return -1;
    g->seal.session[SEAL_NONCE] = ':';
    memcpy(g->seal.session + SEAL_NONCE + 1, nonce, sizeof nonce);
    /* The first credential that comes must be of that uid. */
    g->seal.known = true;
    g->seal.uid = uid;
    return 0;
}

static int join(const char *where, struct err *err)
{
    struct gate g = {.plain_in = STDIN_FILENO, .plain = {.fd = STDOUT_FILENO}};
    alarm(HELLO_S);
    g.tcp.fd = dial(where, err);
    if (g.tcp.fd < 0)
        return -1;
    int r = greet(&g, err);
    alarm(0);
    if (r == 0)
        r = relay(&g, err);
    if (r < 0)
        err_at(err, "controller '%s'", where);
    return r;
}

/* Whoever uses the connection is told as by lodged. */
static void tell(const struct err *err)
{
    AUTO_JSON refusal = rpc_refusal("", err);
    AUTO_STR line = NULL;
    size_t len;
    if (refusal && rpc_encode(refusal, &line, &len, NULL) == 0) {
        fd_set_nonblock(STDOUT_FILENO, false, NULL);
        fd_write_all(STDOUT_FILENO, line, len, NULL);
    }
}

int main(int argc, char **argv)
{
    struct err err = {0};
    bool serves = argc == 4 && !strcmp(argv[1], "--listen");
    if (!serves && !(argc == 3 && !strcmp(argv[1], "--connect"))) {
        fprintf(stderr, "Usage: lodge-gate --listen ADDRESS:PORT SOCKET\n"
                        "       lodge-gate --connect HOST:PORT\n");
        return 64;
    }
    signal(SIGPIPE, SIG_IGN);
    log_open("lodge-gate", LOG_L_INFO);
    if ((serves ? serve(argv[2], argv[3], &err) : join(argv[2], &err)) == 0)
        return 0;
    if (serves)
        log_error(NULL, "%s", err.text);
    else
        tell(&err);
    return err_exit_status(&err);
}
