/* SPDX-License-Identifier: Apache-2.0 */
/* The carrier of the guest's channel: a virtio-console port found by its name in sysfs
 * (there may be no udev), a unix socket, or a descriptor. Opened again when it ends. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "guest/guest.h"

enum { REOPEN_MIN_MS = 20, REOPEN_MAX_MS = 500, READS_A_TURN = 4 };

static bool read_word(const char *dir, const char *leaf, char *buf, size_t size)
{
    AUTO_STR path = str_printf("/sys/class/virtio-ports/%s/%s", dir, leaf);
    AUTO_STR text = NULL;
    if (!path || fd_read_file(path, 4096, &text, NULL, NULL) < 0)
        return false;
    snprintf(buf, size, "%.*s", (int)strcspn(text, "\n"), text);
    return true;
}

/* Open the device of the port; its node is made if nobody else did. */
static int open_device(const char *dir)
{
    char dev[32], *colon;
    AUTO_STR path = str_printf("/dev/%s", dir);
    if (!path)
        return -1;
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 || errno != ENOENT || !read_word(dir, "dev", dev, sizeof dev) ||
        !(colon = strchr(dev, ':')))
        return fd;
    unsigned major = strtoul(dev, NULL, 10), minor = strtoul(colon + 1, NULL, 10);
    AUTO_STR own = str_printf("/run/lodge-%s", dir);
    if (!own)
        return -1;
    mknod(own, S_IFCHR | 0600, makedev(major, minor));
    return open(own, O_RDWR | O_NONBLOCK | O_CLOEXEC);
}

static int open_port(const char *name)
{
    DIR *ports = opendir("/sys/class/virtio-ports");
    struct dirent *d;
    int fd = -1;
    while (fd < 0 && ports && (d = readdir(ports))) {
        char has[128];
        if (d->d_name[0] != '.' && read_word(d->d_name, "name", has, sizeof has) &&
            !strcmp(has, name))
            fd = open_device(d->d_name);
    }
    if (ports)
        closedir(ports);
    return fd;
}

static void try_later(struct guest *g)
{
    unsigned wait = REOPEN_MIN_MS << (g->reopen_tries < 5 ? g->reopen_tries : 5);
    g->reopen_tries++;
    g->reopen_at = clock_ms() + (wait < REOPEN_MAX_MS ? wait : REOPEN_MAX_MS);
}

static void port_lost(struct guest *g)
{
    watch_drop(g->port_watch);
    g->port_watch = NULL;
    chan_reset(g->chan);
    guest_take_events(g);
    if (g->options->fd >= 0) {
        g->over = true;
        return;
    }
    close(g->port);
    g->port = -1;
    if (!g->options->listen)
        try_later(g);
}

static void on_port(struct watch *w, uint32_t events, void *arg)
{
    struct guest *g = arg;
    /* How long it has been up counts if what comes now is the end of it (a restore). */
    (void)chan_timeout(g->chan, clock_ms());
    for (int i = 0; i < READS_A_TURN && (events & (EPOLLIN | EPOLLHUP)); i++) {
        size_t room;
        void *to = chan_room(g->chan, &room);
        ssize_t n = read(g->port, to, room);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n <= 0) {
            /* A console port gives 0 while nobody is at the host's end. */
            port_lost(g);
            return;
        }
        g->reopen_tries = 0;
        chan_added(g->chan, n);
        guest_take_events(g);
        if ((size_t)n < room)
            break;
    }
    if (events & EPOLLERR)
        port_lost(g);
    else
        port_write(g);
}

static void use_port(struct guest *g)
{
    struct err err;
    if (fd_set_nonblock(g->port, true, &err) < 0 ||
        loop_watch(g->loop, g->port, EPOLLIN, on_port, g, &g->port_watch, &err) < 0) {
        log_error(NULL, "channel: %s", err.text);
        g->over = g->options->fd >= 0;
        if (!g->over)
            close(g->port);
        g->port = -1;
        try_later(g);
        return;
    }
    chan_reset(g->chan);
    guest_take_events(g);
}

/* A new caller takes the place of the old one, which may be dead and not know it. */
static void on_caller(struct watch *w, uint32_t events, void *arg)
{
    struct guest *g = arg;
    int fd = accept4(g->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    watch_drop(g->port_watch);
    g->port_watch = NULL;
    if (g->port >= 0)
        close(g->port);
    g->port = fd;
    use_port(g);
}

int port_listen(struct guest *g, struct err *err)
{
    g->listener = fd_unix_listen(g->options->listen, 0600, err);
    if (g->listener < 0 || fd_set_nonblock(g->listener, true, err) < 0)
        return -1;
    return loop_watch(g->loop, g->listener, EPOLLIN, on_caller, g, &g->listener_watch,
                      err);
}

void port_open(struct guest *g)
{
    const struct guest_options *o = g->options;
    if (o->listen)
        return;
    g->port = o->fd >= 0  ? o->fd
              : o->socket ? fd_unix_connect(o->socket, NULL)
                          : open_port(o->port);
    if (g->port < 0)
        try_later(g);
    else
        use_port(g);
}

void port_write(struct guest *g)
{
    while (g->port_watch) {
        size_t len;
        const void *from = chan_output(g->chan, &len);
        ssize_t n = len ? write(g->port, from, len) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN) {
            port_lost(g);
            return;
        }
        if (n > 0)
            chan_output_done(g->chan, n);
        if (n <= 0) {
            watch_set(g->port_watch, EPOLLIN | (len ? EPOLLOUT : 0));
            return;
        }
    }
}

void port_close(struct guest *g)
{
    watch_drop(g->port_watch);
    g->port_watch = NULL;
    if (g->port >= 0 && g->options->fd < 0)
        close(g->port);
    g->port = -1;
    watch_drop(g->listener_watch);
    g->listener_watch = NULL;
    if (g->listener >= 0)
        close(g->listener);
    g->listener = -1;
}
