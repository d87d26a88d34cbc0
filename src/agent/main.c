/* SPDX-License-Identifier: Apache-2.0 */
/* lodge-agent: options, log, socket, loop. */
#include "agent/agent.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "agent/reclaim.h"
#include "base/dirs.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "config.h"

enum { IDLE_MS = 60000 };

struct options {
    bool stay, reclaim, verbose;
    const char *socket;
    unsigned idle_ms;
};

static const struct argp_option options[] = {
    {"stay", 's', 0, 0, "do not end when there is nothing to do"},
    {"socket", 'S', "PATH", 0,
     "listen here; else $LODGE_AGENT_SOCKET, else agent.sock "
     "in the run directory"},
    {"idle", 'i', "TIME", 0, "end after this time without VMs (60s)"},
    {"reclaim", 'r', 0, 0, "take back what belongs to no VM, say what it was, and end"},
    {"verbose", 'v', 0, 0, "log what happens"},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    uint64_t ms;
    switch (key) {
    case 's':
        o->stay = true;
        return 0;
    case 'S':
        o->socket = arg;
        return 0;
    case 'i':
        if (!str_to_ms(arg, &ms) || ms > 86400000)
            argp_error(state, "'%s' is not a time; write 90s or 5m", arg);
        o->idle_ms = ms;
        return 0;
    case 'r':
        o->reclaim = true;
        return 0;
    case 'v':
        o->verbose = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* One agent a state directory: the lock is held as long as we live. */
static int lock_state(struct err *err)
{
    AUTO_STR path = dirs_path(DIRS_STATE, "agent.lock");
    if (!path)
        return err_oom(err);
    struct err why;
    AUTO_FD fd = fd_lock_file(path, 0600, LOCK_EX | LOCK_NB, &why);
    if (fd < 0)
        return why.code == E_BUSY
                   ? err_set(err, E_BUSY,
                             "another lodge-agent runs already (it holds '%s')", path)
                   : err_set(err, why.code, "%s", why.text);
    if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
        return err_sys(err, "'%s'", path);
    return move_fd(fd);
}

static char *socket_path(const struct options *o)
{
    const char *env = getenv("LODGE_AGENT_SOCKET");
    if (o->socket || !str_empty(env))
        return strdup(o->socket ? o->socket : env);
    return dirs_path(DIRS_RUN, "agent.sock");
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *si,
                     void *arg)
{
    /* VMs stay: whoever starts next takes them over. */
    return sd_event_exit(sd_event_source_get_event(source), 0);
}

static int serve(struct agent *a, const char *path, struct err *err)
{
    int listen =
        sd_listen_fds(1) == 1 ? SD_LISTEN_FDS_START : fd_unix_listen(path, 0666, err);
    if (listen < 0)
        return -1;
    fd_set_nonblock(listen, true, NULL);
    if (rpc_server_new(a->event, listen, "lodge-agent", agent_methods, a, &a->server,
                       err) < 0)
        return -1;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    sd_event_add_signal(a->event, NULL, SIGTERM, on_signal, a);
    sd_event_add_signal(a->event, NULL, SIGINT, on_signal, a);
    signal(SIGPIPE, SIG_IGN);
    if (agent_load(a, err) < 0)
        return -1;
    agent_touch(a);
    sd_notify(0, "READY=1");
    int r = sd_event_loop(a->event);
    return r < 0 ? err_set(err, E_SYS, "event loop: %s", strerror(-r)) : 0;
}

static int run(const struct options *o, struct err *err)
{
    struct agent a = {.stay = o->stay, .idle_ms = o->idle_ms, .root = ""};
    list_init(&a.vms);
    list_init(&a.asked);
    umask(022);
    if (dirs_make(DIRS_STATE, err) < 0 || dirs_make(DIRS_RUN, err) < 0)
        return -1;
    AUTO_FD lock = lock_state(err);
    if (lock < 0)
        return -1;
    fd_raise_limit();
    if (sd_event_new(&a.event) < 0)
        return err_oom(err);
    AUTO_STR path = socket_path(o);
    int r = !path        ? err_oom(err)
            : o->reclaim ? reclaim_print(&a, err)
                         : serve(&a, path, err);
    rpc_server_free(a.server);
    a.server = NULL;
    agent_unload(&a);
    sd_event_unref(a.event);
    return r;
}

int main(int argc, char **argv)
{
    struct options o = {.idle_ms = IDLE_MS};
    struct argp argp = {.options = options,
                        .parser = parse,
                        .doc = "The node's daemon: owns its virtual machines."};
    argp_program_version = "lodge-agent " PACKAGE_VERSION;
    argp_err_exit_status = 64;
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    log_open("lodge-agent", o.verbose ? LOG_L_INFO : LOG_L_WARN);
    struct err err = {0};
    if (run(&o, &err) < 0) {
        log_error(NULL, "%s", err.text);
        return err_exit_status(&err);
    }
    return 0;
}
