/* SPDX-License-Identifier: Apache-2.0 */
/* What a command writes and reads: outputs by credit, input queued. */
#include "guest/exec_flow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <termios.h>
#include <unistd.h>

enum { PART = 65536 };

static void keep(struct output *o, const char *data, size_t len)
{
    for (size_t done = 0; done < len;) {
        size_t at = (o->sent + done) % CHAN_WINDOW, n = CHAN_WINDOW - at;
        n = n < len - done ? n : len - done;
        memcpy(o->kept + at, data + done, n);
        done += n;
    }
}

void exec_end_output(struct output *o)
{
    exec_close_output(o);
    if (o->exec->stream)
        chan_eof(o->exec->guest->chan, o->exec->stream, o->flow);
}

static size_t wanted(struct output *o)
{
    struct exec *e = o->exec;
    if (!e->stream || o->ended)
        return 0;
    if (chan_output_len(e->guest->chan) >= CHAN_OUTPUT_HIGH) {
        e->guest->congested = true;
        return 0;
    }
    size_t n = chan_sendable(e->guest->chan, e->stream, o->flow);
    return n < PART ? n : PART;
}

/* Read once. False: nothing more now. */
static bool read_output(struct output *o, size_t want)
{
    static char part[PART];
    struct exec *e = o->exec;
    if (e->exited && o->left >= 0 && (uint64_t)o->left < want)
        want = o->left;
    ssize_t n = want ? read(o->fd, part, want) : 0;
    if (n < 0 && errno == EINTR)
        return true;
    if (n <= 0) {
        /* EIO is how a terminal ends. After the exit, "nothing there" is the end too.
         */
        if (n == 0 || errno != EAGAIN || e->exited)
            exec_end_output(o);
        return false;
    }
    if (o->kept)
        keep(o, part, n);
    o->sent += n;
    if (e->exited && o->left >= 0)
        o->left -= n;
    chan_data(e->guest->chan, e->stream, o->flow, part, n, NULL);
    return true;
}

static void pump_output(struct output *o)
{
    size_t want = 0;
    for (int i = 0; i < 4 || o->exec->exited; i++)
        if (!(want = wanted(o)) || !read_output(o, want))
            break;
    if (o->ended)
        return;
    if (wanted(o))
        watch_set(o->watch, EPOLLIN);
    else
        watch_deaf(o->watch);
}

void exec_pump_outputs(struct exec *e)
{
    for (int i = 1; i < FLOWS; i++)
        if (!e->out[i].ended)
            pump_output(&e->out[i]);
    exec_tell_exit(e);
}

void exec_on_output(struct watch *w, uint32_t events, void *arg)
{
    struct output *o = arg;
    pump_output(o);
    exec_tell_exit(o->exec);
}

/* --- input
 * ---------------------------------------------------------------------------- */

void exec_consumed(struct exec *e, size_t n)
{
    if (e->stream)
        chan_consumed(e->guest->chan, e->stream, 0, n);
}

/* The command does not read any more: tell the client's writer so. */
static void break_input(struct exec *e)
{
    if (e->input < 0)
        return;
    exec_close_input(e);
    exec_consumed(e, e->queue_len - e->queue_at);
    e->queue_at = e->queue_len = 0;
    if (!e->exited)
        exec_send_json(e, json_pack("{s:s}", "stdin", "closed"));
}

static void end_input(struct exec *e)
{
    if (e->command->pty && e->input >= 0) {
        /* A terminal has no end: its end-of-file character says it. */
        struct termios t;
        char eof = tcgetattr(e->input, &t) == 0 ? t.c_cc[VEOF] : 4;
        if (write(e->input, &eof, 1) < 0)
            return;
    }
    exec_close_input(e);
}

/* Write what is queued; -1 when the reader is gone. */
static int write_queue(struct exec *e)
{
    while (e->queue_at < e->queue_len) {
        ssize_t n = write(e->input, e->queue + e->queue_at, e->queue_len - e->queue_at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        e->queue_at += n;
        exec_consumed(e, n);
    }
    e->queue_at = e->queue_len = 0;
    return 0;
}

void exec_pump_input(struct exec *e)
{
    if (e->input < 0)
        return;
    if (write_queue(e) < 0)
        break_input(e);
    else if (e->queue_len)
        watch_set(e->input_watch, EPOLLOUT);
    else if (e->input_ended)
        end_input(e);
    else if (e->command->pty)
        watch_deaf(e->input_watch); /* a hang-up is seen on the output */
    else
        watch_set(e->input_watch, 0);
}

void exec_on_input(struct watch *w, uint32_t events, void *arg)
{
    struct exec *e = arg;
    if ((events & EPOLLERR) && !e->command->pty)
        break_input(e);
    else
        exec_pump_input(e);
}

void exec_take_data(struct exec *e, const char *data, size_t len)
{
    e->input_got += len;
    if (e->input < 0) {
        exec_consumed(e, len);
        return;
    }
    if (e->queue_at) {
        memmove(e->queue, e->queue + e->queue_at, e->queue_len - e->queue_at);
        e->queue_len -= e->queue_at;
        e->queue_at = 0;
    }
    if (e->queue_len + len > e->queue_size) {
        size_t size = e->queue_len + len + CHAN_PAYLOAD_MAX;
        char *bigger = realloc(e->queue, size);
        if (!bigger) {
            break_input(e);
            return;
        }
        e->queue = bigger;
        e->queue_size = size;
    }
    memcpy(e->queue + e->queue_len, data, len);
    e->queue_len += len;
    exec_pump_input(e);
}
