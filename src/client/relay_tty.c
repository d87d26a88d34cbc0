/* SPDX-License-Identifier: Apache-2.0 */
/* Our terminal and our signals, while a command runs elsewhere. */
#include "client/relay.h"

#include <errno.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

static const int forwarded[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

void relay_make_raw(struct relay *r)
{
    struct termios t;
    if (!r->x->command->pty || tcgetattr(r->x->fds[0], &t) < 0)
        return;
    if (!r->raw)
        r->was = t;
    cfmakeraw(&t);
    r->raw = tcsetattr(r->x->fds[0], TCSADRAIN, &t) == 0;
}

void relay_make_cooked(struct relay *r)
{
    if (r->raw)
        tcsetattr(r->x->fds[0], TCSADRAIN, &r->was);
    r->raw = false;
}

void relay_send_json(struct relay *r, json_t *what)
{
    if (r->chan && !r->waiting)
        chan_msg(r->chan, CHAN_DIRECT, what, NULL);
    else
        json_decref(what);
}

void relay_send_winsize(struct relay *r)
{
    struct winsize size;
    if (r->x->command->pty && (ioctl(r->x->fds[0], TIOCGWINSZ, &size) == 0 ||
                               ioctl(r->x->fds[1], TIOCGWINSZ, &size) == 0))
        relay_send_json(r, json_pack("{s:[i,i]}", "winsize", size.ws_row, size.ws_col));
}

void relay_flush_now(struct relay *r)
{
    size_t len;
    const void *p;
    while (r->chan && (p = chan_output(r->chan, &len)) && len) {
        ssize_t n = send(r->conn, p, len, MSG_NOSIGNAL);
        if (n <= 0 && errno != EINTR)
            return;
        if (n > 0)
            chan_output_done(r->chan, n);
    }
}

/* Ctrl-Z: the command stops, then we; the shell sees a stopped job. */
static void stop_both(struct relay *r)
{
    relay_send_json(r, json_pack("{s:i}", "signal", SIGTSTP));
    relay_flush_now(r);
    relay_make_cooked(r);
    raise(SIGSTOP);
    relay_make_raw(r);
    relay_send_json(r, json_pack("{s:i}", "signal", SIGCONT));
    relay_send_winsize(r);
}

static void take_signal(struct relay *r, int sig)
{
    switch (sig) {
    case SIGWINCH:
        relay_send_winsize(r);
        break;
    case SIGTSTP:
        stop_both(r);
        break;
    case SIGCONT: /* after a stop we did not make */
        relay_make_raw(r);
        relay_send_json(r, json_pack("{s:i}", "signal", SIGCONT));
        break;
    default:
        relay_send_json(r, json_pack("{s:i}", "signal", sig));
        if (sig == SIGHUP && r->x->command->pty && r->chan) {
            /* The terminal is gone: closing the stream hangs the other one up. */
            chan_close(r->chan, CHAN_DIRECT);
            r->hung_up = true;
        }
    }
}

void relay_take_signals(struct relay *r)
{
    struct signalfd_siginfo info;
    while (read(r->signals, &info, sizeof info) == sizeof info)
        take_signal(r, info.ssi_signo);
}

int relay_watch_signals(struct relay *r, sigset_t *was, struct err *err)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_SIZE(forwarded); i++) {
        struct sigaction now;
        /* What we were told to ignore (nohup, a shell's background) stays ignored. */
        if (sigaction(forwarded[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
            sigaddset(&set, forwarded[i]);
    }
    sigaddset(&set, SIGWINCH);
    sigaddset(&set, SIGTSTP);
    sigaddset(&set, SIGCONT);
    sigprocmask(SIG_BLOCK, &set, was);
    r->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return r->signals < 0 ? err_sys(err, "signals") : 0;
}
