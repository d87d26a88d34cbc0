/* SPDX-License-Identifier: Apache-2.0 */
/* lodge-join: joins its standard input and output to the agent's socket. The node's
 * sshd runs it as the subsystem "lodge"; nothing else is reachable through it. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/dirs.h"
#include "base/fd.h"
#include "base/str.h"

struct way {
    int from, to;
    char data[65536];
    size_t at, len;
    bool ended; /* no more from `from` */
};

/* Move what can be moved now; false when this way is broken. */
static bool pump(struct way *w, bool readable, bool writable)
{
    if (readable && w->at == w->len) {
        ssize_t n = read(w->from, w->data, sizeof w->data);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        w->at = 0;
        w->len = n;
        w->ended = n == 0;
    }
    if (w->at < w->len) {
        ssize_t n = write(w->to, w->data + w->at, w->len - w->at);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        w->at += n;
    }
    return true;
}

static bool ready(const struct pollfd *p, short events)
{
    return p->revents & (events | POLLHUP | POLLERR);
}

static int join(int sock)
{
    static struct way in = {.from = STDIN_FILENO}, out = {.to = STDOUT_FILENO};
    bool deaf = false; /* the agent hears nothing more, and may have said something */
    in.to = out.from = sock;
    for (;;) {
        bool in_full = !deaf && in.at < in.len, out_full = out.at < out.len;
        struct pollfd p[] = {
            {deaf || in.ended || in_full ? -1 : STDIN_FILENO, POLLIN, 0},
            {out_full && !in_full ? -1 : sock,
             (out_full ? 0 : POLLIN) | (in_full ? POLLOUT : 0), 0},
            {out_full ? STDOUT_FILENO : -1, POLLOUT, 0},
        };
        if (poll(p, 3, -1) < 0 && errno != EINTR)
            return 1;
        deaf =
            deaf || !pump(&in, ready(&p[0], POLLIN), in_full && ready(&p[1], POLLOUT));
        if (!pump(&out, ready(&p[1], POLLIN), out_full))
            return 0;
        if (out.ended && out.at == out.len)
            return 0;
        if (!deaf && in.ended && in.at == in.len)
            return 0; /* the controller is gone */
    }
}

int main(int argc, char **argv)
{
    struct err err;
    const char *given = argc > 1 ? argv[1] : NULL;
    AUTO_STR usual = dirs_path(DIRS_RUN, "agent.sock");
    if (argc > 2 || (given && *given == '-') || !usual) {
        fprintf(stderr, "Usage: lodge-join [SOCKET]\n");
        return 64;
    }
    signal(SIGPIPE, SIG_IGN);
    AUTO_FD sock = fd_unix_connect(given ? given : usual, &err);
    if (sock < 0) {
        fprintf(stderr, "lodge-join: %s; is lodge-agent running?\n", err.text);
        return err_exit_status(&err);
    }
    fd_set_nonblock(sock, true, NULL);
    return join(sock);
}
