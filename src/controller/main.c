/* SPDX-License-Identifier: Apache-2.0 */
/* lodged: serves the table of methods over a unix socket. Who calls is asked from the
 * kernel; what each may is decided by the handlers. */
#include <argp.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <systemd/sd-daemon.h>

#include "base/dirs.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/str.h"
#include "config.h"
#include "controller/lodged.h"

const char *argp_program_version = "lodged " PACKAGE_VERSION;

struct options {
    const char *socket;
    const char *database;
};

static const struct argp_option options[] = {
    {"socket", 's', "PATH", 0,
     "listen here instead of lodged.sock in the run directory"},
    {"database", 'd', "FILE", 0, "instead of lodge.db in the state directory"},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case 's':
        o->socket = arg;
        return 0;
    case 'd':
        o->database = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void handle(struct rpc_call *call, json_t *params, void *arg)
{
    struct lodged *l = arg;
    struct err err = {0};
    json_t *result = NULL;
    const char *method = rpc_call_method(call);
    if (dispatch_call(l->dispatch, rpc_call_uid(call), false, method, params, &result,
                      &err) < 0) {
        if (err.code == E_BUG || err.code == E_IO || err.code == E_SYS)
            log_error(NULL, "%s: %s", method, err.text);
        rpc_call_fail(call, &err);
        return;
    }
    if (str_starts(method, "node."))
        lodged_sync_nodes(l);
    rpc_call_answer(call, result);
}

/* The live methods come first: of two with one name the first is found. */
static struct rpc_method *methods_of_tables(void)
{
    static const struct rpc_method *const live[] = {
        lodged_node_methods, lodged_vm_methods, lodged_image_methods};
    size_t n = 0;
    for (size_t t = 0; t < ARRAY_SIZE(live); t++)
        for (const struct rpc_method *m = live[t]; m->name; m++)
            n++;
    for (size_t t = 0; dispatch_tables[t]; t++)
        for (const struct dispatch_method *m = dispatch_tables[t]; m->name; m++)
            n++;
    struct rpc_method *all = calloc(n + 1, sizeof *all);
    n = 0;
    for (size_t t = 0; all && t < ARRAY_SIZE(live); t++)
        for (const struct rpc_method *m = live[t]; m->name; m++)
            all[n++] = *m;
    for (size_t t = 0; all && dispatch_tables[t]; t++)
        for (const struct dispatch_method *m = dispatch_tables[t]; m->name; m++)
            all[n++] = (struct rpc_method){m->name, handle};
    return all;
}

static int quit(sd_event_source *s, void *arg)
{
    return sd_event_exit(sd_event_source_get_event(s), 0);
}

/* What the end of a connection leaves for the next turn of the loop comes before quit(). */
static int stop(sd_event_source *s, const struct signalfd_siginfo *si, void *arg)
{
    struct lodged *l = arg;
    sd_event_source *last;
    if (!l->hub)
        return 0;
    lodged_stop(l);
    if (sd_event_add_defer(l->event, &last, quit, l) < 0)
        return sd_event_exit(l->event, 0);
    sd_event_source_set_priority(last, SD_EVENT_PRIORITY_IDLE);
    sd_event_source_set_floating(last, 1);
    sd_event_source_unref(last);
    return 0;
}

static int block_signals(struct lodged *l)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    return sd_event_add_signal(l->event, NULL, SIGTERM, stop, l) < 0 ||
                   sd_event_add_signal(l->event, NULL, SIGINT, stop, l) < 0
               ? -1
               : 0;
}

/* Two controllers of one store would each start what the other does. */
static int lock_store(struct lodged *l, struct err *err)
{
    AUTO_STR path = str_printf("%s.lodged", store_path(l->store));
    if (!path)
        return err_oom(err);
    struct err why;
    int fd = fd_lock_file(path, 0600, LOCK_EX | LOCK_NB, &why);
    if (fd < 0)
        return why.code == E_BUSY
                   ? err_set(err, E_BUSY, "another lodged serves the store '%s'",
                             store_path(l->store))
                   : err_set(err, why.code, "%s", why.text);
    return fd; /* kept until the end of the process */
}

/* Submit hosts come by lodge-gate, a process of its own: munge may keep it waiting. */
static int start_gate(struct lodged *l);

static int on_gate_again(sd_event_source *s, uint64_t now, void *arg)
{
    start_gate(arg);
    return 0;
}

static int on_gate_ended(sd_event_source *s, int fd, uint32_t events, void *arg)
{
    enum { AGAIN_S = 5 };
    struct lodged *l = arg;
    sd_event_source *again;
    int status;
    proc_wait(fd, 0, &status, NULL);
    log_error(NULL, "lodge-gate ended: submit hosts are not served for %d s", AGAIN_S);
    l->gate = sd_event_source_disable_unref(l->gate);
    if (sd_event_add_time_relative(l->event, &again, CLOCK_MONOTONIC, AGAIN_S * 1000000,
                                   0, on_gate_again, l) >= 0) {
        sd_event_source_set_floating(again, 1);
        sd_event_source_unref(again);
    }
    return 0;
}

static int start_gate(struct lodged *l)
{
    const char *where = conf_text(l->conf, CONF_LISTEN);
    AUTO_STR program = dirs_path(DIRS_LIBEXEC, "lodge-gate");
    const char *const argv[] = {program, "--listen", where, l->path, NULL};
    struct proc_spec spec = {.argv = argv, .die_with_us = true};
    struct err err;
    AUTO_FD pidfd = -1;
    if (str_empty(where))
        return 0;
    if (!program || proc_spawn(&spec, &pidfd, NULL, &err) < 0 ||
        sd_event_add_io(l->event, &l->gate, pidfd, EPOLLIN, on_gate_ended, l) < 0) {
        log_error(NULL, "lodge-gate: %s", program ? err.text : "out of memory");
        return -1;
    }
    sd_event_source_set_io_fd_own(l->gate, true);
    move_fd(pidfd);
    return 0;
}

static int serve(const struct options *o, struct lodged *l, struct err *err)
{
    AUTO_STR usual = dirs_path(DIRS_RUN, "lodged.sock");
    struct rpc_method *methods = methods_of_tables();
    const char *path = o->socket ? o->socket : usual;
    int r = path && methods ? 0 : err_oom(err);
    if (r == 0 && !o->socket)
        r = dirs_make(DIRS_RUN, err);
    int fd = r == 0 ? fd_unix_listen(path, 0666, err) : -1;
    if (fd < 0 ||
        rpc_server_new(l->event, fd, "lodged", methods, l, &l->server, err) < 0) {
        free(methods);
        return -1;
    }
    r = lodged_start(l, err);
    if (r == 0) {
        log_info(NULL, "listening on %s", path);
        l->path = path;
        start_gate(l);
        sd_notify(0, "READY=1");
        r = sd_event_loop(l->event);
    }
    unlink(path);
    l->gate = sd_event_source_disable_unref(l->gate);
    lodged_stop(l);
    free(methods);
    return r;
}

static int run(const struct options *o, struct lodged *l, struct err *err)
{
    struct dispatch_call c = {0};
    if (conf_load(NULL, &l->conf, err) < 0 ||
        dispatch_new(o->database, &l->dispatch, err) < 0)
        return -1;
    c.dispatch = l->dispatch;
    fd_raise_limit();
    if (sd_event_default(&l->event) < 0 || block_signals(l) < 0)
        return err_oom(err);
    if (dispatch_store(&c, &l->store, err) < 0 || lock_store(l, err) < 0)
        return -1;
    return serve(o, l, err);
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        options, parse, NULL,
        "The controller of Lodge: profiles, clusters, nodes, "
        "operations, for all users of this site."};
    struct options o = {0};
    struct lodged l = {0};
    struct err err = {0};
    argp_err_exit_status = 64;
    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0)
        return 64;
    log_open("lodged", LOG_L_INFO);
    int r = run(&o, &l, &err);
    if (r < 0)
        log_error(NULL, "%s", err.text);
    dispatch_free(l.dispatch);
    conf_free(l.conf);
    sd_event_unref(l.event);
    return r < 0 ? err_exit_status(&err) : 0;
}
