/* SPDX-License-Identifier: Apache-2.0 */
/* The relay between our standard files and a command's stream; see the header.
 *
 * One loop of poll: the connection, a signalfd, and whichever of the three files can be
 * moved on. Standard files are shared with others, so they are never made nonblocking:
 * we read when poll says so and write to pipes and terminals no more than poll promised.
 * Bytes sent but not yet consumed over there are kept, to send them again after the agent
 * was restarted. */
#include "client/exec.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "client/agent.h"
#include "client/relay.h"

enum { RETRY_MIN_MS = 50, RETRY_MAX_MS = 1000 };
enum { ANSWER_MS = 10000 };

/* --- the connection ---------------------------------------------------------------- */

static void drop_connection(struct relay *r)
{
    chan_free(r->chan);
    r->chan = NULL;
    if (r->conn >= 0)
        close(r->conn);
    r->conn = -1;
}

static json_t *request(const struct relay *r, bool attach)
{
    const struct client_exec *x = r->x;
    json_t *to =
        attach ? json_pack("{s:{s:s, s:I, s:I}}", "attach", "token", x->command->token,
                           "stdout", (json_int_t)r->out[1].consumed, "stderr",
                           (json_int_t)r->out[2].consumed)
               : command_encode(x->command);
    if (to && x->vm)
        json_object_set_new(to, "vm", command_text_encode(x->vm));
    if (to && x->job)
        json_object_set_new(to, "job", command_text_encode(x->job));
    if (to && x->op)
        json_object_set_new(to, "op", json_string(x->op));
    return to;
}

static int connect_once(struct relay *r, bool attach, struct err *err)
{
    AUTO(rpc_client) client = NULL;
    json_t *params = request(r, attach);
    struct rpc_client_opts opts = {.timeout_ms = attach ? ANSWER_MS : 0};
    struct chan_config config = {.role = CHAN_HOST, .direct = true};
    if (!params)
        return err_oom(err);
    if ((r->x->connect ? r->x->connect : client_agent_find)(&client, err) < 0) {
        json_decref(params);
        return -1;
    }
    if (rpc_client_call(client, r->x->method ? r->x->method : "vm.exec", params, &opts,
                        NULL, err) < 0)
        return -1;
    AUTO_STR rest = NULL;
    size_t rest_len = 0, room;
    AUTO_FD conn = rpc_client_take_fd(client, &rest, &rest_len);
    if (chan_new(&config, &r->chan, err) < 0)
        return -1;
    void *to = chan_room(r->chan, &room);
    if (conn < 0 || rest_len > room) {
        drop_connection(r);
        return err_set(err, E_PROTO, "the agent answered too much at once");
    }
    if (rest_len)
        memcpy(to, rest, rest_len);
    chan_added(r->chan, rest_len);
    r->conn = move_fd(conn);
    r->waiting = attach;
    return 0;
}

/* The agent went away. Without a token that was all; with one we come back to the
 * command, as long as it waits for us. */
static int come_back(struct relay *r)
{
    const struct command *c = r->x->command;
    struct err why = {0};
    drop_connection(r);
    if (r->hung_up)
        return 0;
    if (!*c->token)
        return err_set(r->err, E_UNAVAIL,
                       "the connection to the command was lost: lodge-agent ended, or "
                       "the VM did");
    uint64_t end = clock_ms() + c->linger_ms;
    r->input_told = false;
    for (int wait = RETRY_MIN_MS; clock_ms() < end;) {
        if (connect_once(r, true, &why) == 0)
            return 0;
        /* What the agent itself says does not get better; that it is not there, or has
         * not found the VM's guest again, does. */
        if (why.code == E_PERM || why.code == E_NOENT || why.code == E_PROTO)
            break;
        struct pollfd p = {.fd = r->signals, .events = POLLIN};
        struct signalfd_siginfo info;
        poll(&p, 1, wait);
        wait = wait < RETRY_MAX_MS ? 2 * wait : RETRY_MAX_MS;
        while (read(r->signals, &info, sizeof info) == sizeof info)
            if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT ||
                info.ssi_signo == SIGHUP)
                return err_set(r->err, E_CANCELLED,
                               "interrupted while lodge-agent was away");
    }
    if (r->err)
        *r->err = why;
    return err_at(r->err, "the connection to the command was lost");
}

/* The first request. The agent may go away while it is being answered, or while the VM
 * boots; asked again with the same token, the guest knows a command it has already. */
static int connect_first(struct relay *r, struct err *err)
{
    const struct command *c = r->x->command;
    uint64_t end = clock_ms() + c->linger_ms;
    struct err why = {0};
    bool there = false;

    for (int wait = RETRY_MIN_MS;;) {
        if (connect_once(r, false, &why) == 0)
            return 0;
        there |= why.code != E_UNAVAIL || str_ends(why.text, "closed the connection");
        /* An agent that never was there is not waited for. */
        if (!there || !*c->token || clock_ms() >= end ||
            (why.code != E_UNAVAIL && why.code != E_IO))
            break;
        r->asked_again = true;
        poll(NULL, 0, wait);
        wait = wait < RETRY_MAX_MS ? 2 * wait : RETRY_MAX_MS;
    }
    if (err)
        *err = why;
    return -1;
}

/* --- events ------------------------------------------------------------------------ */

static void take_exit(struct relay *r, const json_t *exit)
{
    int status = 0, sig = 0, core = 0;
    const char *text = NULL;
    json_unpack((json_t *)exit, "{s?i, s?i, s?b, s?s}", "status", &status, "signal",
                &sig, "core", &core, "text", &text);
    r->exited = true;
    r->status =
        sig > 0 && sig < 0x7f ? sig | (core ? WCOREFLAG : 0) : (status & 0xff) << 8;
    if (text)
        err_set(r->err, E_FAIL, "%s", text);
}

static int take_message(struct relay *r, const struct chan_event *ev)
{
    AUTO_JSON m = NULL;
    json_int_t from;
    if (chan_parse(ev, &m, r->err) < 0)
        return -1;
    const json_t *error = json_object_get(m, "error");
    const json_t *exit = json_object_get(m, "exit");
    if (error) {
        const char *code = json_string_value(json_object_get(error, "code"));
        const char *text = json_string_value(json_object_get(error, "text"));
        return err_set(r->err, code ? err_code_parse(code) : E_FAIL, "%s",
                       text ? text : "the guest refused");
    }
    if (exit)
        take_exit(r, exit);
    else if (json_unpack(m, "{s:{s:I}}", "attached", "stdin", &from) == 0) {
        if (!r->waiting && !r->asked_again)
            return err_set(r->err, E_PROTO, "the guest attached what nobody lost");
        r->waiting = false;
        relay_send_winsize(r);
        return relay_input_again(r, from);
    } else if (json_object_get(m, "stdin")) {
        /* The command closed its input: so do we, for who writes to us. */
        r->input_over = r->input_told = r->input_closed = true;
        close(r->x->fds[0]);
    } else if (json_object_get(m, "lost"))
        r->closed = false; /* the close that follows is the agent's, not the guest's */
    else if (r->x->message)
        r->x->message(m, r->x->arg);
    return 0;
}

static int take_events(struct relay *r)
{
    struct chan_event ev;
    while (r->chan && chan_next(r->chan, &ev)) {
        int rc = 0;
        if (ev.kind == CHAN_EV_MSG)
            rc = take_message(r, &ev);
        else if (ev.kind == CHAN_EV_DATA)
            rc = relay_sink_take(r, ev.flow, ev.data, ev.len);
        else if (ev.kind == CHAN_EV_EOF)
            r->out[ev.flow].ended = true;
        else if (ev.kind == CHAN_EV_CREDIT)
            r->input_consumed += ev.len;
        else if (ev.kind == CHAN_EV_CLOSE) {
            chan_close(r->chan, CHAN_DIRECT);
            relay_flush_now(r);
            r->closed = r->exited;
            if (!r->exited)
                return come_back(r);
        } else if (ev.kind == CHAN_EV_LOST)
            return err_set(r->err, E_PROTO, "agent: %s", ev.data);
        if (rc < 0)
            return -1;
    }
    return 0;
}

static int read_connection(struct relay *r)
{
    size_t room;
    void *to = chan_room(r->chan, &room);
    ssize_t n = recv(r->conn, to, room, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0) {
        if (r->exited) {
            r->closed = true;
            drop_connection(r);
            return 0;
        }
        return come_back(r);
    }
    chan_added(r->chan, n);
    return take_events(r);
}

static int write_connection(struct relay *r)
{
    size_t len;
    const void *p = chan_output(r->chan, &len);
    ssize_t n = len ? send(r->conn, p, len, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
    if (n > 0)
        chan_output_done(r->chan, n);
    /* A broken connection still has what was said last: reading finds its end. */
    return 0;
}

/* --- the loop ---------------------------------------------------------------------- */

static bool is_over(const struct relay *r)
{
    if (r->hung_up)
        return true;
    return r->exited && r->closed && !r->out[1].len && !r->out[2].len;
}

/* Reading a terminal from its background would stop us, though the command may not want
 * any input. */
static bool in_background(const struct relay *r)
{
    pid_t front = tcgetpgrp(r->x->fds[0]);
    return front > 0 && front != getpgrp();
}

static int turn(struct relay *r)
{
    enum { CONN, SIGNALS, OUT, ERROR, IN, COUNT, LOOK_AGAIN_MS = 500 };
    size_t room = relay_input_room(r);
    bool back = room && in_background(r);
    if (back)
        room = 0;
    bool more = r->chan && chan_output_len(r->chan) > 0;
    struct pollfd p[COUNT] = {
        [CONN] = {.fd = r->chan ? r->conn : -1,
                  .events = POLLIN | (more ? POLLOUT : 0)},
        [SIGNALS] = {.fd = r->signals, .events = POLLIN},
        [OUT] = {.fd = r->out[1].len ? r->out[1].fd : -1, .events = POLLOUT},
        [ERROR] = {.fd = r->out[2].len ? r->out[2].fd : -1, .events = POLLOUT},
        [IN] = {.fd = room ? r->x->fds[0] : -1, .events = POLLIN}};
    if (poll(p, COUNT, back ? LOOK_AGAIN_MS : -1) < 0)
        return errno == EINTR ? 0 : err_sys(r->err, "poll");
    if (p[SIGNALS].revents)
        relay_take_signals(r);
    if (p[OUT].revents)
        relay_sink_write(r, 1);
    if (p[ERROR].revents)
        relay_sink_write(r, 2);
    if (p[IN].revents & POLLNVAL)
        relay_input_end(r);
    else if (p[IN].revents && relay_input_read(r, room) < 0)
        return -1;
    if (r->chan && chan_output_len(r->chan) && write_connection(r) < 0)
        return -1;
    return p[CONN].revents & (POLLIN | POLLHUP | POLLERR) ? read_connection(r) : 0;
}

int client_exec(const struct client_exec *x, int *status, struct err *err)
{
    struct relay r = {.x = x, .conn = -1, .signals = -1, .err = err};
    sigset_t was;
    if (err)
        *err = (struct err){0};
    for (int i = 1; i < 3; i++)
        relay_sink_init(&r.out[i], x->fds[i]);
    AUTO_STR kept = r.kept = malloc(CHAN_WINDOW);
    if (!kept)
        return err_oom(err);
    /* Until the command is there, signals end us as anybody; the agent notices. */
    if (connect_first(&r, err) < 0)
        return -1;
    if (relay_watch_signals(&r, &was, err) < 0) {
        drop_connection(&r);
        return -1;
    }
    void (*ttou)(int) = signal(SIGTTOU, SIG_IGN);
    void (*pipe_was)(int) = signal(SIGPIPE, SIG_IGN);
    relay_make_raw(&r);
    int rc = take_events(&r);
    while (rc == 0 && !is_over(&r))
        rc = turn(&r);
    relay_flush_now(&r);
    relay_make_cooked(&r);
    drop_connection(&r);
    close(r.signals);
    free(r.out[1].data);
    free(r.out[2].data);
    signal(SIGTTOU, ttou);
    signal(SIGPIPE, pipe_was);
    sigprocmask(SIG_SETMASK, &was, NULL);
    *status = r.hung_up ? SIGHUP : r.status;
    return rc;
}

int client_exec_exit(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void client_exec_end(int status)
{
    if (WIFSIGNALED(status)) {
        sigset_t set;
        struct rlimit none = {0};
        int sig = WTERMSIG(status);
        setrlimit(RLIMIT_CORE, &none); /* the core is the command's, over there */
        signal(sig, SIG_DFL);
        sigemptyset(&set);
        sigaddset(&set, sig);
        sigprocmask(SIG_UNBLOCK, &set, NULL);
        kill(getpid(), sig);
    }
    _exit(client_exec_exit(status));
}
