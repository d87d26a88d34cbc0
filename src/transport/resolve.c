/* SPDX-License-Identifier: Apache-2.0 */
/* Name look-up in a child, then a nonblocking connect; see the header. */
#include "transport/resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/own.h"

enum { ADDRESSES_MAX = 8 };

/* What the child says: gai, then n addresses. */
struct answer {
    int gai; /* getaddrinfo's result */
    int n;
    struct sockaddr_storage at[ADDRESSES_MAX];
    socklen_t len[ADDRESSES_MAX];
};

struct resolve {
    sd_event *event;
    sd_event_source *io;
    int fd; /* the child's pipe, then the socket */
    pid_t child;
    char *host;
    struct answer answer;
    size_t got; /* bytes of answer */
    int next;   /* address to try */
    resolve_done_f done;
    void *arg;
};

static void child_main(int to, const char *host, uint16_t port)
{
    struct answer a = {0};
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    a.gai = getaddrinfo(host, service, &hints, &list);
    for (struct addrinfo *i = list; i && a.n < ADDRESSES_MAX; i = i->ai_next, a.n++) {
        memcpy(&a.at[a.n], i->ai_addr, i->ai_addrlen);
        a.len[a.n] = i->ai_addrlen;
    }
    _exit(fd_write_all(to, &a, sizeof a, NULL) < 0);
}

static void drop_io(struct resolve *r)
{
    r->io = sd_event_source_disable_unref(r->io);
    if (r->fd >= 0)
        close(move_fd(r->fd));
}

void resolve_free(struct resolve *r)
{
    if (!r)
        return;
    drop_io(r);
    if (r->child > 0) {
        kill(r->child, SIGKILL);
        waitpid(r->child, NULL, 0);
    }
    sd_event_unref(r->event);
    free(r->host);
    free(r);
}

static void try_next(struct resolve *r);

static int on_connected(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    struct resolve *r = arg;
    int sys = 0;
    socklen_t len = sizeof sys;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &sys, &len);
    if (sys) {
        drop_io(r);
        errno = sys;
        try_next(r);
        return 0;
    }
    r->io = sd_event_source_disable_unref(r->io);
    r->done(move_fd(r->fd), NULL, r->arg);
    return 0;
}

/* errno is why the last address failed. */
static void try_next(struct resolve *r)
{
    int on = 1;
    while (r->next < r->answer.n) {
        int i = r->next++;
        struct sockaddr *to = (struct sockaddr *)&r->answer.at[i];
        r->fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (r->fd < 0)
            continue;
        setsockopt(r->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if ((connect(r->fd, to, r->answer.len[i]) == 0 || errno == EINPROGRESS) &&
            sd_event_add_io(r->event, &r->io, r->fd, EPOLLOUT, on_connected, r) >= 0)
            return;
        int sys = errno;
        drop_io(r);
        errno = sys;
    }
    struct err err;
    err_sys(&err, "connect to '%s'", r->host);
    err.code = E_HOST;
    r->done(-1, &err, r->arg);
}

static int on_answer(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    struct resolve *r = arg;
    ssize_t n = read(fd, (char *)&r->answer + r->got, sizeof r->answer - r->got);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    r->got += n > 0 ? n : 0;
    if (n > 0 && r->got < sizeof r->answer)
        return 0;
    waitpid(r->child, NULL, 0);
    r->child = 0;
    drop_io(r);
    struct err err;
    if (r->got < sizeof r->answer || r->answer.gai) {
        err_set(&err, E_HOST, "'%s': %s", r->host,
                r->got < sizeof r->answer ? "the look-up of the name died"
                                          : gai_strerror(r->answer.gai));
        r->done(-1, &err, r->arg);
        return 0;
    }
    errno = EHOSTUNREACH;
    try_next(r);
    return 0;
}

int resolve_connect(sd_event *event, const char *host, uint16_t port,
                    resolve_done_f done, void *arg, struct resolve **out,
                    struct err *err)
{
    int ends[2];
    struct resolve *r = calloc(1, sizeof *r);
    if (!r)
        return err_oom(err);
    *r = (struct resolve){
        .event = sd_event_ref(event), .fd = -1, .done = done, .arg = arg};
    if (!(r->host = strdup(host)) || pipe2(ends, O_CLOEXEC) < 0) {
        err_sys(err, "look up '%s'", host);
        resolve_free(r);
        return -1;
    }
    r->fd = ends[0];
    r->child = fork();
    if (r->child == 0)
        child_main(ends[1], host, port);
    close(ends[1]);
    fd_set_nonblock(r->fd, true, NULL);
    if (r->child < 0 ||
        sd_event_add_io(event, &r->io, r->fd, EPOLLIN, on_answer, r) < 0) {
        err_sys(err, "look up '%s'", host);
        resolve_free(r);
        return -1;
    }
    *out = r;
    return 0;
}
