/* SPDX-License-Identifier: Apache-2.0 */
/* The three files of a relay: outputs as sinks, input kept until it was consumed. */
#include "client/relay.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PART = 65536, PIPE_PART = 4096 };

void relay_sink_init(struct sink *s, int fd)
{
    struct stat st;
    s->fd = fd;
    s->broken = fd < 0 || fstat(fd, &st) < 0;
    s->whole = !s->broken && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode));
    s->socket = !s->broken && S_ISSOCK(st.st_mode);
}

static void sink_took(struct relay *r, int flow, size_t n)
{
    r->out[flow].consumed += n;
    if (r->chan)
        chan_consumed(r->chan, CHAN_DIRECT, flow, n);
}

static void sink_break(struct relay *r, int flow)
{
    struct sink *s = &r->out[flow];
    s->broken = true;
    sink_took(r, flow, s->len - s->at);
    s->at = s->len = 0;
    relay_send_json(r, json_pack("{s:i}", "closed", flow));
}

/* Write once; false when it would wait. */
bool relay_sink_write(struct relay *r, int flow)
{
    struct sink *s = &r->out[flow];
    size_t len = s->len - s->at;
    if (!s->whole && !s->socket && len > PIPE_PART)
        len = PIPE_PART;
    ssize_t n = s->socket
                    ? send(s->fd, s->data + s->at, len, MSG_DONTWAIT | MSG_NOSIGNAL)
                    : write(s->fd, s->data + s->at, len);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return false;
    if (n < 0) {
        sink_break(r, flow);
        return false;
    }
    s->at += n;
    if (s->at == s->len)
        s->at = s->len = 0;
    sink_took(r, flow, n);
    return s->len > 0;
}

/* Go on writing as long as poll promises room. */
static void sink_pump(struct relay *r, int flow)
{
    struct pollfd p = {.fd = r->out[flow].fd, .events = POLLOUT};
    while (r->out[flow].len && poll(&p, 1, 0) == 1)
        if (!relay_sink_write(r, flow))
            break;
}

int relay_sink_take(struct relay *r, int flow, const char *data, size_t len)
{
    struct sink *s = &r->out[flow];
    if (s->broken) {
        sink_took(r, flow, len);
        return 0;
    }
    if (!s->data && !(s->data = malloc(CHAN_WINDOW)))
        return err_oom(r->err);
    if (s->at) {
        memmove(s->data, s->data + s->at, s->len - s->at);
        s->len -= s->at;
        s->at = 0;
    }
    if (len > CHAN_WINDOW - s->len)
        return err_set(r->err, E_PROTO, "more output came than was asked for");
    memcpy(s->data + s->len, data, len);
    s->len += len;
    if (s->len >= PART)
        sink_pump(r, flow);
    return 0;
}

/* --- input ------------------------------------------------------------------------- */

size_t relay_input_room(const struct relay *r)
{
    if (r->input_over || r->waiting || !r->chan || r->exited ||
        chan_output_len(r->chan) >= CHAN_OUTPUT_HIGH)
        return 0;
    size_t n = chan_sendable(r->chan, CHAN_DIRECT, 0);
    size_t unkept = CHAN_WINDOW - (r->input_sent - r->input_consumed);
    n = n < unkept ? n : unkept;
    return n < PART ? n : PART;
}

void relay_input_end(struct relay *r)
{
    r->input_over = true;
    if (r->chan && !r->waiting && !r->input_told) {
        chan_eof(r->chan, CHAN_DIRECT, 0);
        r->input_told = true;
    }
}

int relay_input_read(struct relay *r, size_t room)
{
    static char part[PART];
    ssize_t n = read(r->x->fds[0], part, room);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (n <= 0) {
        relay_input_end(r);
        return 0;
    }
    for (ssize_t done = 0; done < n;) {
        size_t at = (r->input_sent + done) % CHAN_WINDOW, k = CHAN_WINDOW - at;
        k = k < (size_t)(n - done) ? k : (size_t)(n - done);
        memcpy(r->kept + at, part + done, k);
        done += k;
    }
    r->input_sent += n;
    return chan_data(r->chan, CHAN_DIRECT, 0, part, n, r->err);
}

/* After attach: the other end has `from` bytes. */
int relay_input_again(struct relay *r, json_int_t from)
{
    if (from < (json_int_t)r->input_consumed || from > (json_int_t)r->input_sent)
        return err_set(r->err, E_PROTO, "the guest claims input that was never sent");
    r->input_consumed = from;
    for (uint64_t at = from; at < r->input_sent;) {
        size_t n = CHAN_WINDOW - at % CHAN_WINDOW;
        n = n < r->input_sent - at ? n : r->input_sent - at;
        if (chan_data(r->chan, CHAN_DIRECT, 0, r->kept + at % CHAN_WINDOW, n, r->err) <
            0)
            return -1;
        at += n;
    }
    if (r->input_over && !r->input_closed) {
        chan_eof(r->chan, CHAN_DIRECT, 0);
        r->input_told = true;
    }
    return 0;
}
