/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "guest_host.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/own.h"
#include "base/proc.h"

struct host host = {.fd = -1};

void job_done(struct job *j)
{
    for (int i = 0; i < 3; i++)
        str_buf_done(&j->out[i]);
}

uint64_t sum_of(uint64_t sum, const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sum = sum * 31 + (unsigned char)p[i];
    return sum;
}

static void take_message(struct job *j, const struct chan_event *ev)
{
    AUTO_JSON m = NULL;
    struct err err;
    if (chan_parse(ev, &m, &err) < 0)
        fail_msg("%s", err.text);
    json_t *e = json_object_get(m, "error"), *exit = json_object_get(m, "exit");
    json_int_t n;
    if (e)
        snprintf(j->error, sizeof j->error, "%s",
                 json_string_value(json_object_get(e, "code")));
    if (exit) {
        json_unpack(exit, "{s?i, s?i}", "status", &j->status, "signal", &j->sig);
        const char *text = json_string_value(json_object_get(exit, "text"));
        if (text)
            snprintf(j->error, sizeof j->error, "%s", text);
    }
    if (json_unpack(m, "{s:{s:I}}", "attached", "stdin", &n) == 0)
        j->attached = n;
    if (json_unpack(m, "{s:{s:I}}", "started", "pid", &n) == 0)
        j->pid = n;
    j->input_closed |= json_object_get(m, "stdin") != NULL;
}

static void take(const struct chan_event *ev)
{
    struct job *j = ev->user;
    if (!j)
        return;
    if (ev->kind == CHAN_EV_MSG)
        take_message(j, ev);
    if (ev->kind == CHAN_EV_DATA) {
        j->got[ev->flow] += ev->len;
        if (j->sum_only)
            j->sum = sum_of(j->sum, ev->data, ev->len);
        else
            str_buf_add(&j->out[ev->flow], ev->data, ev->len);
        if (!j->hold)
            chan_consumed(host.chan, ev->stream, ev->flow, ev->len);
    }
    if (ev->kind == CHAN_EV_CLOSE)
        chan_close(host.chan, ev->stream);
    j->gone |= ev->kind == CHAN_EV_GONE;
    j->over |= ev->kind == CHAN_EV_GONE || ev->kind == CHAN_EV_CLOSE;
}

bool turn(int wait_ms)
{
    size_t len;
    const void *out = chan_output(host.chan, &len);
    struct pollfd p = {.fd = host.fd, .events = POLLIN | (len ? POLLOUT : 0)};
    uint64_t now = clock_ms();
    chan_tick(host.chan, now);
    int hello = chan_timeout(host.chan, now);
    poll(&p, 1, hello >= 0 && hello < wait_ms ? hello : wait_ms);
    if (p.revents & POLLOUT) {
        ssize_t n = send(host.fd, out, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
            chan_output_done(host.chan, n);
    }
    if (p.revents & (POLLIN | POLLHUP)) {
        size_t room;
        void *to = chan_room(host.chan, &room);
        ssize_t n = recv(host.fd, to, room, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return false;
        if (n > 0)
            chan_added(host.chan, n);
    }
    struct chan_event ev;
    while (chan_next(host.chan, &ev))
        take(&ev);
    return true;
}

/* In namespaces of its own, with an /etc of its own, so that it may be told who it is. */
static void enclose(void)
{
    static const char *const own[] = {"/etc", "/mnt", "/home"};
    static const char *const link[] = {
        "ip",   "link", "add",  "d0",   "address", "52:54:00:00:00:01",
        "type", "veth", "peer", "name", "d1",      NULL};
    static const char there[] = "there\n", old[] = "old::1:1::/:\n";
    const struct proc_spec ip = {.argv = link};
    bool ok = unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS) == 0 &&
              proc_run(&ip, 10000, NULL, NULL) == 0 &&
              mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    for (size_t i = 0; ok && i < ARRAY_SIZE(own); i++)
        ok = mount("tmpfs", own[i], "tmpfs", 0, NULL) == 0;
    if (!ok || fd_mkdirs("/mnt/share", 0755, NULL) < 0 ||
        fd_replace_file("/mnt/share/file", there, strlen(there), 0644, NULL) < 0 ||
        fd_replace_file("/etc/passwd", old, strlen(old), 0644, NULL) < 0)
        _exit(98);
}

void launch(enum how how)
{
    int pair[2];
    char number[16], path[4096];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    const char *top = getenv("LODGE_TOP_BUILDDIR");
    snprintf(path, sizeof path, "%s/lodge-guest", top ? top : ".");
    host.pid = fork();
    if (host.pid == 0) {
        int fd = fcntl(pair[1], F_DUPFD, 10);
        snprintf(number, sizeof number, "%d", fd);
        if (how == ENCLOSED)
            enclose();
        execl(path, path, "--fd", number, how == SUPERVISED ? "--daemon" : "--worker",
              how == ENCLOSED ? NULL : "--no-identity", NULL);
        _exit(99);
    }
    close(pair[1]);
    host.fd = pair[0];
    struct chan_config config = {.role = CHAN_HOST};
    assert_int_equal(chan_new(&config, &host.chan, NULL), 0);
    UNTIL(chan_state(host.chan) == CHAN_UP);
}

int land(void)
{
    int status = -1;
    close(host.fd);
    waitpid(host.pid, &status, 0);
    chan_free(host.chan);
    host.chan = NULL;
    return status;
}

void ask(struct job *j, json_t *request)
{
    struct err err;
    j->status = j->sig = -1;
    bool command = json_object_get(request, "argv") || json_object_get(request, "path");
    if (command && !json_object_get(request, "uid") && geteuid() == 0) {
        json_object_set_new(request, "uid", json_integer(0));
        json_object_set_new(request, "gid", json_integer(0));
    }
    if (chan_open(host.chan, request, j, &j->stream, &err) < 0)
        fail_msg("%s", err.text);
}

json_t *shell(const char *script)
{
    return json_pack("{s:s, s:[s,s,s]}", "op", "exec", "argv", "sh", "-c", script);
}

void run(struct job *j, json_t *request)
{
    ask(j, request);
    chan_eof(host.chan, j->stream, 0);
    UNTIL(j->over);
}
