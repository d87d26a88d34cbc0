/* SPDX-License-Identifier: Apache-2.0 */
/* Kinds exec and unix: one descriptor each, and for exec the child behind it. */
#include "transport/transport.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/dirs.h"
#include "base/fd.h"
#include "base/proc.h"

struct stream {
    int fd;
    sd_event_source *io, *ready;
    int child; /* pidfd, or -1 */
    bool paused;
};

static void fail(struct transport *t, enum err_code code, const char *why)
{
    struct stream *s = t->kind;
    struct err err;
    sd_event_source_set_enabled(s->io, SD_EVENT_OFF);
    err_set(&err, code, "%s", why);
    transport_is_down(t, &err);
}

static void want(struct transport *t)
{
    struct stream *s = t->kind;
    uint32_t events =
        (s->paused ? 0 : EPOLLIN) | (t->out.len > t->out_at ? EPOLLOUT : 0);
    sd_event_source_set_io_events(s->io, events);
}

void transport_stream_flush(struct transport *t)
{
    struct stream *s = t->kind;
    while (t->out_at < t->out.len && !t->is_down) {
        ssize_t n =
            fd_send_some(s->fd, t->out.data + t->out_at, t->out.len - t->out_at);
        if (n <= 0) /* a broken one is told by the read side */
            break;
        transport_sent(t, n);
    }
    want(t);
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    struct transport *t = arg;
    char part[32768];
    if (events & EPOLLOUT)
        transport_stream_flush(t);
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return 0;
    ssize_t n = recv(fd, part, sizeof part, MSG_DONTWAIT);
    if (n > 0)
        transport_got(t, part, n);
    else if (n == 0)
        fail(t, E_HOST, "the other end closed the connection");
    else if (errno != EAGAIN && errno != EINTR)
        fail(t, E_HOST, strerror(errno));
    return 0;
}

static int on_ready(sd_event_source *source, void *arg)
{
    transport_is_up(arg);
    return 0;
}

int transport_stream_open(struct transport *t, int fd, struct err *err)
{
    AUTO_FD own = fd;
    struct stream *s = calloc(1, sizeof *s);
    if (!s)
        return err_oom(err);
    s->child = -1;
    int r = sd_event_add_io(t->event, &s->io, own, EPOLLIN, on_io, t);
    if (r >= 0)
        r = sd_event_add_defer(t->event, &s->ready, on_ready, t);
    if (r < 0) {
        sd_event_source_disable_unref(s->io);
        free(s);
        errno = -r;
        return err_sys(err, "event");
    }
    s->fd = move_fd(own);
    t->kind = s;
    return 0;
}

void transport_stream_pause(struct transport *t, bool on)
{
    ((struct stream *)t->kind)->paused = on;
    want(t);
}

void transport_stream_close(struct transport *t)
{
    struct stream *s = t->kind;
    sd_event_source_disable_unref(s->io);
    sd_event_source_disable_unref(s->ready);
    close(s->fd);
    if (s->child >= 0) {
        int status;
        proc_kill(s->child, SIGTERM, NULL);
        if (proc_wait(s->child, 0, &status, NULL) < 0) {
            proc_kill(s->child, SIGKILL, NULL);
            proc_wait(s->child, -1, &status, NULL);
        }
        close(s->child);
    }
    free(s);
}

static int exec_open(struct transport *t, const struct transport_spec *spec,
                     struct err *err)
{
    int pair[2];
    if (!spec->argv || !spec->argv[0])
        return err_set(err, E_CONFIG, "transport exec needs a command");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, "socketpair");
    AUTO_FD ours = pair[0];
    AUTO_FD theirs = pair[1];
    AUTO_FD child = -1;
    struct proc_spec run = {.argv = spec->argv,
                            .fds = (int[]){theirs, theirs, STDERR_FILENO},
                            .nfds = 3,
                            .die_with_us = true};
    if (proc_spawn(&run, &child, NULL, err) < 0 ||
        transport_stream_open(t, move_fd(ours), err) < 0)
        return -1;
    ((struct stream *)t->kind)->child = move_fd(child);
    return 0;
}

static int unix_open(struct transport *t, const struct transport_spec *spec,
                     struct err *err)
{
    AUTO_STR path = spec->path ? strdup(spec->path) : dirs_path(DIRS_RUN, "agent.sock");
    if (!path)
        return err_oom(err);
    AUTO_FD fd = fd_unix_connect(path, err);
    return fd < 0 ? -1 : transport_stream_open(t, move_fd(fd), err);
}

const struct transport_ops transport_exec = {.name = "exec",
                                             .open = exec_open,
                                             .flush = transport_stream_flush,
                                             .pause = transport_stream_pause,
                                             .close = transport_stream_close};
const struct transport_ops transport_unix = {.name = "unix",
                                             .open = unix_open,
                                             .flush = transport_stream_flush,
                                             .pause = transport_stream_pause,
                                             .close = transport_stream_close};
