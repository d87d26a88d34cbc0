/* SPDX-License-Identifier: Apache-2.0 */
/* The guest channel: streams and what goes out; see chan.h. */
#include <stdlib.h>
#include <string.h>

#include "proto/chan_int.h"
#include "proto/rpc.h"

/* --- output -------------------------------------------------------------------------
 */

bool chan_put_bytes(struct chan *c, const void *data, size_t len)
{
    if (c->out_at == c->out_len)
        c->out_at = c->out_len = 0;
    if (c->out_len + len > c->out_size && c->out_at) {
        memmove(c->out, c->out + c->out_at, c->out_len - c->out_at);
        c->out_len -= c->out_at;
        c->out_at = 0;
    }
    if (c->out_len + len > c->out_size) {
        size_t size = c->out_size ? c->out_size : 4096;
        while (size < c->out_len + len)
            size *= 2;
        uint8_t *bigger =
            c->out_len + len > CHAN_OUT_MAX ? NULL : realloc(c->out, size);
        if (!bigger) {
            chan_lose(c, "too much waits to be sent");
            return false;
        }
        c->out = bigger;
        c->out_size = size;
    }
    memcpy(c->out + c->out_len, data, len);
    c->out_len += len;
    return true;
}

bool chan_put_frame(struct chan *c, const struct wire_head *h, const void *payload)
{
    uint8_t head[WIRE_HEADER], tail[WIRE_TRAILER];
    wire_put32(tail, wire_encode(h, head));
    if (!chan_put_bytes(c, head, sizeof head) ||
        (h->len && !chan_put_bytes(c, payload, h->len)) ||
        !chan_put_bytes(c, tail, sizeof tail))
        return false;
    c->stats.frames_out++;
    return true;
}

const void *chan_output(struct chan *c, size_t *len)
{
    *len = c->out_len - c->out_at;
    return c->out ? c->out + c->out_at : (const void *)"";
}

void chan_output_done(struct chan *c, size_t len)
{
    c->out_at += len;
    c->stats.bytes_out += len;
    if (c->out_at < c->out_len)
        return;
    c->out_at = c->out_len = 0;
    if (c->out_size > 4 * CHAN_PAYLOAD_MAX) {
        free(c->out);
        c->out = NULL;
        c->out_size = 0;
    }
}

size_t chan_output_len(const struct chan *c)
{
    return c->out_len - c->out_at;
}

/* --- streams ------------------------------------------------------------------------
 */

bool chan_flow_is_ours(const struct chan *c, int flow)
{
    return (flow == 0) == (c->config.role == CHAN_HOST);
}

/* Where id is, or would be, in c->streams. */
static size_t place(const struct chan *c, uint32_t id)
{
    size_t low = 0, high = c->nstreams;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (c->streams[mid]->id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct chan_stream *chan_find(const struct chan *c, uint32_t id)
{
    size_t at = place(c, id);
    return at < c->nstreams && c->streams[at]->id == id ? c->streams[at] : NULL;
}

/* Ids only rise within a session, so the place is the end. Room in `gone` is made
 * beforehand: to lose the channel must not need memory. */
struct chan_stream *chan_add_stream(struct chan *c, uint32_t id, void *user)
{
    size_t waiting = c->ngone;
    if (c->nstreams + waiting >= c->streams_size) {
        size_t size = 2 * (c->nstreams + waiting) + 8;
        struct chan_stream **a = realloc(c->streams, size * sizeof *a);
        if (a)
            c->streams = a;
        struct chan_stream **b = realloc(c->gone, size * sizeof *b);
        if (b)
            c->gone = b;
        if (!a || !b)
            return NULL;
        c->streams_size = size;
    }
    struct chan_stream *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->id = id;
    s->user = user;
    for (int i = 0; i < CHAN_FLOWS; i++) {
        bool ours = chan_flow_is_ours(c, i);
        s->flow[i] = (struct chan_flow){.credit = ours ? CHAN_WINDOW : 0,
                                        .left = ours ? 0 : CHAN_WINDOW};
    }
    c->streams[c->nstreams++] = s;
    return s;
}

void chan_drop_stream(struct chan *c, struct chan_stream *s)
{
    size_t at = place(c, s->id);
    c->nstreams--;
    memmove(c->streams + at, c->streams + at + 1,
            (c->nstreams - at) * sizeof *c->streams);
    free(s);
}

/* A stream we may still send on. */
static struct chan_stream *sending(const struct chan *c, uint32_t id)
{
    if (c->state != CHAN_UP)
        return NULL;
    struct chan_stream *s = chan_find(c, id);
    return s && !s->closed_out ? s : NULL;
}

void chan_set_user(struct chan *c, uint32_t stream, void *user)
{
    struct chan_stream *s = chan_find(c, stream);
    if (s)
        s->user = user;
}

void *chan_user(const struct chan *c, uint32_t stream)
{
    struct chan_stream *s = chan_find(c, stream);
    return s ? s->user : NULL;
}

static int put_text(struct chan *c, enum wire_type type, uint32_t stream, json_t *what,
                    struct err *err)
{
    AUTO_STR text = what ? json_dumps(what, JSON_COMPACT) : NULL;
    if (!text)
        return err_oom(err);
    size_t len = strlen(text);
    if (len > CHAN_MESSAGE_MAX)
        return err_set(err, E_INPUT, "a request of %zu bytes is longer than %d", len,
                       CHAN_MESSAGE_MAX);
    if (chan_output_len(c) > CHAN_OUT_MAX / 2)
        return err_set(err, E_BUSY, "the other end of the channel does not read");
    for (size_t at = 0; at < len;) {
        size_t n = len - at < CHAN_PAYLOAD_MAX ? len - at : CHAN_PAYLOAD_MAX;
        struct wire_head h = {.tag = chan_peer_tag(c),
                              .stream = stream,
                              .len = n,
                              .type = type,
                              .flags = at + n < len ? WIRE_MORE : 0};
        if (!chan_put_frame(c, &h, text + at))
            return err_oom(err);
        at += n;
    }
    return 0;
}

int chan_open(struct chan *c, json_t *request, void *user, uint32_t *stream,
              struct err *err)
{
    AUTO_JSON own = request;
    if (c->state != CHAN_UP || c->config.role != CHAN_HOST || c->config.direct)
        return err_set(err, E_STATE, "the guest does not answer");
    if (c->nstreams >= c->config.streams_max)
        return err_set(err, E_BUSY, "%zu commands run already at once", c->nstreams);
    uint32_t id = c->last_id + 1;
    if (!id)
        return err_set(err, E_BUSY, "out of stream numbers");
    struct chan_stream *s = chan_add_stream(c, id, user);
    if (!s)
        return err_oom(err);
    s->silent = true; /* if it fails, nobody hears of it */
    if (put_text(c, WIRE_OPEN, id, own, err) < 0) {
        if (chan_find(c, id))
            chan_drop_stream(c, s);
        return -1;
    }
    s->silent = false;
    c->last_id = id;
    if (stream)
        *stream = id;
    return 0;
}

int chan_msg(struct chan *c, uint32_t stream, json_t *message, struct err *err)
{
    AUTO_JSON own = message;
    return sending(c, stream) ? put_text(c, WIRE_MSG, stream, own, err) : 0;
}

size_t chan_sendable(const struct chan *c, uint32_t stream, int flow)
{
    struct chan_stream *s = sending(c, stream);
    if (!s || flow < 0 || flow >= CHAN_FLOWS || s->flow[flow].eof_out)
        return 0;
    return s->flow[flow].credit;
}

int chan_data(struct chan *c, uint32_t stream, int flow, const void *data, size_t len,
              struct err *err)
{
    struct chan_stream *s = sending(c, stream);
    if (!s)
        return 0;
    if (len > chan_sendable(c, stream, flow))
        return err_set(err, E_PROTO, "more bytes than there is credit for");
    s->flow[flow].credit -= len;
    for (const char *p = data; len > 0;) {
        size_t n = len < CHAN_PAYLOAD_MAX ? len : CHAN_PAYLOAD_MAX;
        struct wire_head h = {.tag = chan_peer_tag(c),
                              .stream = stream,
                              .len = n,
                              .type = WIRE_DATA,
                              .flow = flow};
        if (!chan_put_frame(c, &h, p))
            return err_set(err, E_BUSY, "the other end of the channel does not read");
        p += n;
        len -= n;
    }
    return 0;
}

void chan_eof(struct chan *c, uint32_t stream, int flow)
{
    struct chan_stream *s = sending(c, stream);
    if (!s || flow < 0 || flow >= CHAN_FLOWS || !chan_flow_is_ours(c, flow) ||
        s->flow[flow].eof_out)
        return;
    s->flow[flow].eof_out = true;
    struct wire_head h = {
        .tag = chan_peer_tag(c), .stream = stream, .type = WIRE_EOF, .flow = flow};
    chan_put_frame(c, &h, NULL);
}

void chan_consumed(struct chan *c, uint32_t stream, int flow, size_t len)
{
    struct chan_stream *s = sending(c, stream);
    if (!s || flow < 0 || flow >= CHAN_FLOWS || chan_flow_is_ours(c, flow))
        return;
    struct chan_flow *f = &s->flow[flow];
    uint32_t most = CHAN_WINDOW - f->left - f->owed;
    f->owed += len < most ? len : most;
    if (f->owed < CHAN_WINDOW / 4 || s->closed_in)
        return;
    uint8_t payload[4];
    wire_put32(payload, f->owed);
    f->left += f->owed;
    f->owed = 0;
    struct wire_head h = {.tag = chan_peer_tag(c),
                          .stream = stream,
                          .len = sizeof payload,
                          .type = WIRE_CREDIT,
                          .flow = flow};
    chan_put_frame(c, &h, payload);
}

void chan_close(struct chan *c, uint32_t stream)
{
    struct chan_stream *s = sending(c, stream);
    if (!s)
        return;
    s->closed_out = true;
    struct wire_head h = {
        .tag = chan_peer_tag(c), .stream = stream, .type = WIRE_CLOSE};
    if (s->closed_in)
        chan_drop_stream(c, s);
    chan_put_frame(c, &h, NULL);
}

int chan_forward(struct chan *to, uint32_t stream, const struct chan_event *ev,
                 struct err *err)
{
    struct wire_head h = {.tag = chan_peer_tag(to), .stream = stream, .type = WIRE_MSG};
    switch (ev->kind) {
    case CHAN_EV_MSG:
        if (!sending(to, stream))
            return 0;
        if (chan_output_len(to) > CHAN_OUT_MAX / 2)
            return err_set(err, E_BUSY, "the other end of the channel does not read");
        for (size_t at = 0; at < ev->len; at += h.len) {
            size_t left = ev->len - at;
            h.len = left < CHAN_PAYLOAD_MAX ? left : CHAN_PAYLOAD_MAX;
            h.flags = h.len < left ? WIRE_MORE : 0;
            if (!chan_put_frame(to, &h, ev->data + at))
                return err_oom(err);
        }
        return 0;
    case CHAN_EV_DATA:
        return chan_data(to, stream, ev->flow, ev->data, ev->len, err);
    case CHAN_EV_EOF:
        chan_eof(to, stream, ev->flow);
        return 0;
    case CHAN_EV_CREDIT:
        chan_consumed(to, stream, ev->flow, ev->len);
        return 0;
    case CHAN_EV_CLOSE:
    case CHAN_EV_GONE:
        chan_close(to, stream);
        return 0;
    default:
        return err_set(err, E_BUG, "event %d cannot be relayed", ev->kind);
    }
}

int chan_parse(const struct chan_event *ev, json_t **out, struct err *err)
{
    json_error_t je;
    json_t *got = json_loadb(ev->data, ev->len, JSON_REJECT_DUPLICATES, &je);
    if (!got)
        return err_set(err, E_PROTO, "channel message: %s", je.text);
    if (!json_is_object(got)) {
        json_decref(got);
        return err_set(err, E_PROTO, "channel message: not an object");
    }
    *out = got;
    return 0;
}

void chan_stats(const struct chan *c, struct chan_stats *out)
{
    *out = c->stats;
    out->streams = c->nstreams;
}
