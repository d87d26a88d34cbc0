/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/chardev.h"

#include "base/fd.h"
#include "base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>

int chardev_decode(struct chardev *c, json_t *in, const char *what, struct err *err)
{
    json_error_t je;
    int stdio = 0;
    *c = (struct chardev){.given_fd = -1, .listen_fd = -1, .in = -1, .out = -1};
    if (json_unpack_ex(in, &je, 0, "{s?s, s?i, s?b !}", "path", &c->path, "fd",
                       &c->given_fd, "stdio", &stdio) < 0)
        return err_set(err, E_CONFIG, "%s: %s", what, je.text);
    c->stdio = stdio;
    if (!!c->path + (c->given_fd >= 0) + c->stdio != 1)
        return err_set(err, E_CONFIG,
                       "%s: give one of \"fd\", \"path\" and \"stdio\": true", what);
    return 0;
}

/* --- watching ---------------------------------------------------------------- */

static void unwatch(struct io_watch *w, bool *on)
{
    if (*on)
        io_watch_del(w);
    *on = false;
}

static void disconnect(struct chardev *c)
{
    unwatch(&c->in_watch, &c->in_on);
    unwatch(&c->out_watch, &c->out_on);
    if (c->in >= 0)
        close(c->in);
    if (c->out >= 0 && c->out != c->in)
        close(c->out);
    c->in = c->out = -1;
    c->connected = c->want_output = false;
    if (c->listen_fd >= 0 && !c->listen_on)
        c->listen_on = io_watch_add(c->thread, &c->listen_watch, EPOLLIN, NULL) == 0;
}

/* Bring the watches in line with what is wanted. One descriptor for both ways has one
 * watch, in_watch, which is there even for no event, to hear of a hang-up. */
static void rewatch(struct chardev *c)
{
    uint32_t in = c->want_input && !c->in_ended ? EPOLLIN : 0;
    uint32_t out = c->want_output ? EPOLLOUT : 0;
    if (!c->connected || !c->pollable)
        return;
    bool both = c->in == c->out;
    if (both) {
        in |= out;
        out = 0;
    }
    if (in)
        c->quiet = false;
    if (!in && (!both || c->quiet))
        unwatch(&c->in_watch, &c->in_on);
    else if (c->in_on)
        (void)io_watch_mod(&c->in_watch, in);
    else
        c->in_on = io_watch_add(c->thread, &c->in_watch, in, NULL) == 0;
    if (out && !c->out_on)
        c->out_on = io_watch_add(c->thread, &c->out_watch, out, NULL) == 0;
    else if (!out)
        unwatch(&c->out_watch, &c->out_on);
}

static void gone(struct chardev *c)
{
    disconnect(c);
    c->ready(c, CHARDEV_CHANGED);
}

static void fd_ready(struct io_watch *w, uint32_t events)
{
    struct chardev *c = w->arg;
    unsigned what = 0;
    if (w == &c->in_watch && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) &&
        c->want_input)
        what |= CHARDEV_INPUT;
    if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
        c->want_output = false;
        what |= CHARDEV_OUTPUT;
    }
    rewatch(c);
    c->ready(c, what);
    if (!(events & (EPOLLHUP | EPOLLERR)) || !c->connected || c->want_input || c->stdio)
        return;
    /* Hung up, and nobody wants to read now. What was sent before waits, unwatched. */
    int left = 0;
    if (ioctl(c->in, FIONREAD, &left) == 0 && left > 0) {
        c->quiet = true;
        rewatch(c);
    } else {
        gone(c);
    }
}

static void adopt(struct chardev *c, int in, int out)
{
    struct stat st;
    c->in = c->in_watch.fd = in;
    c->out = c->out_watch.fd = out;
    c->connected = true;
    c->quiet = false;
    c->in_ended = false;
    c->pollable = fstat(in, &st) == 0 && !S_ISREG(st.st_mode);
    rewatch(c);
}

static void client_came(struct io_watch *w, uint32_t events)
{
    struct chardev *c = w->arg;
    int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    unwatch(&c->listen_watch, &c->listen_on); /* the next client waits */
    adopt(c, fd, fd);
    c->ready(c, CHARDEV_CHANGED);
}

/* --- opening ------------------------------------------------------------------- */

/* A terminal gives us every key; put back in close. */
static void raw_terminal(struct chardev *c)
{
    struct termios *t = malloc(sizeof *t), raw;
    if (!t || tcgetattr(0, t) < 0) {
        free(t);
        return;
    }
    raw = *t;
    cfmakeraw(&raw);
    raw.c_oflag |= OPOST; /* what else is written there stays readable */
    raw.c_lflag |= ISIG;
    if (tcsetattr(0, TCSANOW, &raw) < 0) {
        free(t);
        return;
    }
    c->saved_tty = t;
}

/* Not dup(): O_NONBLOCK would be set for whoever shares the terminal. Opened anew where
 * that can be; else shared after all. */
static int own_copy(int fd, int flags)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int copy = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (copy >= 0)
        return copy;
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy >= 0)
        (void)fd_set_nonblock(copy, true, NULL);
    return copy;
}

int chardev_open(struct chardev *c, struct io_thread *t, chardev_f ready, void *arg,
                 struct err *err)
{
    c->thread = t;
    c->ready = ready;
    c->arg = arg;
    if (c->path) {
        c->listen_fd = fd_unix_listen(c->path, 0600, err);
        if (c->listen_fd < 0 || fd_set_nonblock(c->listen_fd, true, err) < 0)
            return -1;
        c->listen_watch =
            (struct io_watch){.fd = c->listen_fd, .ready = client_came, .arg = c};
    }
    c->in_watch = (struct io_watch){.ready = fd_ready, .arg = c};
    c->out_watch = c->in_watch;
    if (c->path) {
        if (io_watch_add(t, &c->listen_watch, EPOLLIN, err) < 0)
            return -1;
        c->listen_on = true;
        return 0;
    }
    int in, out;
    if (c->stdio) {
        struct stat a, b;
        if (fstat(0, &a) < 0 || fstat(1, &b) < 0)
            return err_sys(err, "standard input and output");
        if (isatty(0))
            raw_terminal(c);
        in = own_copy(0, O_RDONLY);
        out = own_copy(1, O_WRONLY | (S_ISREG(b.st_mode) ? O_APPEND : 0));
        if (in < 0 || out < 0)
            return err_sys(err, "standard input and output");
    } else {
        in = out = c->given_fd;
        if (fcntl(in, F_SETFD, FD_CLOEXEC) < 0)
            return err_sys(err, "fd %d", in);
        if (fd_set_nonblock(in, true, err) < 0)
            return -1;
    }
    adopt(c, in, out);
    return 0;
}

void chardev_close(struct chardev *c)
{
    if (!c->thread)
        return;
    unwatch(&c->listen_watch, &c->listen_on);
    if (c->listen_fd >= 0) {
        close(c->listen_fd);
        c->listen_fd = -1;
        fd_unix_remove(c->path); /* in the sandbox we cannot reach it: see forget */
    }
    disconnect(c);
    if (c->saved_tty)
        (void)tcsetattr(0, TCSANOW, c->saved_tty);
    free(c->saved_tty);
    c->saved_tty = NULL;
}

void chardev_forget(json_t *in)
{
    const char *path = json_string_value(json_object_get(in, "path"));
    if (path)
        fd_unix_remove(path);
}

/* --- bytes ------------------------------------------------------------------------ */

ssize_t chardev_write(struct chardev *c, const struct iovec *iov, unsigned n,
                      size_t total)
{
    if (!c->connected)
        return (ssize_t)total;
    struct msghdr m = {.msg_iov = (struct iovec *)iov, .msg_iovlen = n};
    ssize_t k = sendmsg(c->out, &m, MSG_NOSIGNAL);
    if (k < 0 && errno == ENOTSOCK)
        k = writev(c->out, iov, (int)n);
    if (k >= 0)
        return k;
    if (errno != EAGAIN && errno != EINTR) {
        /* The reader is gone: the rest is dropped. */
        if (c->in == c->out)
            disconnect(c);
        return (ssize_t)total;
    }
    c->want_output = true;
    rewatch(c);
    return -1;
}

bool chardev_readable(struct chardev *c)
{
    struct pollfd p = {.fd = c->in, .events = POLLIN};
    return c->connected && !c->in_ended && poll(&p, 1, 0) > 0 && p.revents;
}

ssize_t chardev_read(struct chardev *c, const struct iovec *iov, unsigned n)
{
    if (!c->connected || c->in_ended)
        return -1;
    ssize_t k = readv(c->in, iov, (int)n);
    if (k > 0)
        return k;
    if (k < 0 && (errno == EAGAIN || errno == EINTR))
        return -1;
    c->in_ended = true;
    if (c->stdio)
        rewatch(c); /* only input ended */
    else
        gone(c);
    return 0;
}

void chardev_want_input(struct chardev *c, bool on)
{
    if (c->want_input == on)
        return;
    c->want_input = on;
    rewatch(c);
}
