/* SPDX-License-Identifier: Apache-2.0 */
/* lodge-guest's worker: turns the loop and hands events on; see the header. */
#include "guest/guest.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/own.h"
#include "guest/exec.h"
#include "guest/monitor.h"

void guest_take_events(struct guest *g)
{
    struct chan_event ev;
    while (chan_next(g->chan, &ev)) {
        switch (ev.kind) {
        case CHAN_EV_UP:
            log_debug(NULL, "channel is up with %s", ev.data);
            break;
        case CHAN_EV_LOST:
            log_debug(NULL, "channel lost: %s", ev.data);
            break;
        case CHAN_EV_OPEN:
            ops_open(g, &ev);
            break;
        default:
            exec_event(g, &ev);
        }
    }
}

static int sooner(int a, int b)
{
    return a < 0 ? b : b < 0 ? a : a < b ? a : b;
}

static int until(uint64_t at, uint64_t now)
{
    return !at ? -1 : at <= now ? 0 : (int)(at - now);
}

/* What is due now; gives the time to the next thing. */
static int tick(struct guest *g)
{
    uint64_t now = clock_ms();
    chan_tick(g->chan, now);
    if (g->thaw_at && g->thaw_at <= now) {
        g->thaw_at = 0;
        thaw_all();
        log_warn(NULL, "nobody thawed the file systems in time: done by ourselves");
    }
    if (g->reopen_at && g->reopen_at <= now) {
        g->reopen_at = 0;
        port_open(g);
    }
    port_write(g);
    if (g->congested && chan_output_len(g->chan) < CHAN_OUTPUT_HIGH / 2) {
        g->congested = false;
        exec_all_go_on(g);
        port_write(g);
    }
    int wait = exec_tick(g, now);
    wait = sooner(wait, chan_timeout(g->chan, now));
    wait = sooner(wait, until(g->thaw_at, now));
    return sooner(wait, until(g->reopen_at, now));
}

/* Who watches the console of the machine boot waits for this line. */
static void say_ready(const struct guest_options *options)
{
    static const char line[] = "lodge-guest: ready\n";
    if (options->no_identity)
        return;
    AUTO_FD console =
        open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (console >= 0 && write(console, line, sizeof line - 1) < 0)
        log_debug(NULL, "no console to say ready on");
}

int guest_run(const struct guest_options *options, struct err *err)
{
    struct guest g = {.options = options,
                      .port = -1,
                      .listener = -1,
                      .identity = options->no_identity};
    struct chan_config config = {.role = CHAN_GUEST};
    list_init(&g.execs);
    monitor_prepare(!options->no_identity);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN); /* monitors tell what matters over their sockets */
    if (loop_new(&g.loop, err) < 0 || chan_new(&config, &g.chan, err) < 0)
        return -1;
    if (options->listen && port_listen(&g, err) < 0)
        return -1;
    port_open(&g);
    say_ready(options);
    int r = 0;
    while (r == 0 && !g.over) {
        int wait = tick(&g);
        if (g.power && chan_output_len(g.chan) == 0)
            power_down(options->pid1, g.power == POWER_REBOOT);
        /* An answer that cannot be delivered does not keep the machine up. */
        if (g.power)
            wait = sooner(wait, 1000);
        uint64_t before = clock_ms();
        r = loop_turn(g.loop, wait, err);
        if (g.power && clock_ms() - before >= 1000)
            power_down(options->pid1, g.power == POWER_REBOOT);
    }
    exec_drop_all(&g);
    port_close(&g);
    chan_free(g.chan);
    loop_free(g.loop);
    return r;
}
