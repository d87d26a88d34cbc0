/* SPDX-License-Identifier: Apache-2.0 */
/* Commands: start, flows, signals, end; see the header.
 *
 * Life: running (a stream, a monitor) -> exited (outputs drained) -> told (exit sent,
 * stream closed by us) -> freed when the host closes too. A lost stream makes a command
 * with a token wait for attach; without one, and after a close by the host, it is let
 * go (killed first, if it was to die with its connection). */
#include "guest/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/str.h"
#include "guest/copy.h"
#include "guest/exec_flow.h"
#include "guest/monitor.h"
#include "proto/rpc.h"

enum { PIPE_ROOM = 256 << 10 };

void exec_send_json(struct exec *e, json_t *what)
{
    if (e->stream)
        chan_msg(e->guest->chan, e->stream, what, NULL);
    else
        json_decref(what);
}

/* --- end
 * ------------------------------------------------------------------------------ */

void exec_close_output(struct output *o)
{
    watch_drop(o->watch);
    o->watch = NULL;
    if (o->fd >= 0)
        close(o->fd);
    o->fd = -1;
    o->ended = true;
}

void exec_close_input(struct exec *e)
{
    watch_drop(e->input_watch);
    e->input_watch = NULL;
    if (e->input >= 0)
        close(e->input);
    e->input = -1;
}

static void exec_free(struct exec *e)
{
    for (int i = 1; i < FLOWS; i++) {
        exec_close_output(&e->out[i]);
        free(e->out[i].kept);
    }
    exec_close_input(e);
    watch_drop(e->control_watch);
    if (e->control >= 0)
        close(e->control);
    list_remove(&e->in);
    e->guest->nexecs--;
    command_free(e->command);
    free(e->queue);
    free(e);
}

/* The client is gone for good. */
static void let_go(struct exec *e)
{
    if (!e->exited && e->control >= 0)
        monitor_tell(e->control, e->command->die ? MONITOR_KILL : MONITOR_LET_GO, 0, 0,
                     NULL);
    exec_free(e);
}

void exec_tell_exit(struct exec *e)
{
    for (int i = 1; i < FLOWS; i++)
        if (!e->out[i].ended)
            return;
    if (!e->exited || e->told || !e->stream)
        return;
    e->told = true;
    json_t *exit = WIFSIGNALED(e->status)
                       ? json_pack("{s:i, s:b}", "signal", WTERMSIG(e->status), "core",
                                   !!WCOREDUMP(e->status))
                       : json_pack("{s:i}", "status", WEXITSTATUS(e->status));
    if (exit && *e->text)
        json_object_set_new(exit, "text", json_string(e->text));
    exec_send_json(e, json_pack("{s:o}", "exit", exit));
    chan_close(e->guest->chan, e->stream);
}

/* --- the monitor's notes
 * -------------------------------------------------------------- */

static void on_exit_note(struct exec *e, int status)
{
    e->exited = true;
    e->status = status;
    /* What is in the pipes now is the command's own; what children write later is not
     * waited for. A terminal ends by itself, or has nothing more. */
    for (int i = 1; i < FLOWS; i++) {
        int n = 0;
        if (e->out[i].fd >= 0 && !e->command->pty &&
            ioctl(e->out[i].fd, FIONREAD, &n) == 0)
            e->out[i].left = n;
    }
    exec_consumed(e, e->queue_len - e->queue_at);
    e->queue_at = e->queue_len = 0;
    exec_close_input(e);
    exec_pump_outputs(e);
}

static void on_note(struct exec *e, const struct monitor_note *note)
{
    switch (note->kind) {
    case MONITOR_STARTED:
        e->pid = note->a;
        exec_send_json(e,
                       json_pack("{s:{s:I}}", "started", "pid", (json_int_t)note->a));
        break;
    case MONITOR_FAILED:
        snprintf(e->text, sizeof e->text, "%.100s: %s", note->text, strerror(note->a));
        break;
    case MONITOR_PROGRESS:
        exec_send_json(e, json_pack("{s:{s:I, s:I}}", "progress", "files",
                                    (json_int_t)note->a, "bytes", (json_int_t)note->b));
        break;
    case MONITOR_EXIT:
        on_exit_note(e, note->a);
        break;
    }
}

static void on_control(struct watch *w, uint32_t events, void *arg)
{
    struct exec *e = arg;
    struct monitor_note note;
    ssize_t n = recv(e->control, &note, sizeof note, MSG_DONTWAIT);
    if (n == sizeof note) {
        note.text[sizeof note.text - 1] = '\0';
        on_note(e, &note);
    } else if (n >= 0 || (errno != EAGAIN && errno != EINTR)) {
        watch_deaf(e->control_watch);
        if (!e->exited) {
            /* Somebody killed the monitor; the command is not ours any more. */
            snprintf(e->text, sizeof e->text, "its monitor in the guest was killed");
            on_exit_note(e, SIGKILL);
        }
    }
}

/* --- start
 * ---------------------------------------------------------------------------- */

static int make_pipe(int *ours, int *theirs, bool we_write, struct err *err)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC) < 0)
        return err_sys(err, "pipe");
    *ours = p[we_write];
    *theirs = p[!we_write];
    fcntl(*ours, F_SETPIPE_SZ, PIPE_ROOM); /* as much as the guest's limits give */
    return fd_set_nonblock(*ours, true, err);
}

static int make_pty(struct exec *e, int *theirs, struct err *err)
{
    struct winsize size = {.ws_row = e->command->rows, .ws_col = e->command->cols};
    AUTO_FD master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0)
        return err_sys(err, "/dev/ptmx");
    int unlock = 0;
    if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
        return err_sys(err, "terminal");
    AUTO_FD slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0)
        return err_sys(err, "terminal");
    ioctl(master, TIOCSWINSZ, &size);
    if (e->command->has_ids && geteuid() == 0 && fchown(slave, e->command->uid, -1) < 0)
        return err_sys(err, "terminal");
    if (fd_set_nonblock(master, true, err) < 0)
        return -1;
    if ((e->input = fcntl(master, F_DUPFD_CLOEXEC, 3)) < 0)
        return err_sys(err, "terminal");
    e->out[1].fd = move_fd(master);
    e->out[2].ended = true;
    *theirs = move_fd(slave);
    return 0;
}

static int make_flows(struct exec *e, int theirs[3], struct err *err)
{
    if (e->command->pty) {
        if (make_pty(e, &theirs[0], err) < 0)
            return -1;
    } else {
        if (make_pipe(&e->input, &theirs[0], true, err) < 0 ||
            make_pipe(&e->out[1].fd, &theirs[1], false, err) < 0 ||
            make_pipe(&e->out[2].fd, &theirs[2], false, err) < 0)
            return -1;
        /* So that the user may open /dev/stdout and the like. */
        for (int i = 0; i < 3 && e->command->has_ids && geteuid() == 0; i++)
            if (fchown(theirs[i], e->command->uid, -1) < 0)
                return err_sys(err, "pipe");
    }
    for (int i = 1; i < FLOWS; i++) {
        struct output *o = &e->out[i];
        if (o->fd >= 0 && loop_watch(e->guest->loop, o->fd, EPOLLIN, exec_on_output, o,
                                     &o->watch, err) < 0)
            return -1;
        if (*e->command->token && !(o->kept = malloc(CHAN_WINDOW)))
            return err_oom(err);
    }
    return loop_watch(e->guest->loop, e->input, 0, exec_on_input, e, &e->input_watch,
                      err);
}

static int start(struct exec *e, const char *op, struct err *err)
{
    int theirs[3] = {-1, -1, -1};
    int r = make_flows(e, theirs, err);
    if (r == 0) {
        struct monitor_start how = {.command = e->command};
        for (int i = 0; i < 3; i++)
            how.fds[i] = e->command->pty ? theirs[0] : theirs[i];
        how.inside = !strcmp(op, "put")   ? copy_put
                     : !strcmp(op, "get") ? copy_get
                                          : NULL;
        r = monitor_start(&how, &e->control, err);
    }
    for (int i = 0; i < 3; i++)
        if (theirs[i] >= 0)
            close(theirs[i]);
    return r < 0 ? -1
                 : loop_watch(e->guest->loop, e->control, EPOLLIN, on_control, e,
                              &e->control_watch, err);
}

static int check(const struct guest *g, const char *op, const struct command *c,
                 struct err *err)
{
    if (!g->identity)
        return err_set(err, E_STATE, "the guest has not been told who it is yet");
    if (!strcmp(op, "exec") ? !c->argv : !c->path)
        return err_set(err, E_PROTO, "%s: nothing to do", op);
    if (!c->has_ids && geteuid() == 0)
        return err_set(err, E_PROTO, "%s: no uid and gid", op);
    if (c->pty && strcmp(op, "exec"))
        return err_set(err, E_PROTO, "%s: no terminal for this", op);
    return 0;
}

static struct exec *find(struct guest *g, const char *token)
{
    struct exec *e;
    list_each (e, &g->execs, in)
        if (*token && !strcmp(e->command->token, token))
            return e;
    return NULL;
}

/* The same request sent again, since its answer was lost: the command is here already. */
static bool is_here(struct guest *g, uint32_t stream, const struct command *c)
{
    struct exec *e = find(g, c->token);
    if (!e || e->command->uid != c->uid)
        return false;
    AUTO_JSON again =
        json_pack("{s:s, s:i, s:i}", "token", c->token, "stdout", 0, "stderr", 0);
    exec_attach(g, stream, again);
    return true;
}

void exec_open(struct guest *g, uint32_t stream, const char *op, const json_t *request)
{
    struct err err;
    AUTO(command) command = NULL;
    if (command_decode(request, &command, &err) < 0 ||
        check(g, op, command, &err) < 0) {
        ops_refuse(g, stream, &err);
        return;
    }
    if (is_here(g, stream, command))
        return;
    struct exec *e = calloc(1, sizeof *e);
    if (!e) {
        err_oom(&err);
        ops_refuse(g, stream, &err);
        return;
    }
    e->guest = g;
    e->stream = stream;
    e->control = e->input = -1;
    for (int i = 1; i < FLOWS; i++)
        e->out[i] = (struct output){.exec = e, .flow = i, .fd = -1, .left = -1};
    e->command = move(command);
    list_add(&g->execs, &e->in);
    g->nexecs++;
    if (start(e, op, &err) < 0) {
        exec_free(e);
        ops_refuse(g, stream, &err);
        return;
    }
    chan_set_user(g->chan, stream, e);
    if (e->command->pty)
        chan_eof(g->chan, stream, 2);
    watch_set(e->input_watch, 0);
    if (e->command->pty)
        watch_deaf(e->input_watch);
}

/* --- attach
 * --------------------------------------------------------------------------- */

/* Send again what the client has not exec_consumed. */
static int resend(struct output *o, json_int_t from, struct err *err)
{
    struct exec *e = o->exec;
    struct chan *c = e->guest->chan;
    if (from < 0 || (uint64_t)from < o->base || (uint64_t)from > o->sent)
        return err_set(err, E_PROTO, "attach: byte %lld is not kept any more",
                       (long long)from);
    o->base = from;
    for (uint64_t at = o->base; at < o->sent;) {
        size_t n = CHAN_WINDOW - at % CHAN_WINDOW;
        n = n < o->sent - at ? n : o->sent - at;
        chan_data(c, e->stream, o->flow, o->kept + at % CHAN_WINDOW, n, NULL);
        at += n;
    }
    if (o->ended)
        chan_eof(c, e->stream, o->flow);
    return 0;
}

void exec_attach(struct guest *g, uint32_t stream, const json_t *request)
{
    struct err err;
    const char *token;
    json_int_t from[FLOWS] = {0}, uid = -1;
    if (rpc_unpack((json_t *)request, &err, "attach", "{s:s, s:I, s:I, s?I}", "token",
                   &token, "stdout", &from[1], "stderr", &from[2], "uid", &uid) < 0) {
        ops_refuse(g, stream, &err);
        return;
    }
    struct exec *e = find(g, token);
    if (!e || (uid >= 0 && e->command->has_ids && (uid_t)uid != e->command->uid)) {
        err_set(&err, E_NOENT, "the command is not running any more");
        ops_refuse(g, stream, &err);
        return;
    }
    if (e->stream) /* its client came back before the agent missed it */
        chan_close(g->chan, e->stream);
    chan_set_user(g->chan, e->stream, NULL);
    e->stream = stream;
    e->give_up_at = 0;
    e->told = false;
    exec_send_json(
        e, json_pack("{s:{s:I}}", "attached", "stdin", (json_int_t)e->input_got));
    if (resend(&e->out[1], from[1], &err) < 0 ||
        resend(&e->out[2], from[2], &err) < 0) {
        e->stream = 0;
        ops_refuse(g, stream, &err);
        let_go(e);
        return;
    }
    chan_set_user(g->chan, stream, e);
    if (e->input < 0 && !e->input_ended && !e->exited)
        exec_send_json(e, json_pack("{s:s}", "stdin", "closed"));
    exec_pump_outputs(e);
}

/* --- events
 * --------------------------------------------------------------------------- */

static void send_signal(struct exec *e, int sig)
{
    pid_t group = 0;
    if (e->command->pty && e->out[1].fd >= 0)
        group = tcgetpgrp(e->out[1].fd);
    monitor_tell(e->control, MONITOR_SIGNAL, sig, group > 1 ? group : 0, NULL);
}

static void take_message(struct exec *e, const struct chan_event *ev)
{
    AUTO_JSON m = NULL;
    int n, rows, cols;
    if (chan_parse(ev, &m, NULL) < 0)
        return;
    if (json_unpack(m, "{s:i}", "signal", &n) == 0) {
        send_signal(e, n);
    } else if (json_unpack(m, "{s:[i,i]}", "winsize", &rows, &cols) == 0) {
        struct winsize size = {.ws_row = rows, .ws_col = cols};
        if (e->command->pty && e->out[1].fd >= 0)
            ioctl(e->out[1].fd, TIOCSWINSZ, &size);
    } else if (json_unpack(m, "{s:i}", "closed", &n) == 0 && n > 0 && n < FLOWS) {
        /* The client's reader went away: the command's next write is a SIGPIPE. */
        if (!e->command->pty && !e->out[n].ended)
            exec_end_output(&e->out[n]);
        exec_tell_exit(e);
    }
}

static void lost(struct exec *e)
{
    e->stream = 0;
    if (!*e->command->token) {
        let_go(e);
        return;
    }
    e->give_up_at = clock_ms() + e->command->linger_ms;
    for (int i = 1; i < FLOWS; i++)
        watch_deaf(e->out[i].watch);
}

void exec_event(struct guest *g, const struct chan_event *ev)
{
    struct exec *e = ev->user;
    if (!e) {
        if (ev->kind == CHAN_EV_CLOSE)
            chan_close(g->chan, ev->stream);
        return;
    }
    switch (ev->kind) {
    case CHAN_EV_MSG:
        take_message(e, ev);
        break;
    case CHAN_EV_DATA:
        exec_take_data(e, ev->data, ev->len);
        break;
    case CHAN_EV_EOF:
        e->input_ended = true;
        exec_pump_input(e);
        break;
    case CHAN_EV_CREDIT:
        if (ev->flow > 0 && ev->flow < FLOWS) {
            e->out[ev->flow].base += ev->len;
            exec_pump_outputs(e);
        }
        break;
    case CHAN_EV_CLOSE:
        chan_close(g->chan, ev->stream);
        let_go(e);
        break;
    case CHAN_EV_GONE:
        lost(e);
        break;
    default:
        break;
    }
}

void exec_all_go_on(struct guest *g)
{
    struct exec *e, *next;
    list_each_safe (e, next, &g->execs, in)
        if (e->stream)
            exec_pump_outputs(e);
}

int exec_tick(struct guest *g, uint64_t now_ms)
{
    struct exec *e, *next;
    int wait = -1;
    list_each_safe (e, next, &g->execs, in) {
        if (!e->give_up_at)
            continue;
        if (e->give_up_at <= now_ms)
            let_go(e);
        else if (wait < 0 || e->give_up_at - now_ms < (uint64_t)wait)
            wait = e->give_up_at - now_ms;
    }
    return wait;
}

void exec_drop_all(struct guest *g)
{
    struct exec *e, *next;
    list_each_safe (e, next, &g->execs, in)
        exec_free(e); /* without a word: the monitors kill */
}
