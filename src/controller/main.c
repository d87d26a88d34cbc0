/* SPDX-License-Identifier: Apache-2.0 */
/* lodged: serves the table of methods over a unix socket. Who calls is asked from the
 * kernel; what each may is decided by the handlers. */
#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "base/dirs.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "config.h"
#include "controller/dispatch.h"
#include "proto/server.h"

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
    struct err err = {0};
    json_t *result = NULL;
    if (dispatch_call(arg, rpc_call_uid(call), false, rpc_call_method(call), params,
                      &result, &err) < 0) {
        if (err.code == E_BUG || err.code == E_IO || err.code == E_SYS)
            log_error(NULL, "%s: %s", rpc_call_method(call), err.text);
        rpc_call_fail(call, &err);
        return;
    }
    rpc_call_answer(call, result);
}

static struct rpc_method *methods_of_tables(void)
{
    size_t n = 0;
    for (size_t t = 0; dispatch_tables[t]; t++)
        for (const struct dispatch_method *m = dispatch_tables[t]; m->name; m++)
            n++;
    struct rpc_method *all = calloc(n + 1, sizeof *all);
    n = 0;
    for (size_t t = 0; all && dispatch_tables[t]; t++)
        for (const struct dispatch_method *m = dispatch_tables[t]; m->name; m++)
            all[n++] = (struct rpc_method){m->name, handle};
    return all;
}

static int stop(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
    return sd_event_exit(sd_event_source_get_event(s), 0);
}

static int serve(const struct options *o, struct dispatch *d, struct err *err)
{
    AUTO(rpc_server) server = NULL;
    AUTO_STR usual = dirs_path(DIRS_RUN, "lodged.sock");
    struct rpc_method *methods = methods_of_tables();
    sd_event *event = NULL;
    sigset_t signals;
    const char *path = o->socket ? o->socket : usual;
    if (!path || !methods || sd_event_default(&event) < 0) {
        free(methods);
        return err_oom(err);
    }
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    int r = o->socket ? 0 : dirs_make(DIRS_RUN, err);
    int fd = r == 0 ? fd_unix_listen(path, 0666, err) : -1;
    if (fd >= 0 && rpc_server_new(event, fd, "lodged", methods, d, &server, err) == 0) {
        sd_event_add_signal(event, NULL, SIGTERM, stop, NULL);
        sd_event_add_signal(event, NULL, SIGINT, stop, NULL);
        log_info(NULL, "listening on %s", path);
        sd_notify(0, "READY=1");
        r = sd_event_loop(event);
        unlink(path);
    } else {
        r = -1;
    }
    rpc_server_free(move(server));
    sd_event_unref(event);
    free(methods);
    return r;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {options, parse, NULL,
                                     "The controller of Lodge: profiles, clusters, "
                                     "operations, for all users of this machine."};
    struct options o = {0};
    struct err err = {0};
    argp_err_exit_status = 64;
    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0)
        return 64;
    log_open("lodged", LOG_L_INFO);
    AUTO(dispatch) d = NULL;
    if (dispatch_new(o.database, &d, &err) < 0 || serve(&o, d, &err) < 0) {
        log_error(NULL, "%s", err.text);
        return err_exit_status(&err);
    }
    return 0;
}
