/* SPDX-License-Identifier: Apache-2.0 */
/* Consoles: one ring a VM, any number of watchers with bounded memory: who does not
 * read loses text, never holds up the guest or the others. */
#include "agent/console.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/sock.h"
#include "base/fd.h"
#include "base/log.h"
#include "profile/profile.h"

enum {
    KEEP = 64 << 10,     /* scrollback */
    FILE_MAX = 4 * KEEP, /* the file is cut to KEEP when it is longer */
    WATCHERS_MAX = 32,
    RECONNECT_MS = 200
};

struct watcher {
    struct list in;
    struct console *console;
    int fd;
    sd_event_source *io;
    uint64_t at; /* position in the stream of the next byte to send */
    bool writer;
};

struct console {
    struct vm *vm;
    char ring[KEEP];
    uint64_t total; /* bytes ever; ring[total % KEEP] is next */
    int fd, file;
    size_t file_len;
    sd_event_source *io, *timer;
    struct list watchers;
    size_t nwatchers;
};

static void watcher_free(struct watcher *w)
{
    struct agent *a = w->console->vm->agent;
    list_remove(&w->in);
    w->console->nwatchers--;
    sd_event_source_disable_unref(w->io);
    close(w->fd);
    free(w);
    a->busy--;
    agent_touch(a);
}

/* False: gone, or has read all there will be. */
static bool watcher_flush(struct watcher *w)
{
    struct console *c = w->console;
    if (c->total - w->at > KEEP)
        w->at = c->total - KEEP;
    while (w->at < c->total) {
        size_t from = w->at % KEEP, n = c->total - w->at;
        if (n > KEEP - from)
            n = KEEP - from;
        ssize_t sent = fd_send_some(w->fd, c->ring + from, n);
        if (sent < 0)
            return false;
        if (sent == 0)
            break;
        w->at += sent;
    }
    sd_event_source_set_io_events(w->io, EPOLLIN | (w->at < c->total ? EPOLLOUT : 0));
    return w->at < c->total || !state_is_over(c->vm->state);
}

static int on_watcher(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    struct watcher *w = arg;
    char part[4096];
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        ssize_t n = read(fd, part, sizeof part);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            watcher_free(w);
            return 0;
        }
        /* A guest that does not read its console loses keys, as on a real one. */
        if (n > 0 && w->writer && w->console->fd >= 0 &&
            write(w->console->fd, part, n) < 0)
            log_debug(NULL, "console of '%s' takes no input", w->console->vm->name);
    }
    if (!watcher_flush(w))
        watcher_free(w);
    return 0;
}

static void keep(struct console *c, const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t at = c->total % KEEP, n = len - i < KEEP - at ? len - i : KEEP - at;
        memcpy(c->ring + at, text + i, n);
        c->total += n;
        i += n;
    }
}

/* The kept text in order; room for KEEP bytes. */
static size_t kept(const struct console *c, char *text)
{
    size_t n = c->total < KEEP ? c->total : KEEP, from = (c->total - n) % KEEP;
    size_t first = n < KEEP - from ? n : KEEP - from;
    memcpy(text, c->ring + from, first);
    memcpy(text + first, c->ring, n - first);
    return n;
}

static void to_file(struct console *c, const char *text, size_t len)
{
    if (c->file < 0)
        return;
    if (c->file_len + len > FILE_MAX) {
        char all[KEEP];
        size_t n = kept(c, all);
        if (ftruncate(c->file, 0) == 0 && pwrite(c->file, all, n, 0) == (ssize_t)n)
            c->file_len = n;
        return;
    }
    if (pwrite(c->file, text, len, c->file_len) == (ssize_t)len)
        c->file_len += len;
}

static void flush_all(struct console *c)
{
    struct watcher *w, *next;
    list_each_safe (w, next, &c->watchers, in)
        if (!watcher_flush(w))
            watcher_free(w);
}

static int on_console(sd_event_source *source, int fd, uint32_t events, void *arg);

static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
    struct console *c = arg;
    const char *path = json_string_value(json_object_get(c->vm->vt, "console"));
    c->timer = sd_event_source_disable_unref(c->timer);
    if (c->fd < 0 && path)
        c->fd = sock_open(path, NULL);
    if (c->fd >= 0 && sd_event_add_io(c->vm->agent->event, &c->io, c->fd, EPOLLIN,
                                      on_console, c) < 0) {
        close(c->fd);
        c->fd = -1;
    }
    if (c->fd < 0 && path)
        sd_event_add_time_relative(c->vm->agent->event, &c->timer, CLOCK_MONOTONIC,
                                   RECONNECT_MS * 1000ull, 0, on_timer, c);
    return 0;
}

static void lost(struct console *c)
{
    c->io = sd_event_source_disable_unref(c->io);
    close(c->fd);
    c->fd = -1;
    sd_event_source_disable_unref(c->timer);
    c->timer = NULL;
    sd_event_add_time_relative(c->vm->agent->event, &c->timer, CLOCK_MONOTONIC,
                               RECONNECT_MS * 1000ull, 0, on_timer, c);
}

/* False: nothing more there. */
static bool take(struct console *c)
{
    char part[8192];
    ssize_t n = read(c->fd, part, sizeof part);
    if (n < 0 && errno == EINTR)
        return true;
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0) {
        lost(c);
        return false;
    }
    keep(c, part, n);
    to_file(c, part, n);
    return true;
}

static int on_console(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    struct console *c = arg;
    take(c); /* one part a turn: others want to be served too */
    flush_all(c);
    return 0;
}

static void open_file(struct console *c)
{
    AUTO_STR path = vm_path(c->vm, "console.log");
    c->file = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    if (c->file < 0)
        return;
    char part[KEEP];
    off_t end = lseek(c->file, 0, SEEK_END), from = end > KEEP ? end - KEEP : 0;
    ssize_t n = end > 0 ? pread(c->file, part, KEEP, from) : 0;
    c->file_len = end > 0 ? end : 0;
    if (n > 0)
        keep(c, part, n);
}

void console_open(struct vm *vm)
{
    if (!json_object_get(vm->vt, "console"))
        return;
    if (vm->console) {
        /* Started again: the text goes on, the line is a new one. */
        if (vm->console->fd < 0 && !vm->console->timer)
            on_timer(NULL, 0, vm->console);
        return;
    }
    struct console *c = calloc(1, sizeof *c);
    if (!c)
        return; /* a VM without a console text still runs */
    c->vm = vm;
    c->fd = c->file = -1;
    list_init(&c->watchers);
    vm->console = c;
    open_file(c);
    on_timer(NULL, 0, c);
}

void console_over(struct vm *vm)
{
    if (vm->console)
        flush_all(vm->console);
}

void console_close(struct vm *vm)
{
    struct console *c = vm->console;
    if (!c)
        return;
    vm->console = NULL;
    struct watcher *w, *next;
    list_each_safe (w, next, &c->watchers, in) {
        watcher_flush(w);
        watcher_free(w);
    }
    sd_event_source_disable_unref(c->io);
    sd_event_source_disable_unref(c->timer);
    if (c->fd >= 0)
        close(c->fd);
    if (c->file >= 0)
        close(c->file);
    free(c);
}

void console_drain(struct vm *vm)
{
    struct console *c = vm->console;
    for (int i = 0; c && c->fd >= 0 && i < 64 && take(c); i++)
        ;
}

static bool has_writer(const struct console *c)
{
    struct watcher *w;
    list_each (w, &c->watchers, in)
        if (w->writer)
            return true;
    return false;
}

void console_watch(struct vm *vm, struct rpc_call *call, bool write)
{
    struct console *c = vm->console;
    struct err err = {0};
    if (!c)
        err_set(&err, E_UNAVAIL, "VM '%s' has no console (type '%s', %s)", vm->name,
                profile_type_names[vm->profile->type], state_name(vm->state));
    else if (c->nwatchers >= WATCHERS_MAX)
        err_set(&err, E_BUSY, "the console of '%s' has %d watchers already", vm->name,
                WATCHERS_MAX);
    else if (write && has_writer(c))
        err_set(&err, E_BUSY,
                "somebody else types on the console of '%s'; watch it "
                "with --read-only",
                vm->name);
    struct watcher *w = c && !err.code ? calloc(1, sizeof *w) : NULL;
    if (!w) {
        if (!err.code)
            err_oom(&err);
        rpc_call_fail(call, &err);
        return;
    }
    char *rest = NULL;
    size_t rest_len = 0;
    *w = (struct watcher){.console = c, .writer = write};
    w->fd = rpc_call_upgrade(call, NULL, &rest, &rest_len);
    free(rest);
    if (w->fd < 0) {
        free(w);
        return;
    }
    w->at = c->total > KEEP ? c->total - KEEP : 0;
    list_add(&c->watchers, &w->in);
    c->nwatchers++;
    vm->agent->busy++;
    if (sd_event_add_io(vm->agent->event, &w->io, w->fd, EPOLLIN, on_watcher, w) < 0 ||
        !watcher_flush(w))
        watcher_free(w);
}

static size_t text_of(struct vm *vm, char *text)
{
    console_drain(vm);
    return vm->console ? kept(vm->console, text) : 0;
}

/* Printable part of a line, for messages. */
static void clean(const char *from, size_t len, char *line, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < len && n + 1 < size; i++)
        if (isprint((unsigned char)from[i]))
            line[n++] = from[i];
    line[n] = '\0';
}

void console_last_line(struct vm *vm, char *line, size_t size)
{
    char text[KEEP];
    size_t end = text_of(vm, text);
    line[0] = '\0';
    while (end > 0 && !*line) {
        size_t start = end;
        while (start > 0 && text[start - 1] != '\n')
            start--;
        clean(text + start, end - start, line, size);
        end = start > 0 ? start - 1 : 0;
    }
}

bool console_tells_end(struct vm *vm, struct err *why)
{
    static const char *const bad[] = {"Kernel panic", "lodge-stage1: fatal"};
    char text[KEEP], line[200];
    size_t len = text_of(vm, text);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *at = memmem(text, len, bad[i], strlen(bad[i]));
        if (!at)
            continue;
        char *end = memchr(at, '\n', text + len - at);
        clean(at, (end ? end : text + len) - at, line, sizeof line);
        err_set(why, E_FAIL, "the guest crashed: %s", line);
        return true;
    }
    if (vm->state != VM_BOOTING)
        return false;
    console_last_line(vm, line, sizeof line);
    err_set(why, E_FAIL, "it ended while booting%s%s",
            *line ? "; its console's last line: " : "", line);
    return true;
}
