/* SPDX-License-Identifier: Apache-2.0 */
/* The guest channel: its session and what comes in; see the header.
 *
 * A session is up when the other end's hello repeats our nonce, which is new after each
 * loss: bytes left over from before, or chosen by a user, cannot know it. While down,
 * input is searched for a hello and nothing else is looked at. */
#include "proto/chan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "config.h"
#include "proto/chan_int.h"

enum {
    WAIT_FIRST_MS = 250,
    WAIT_MAX_MS = 2000,
    PAUSE_MAX_MS = 8000,
    STEADY_MS = 2000, /* a session that lasted so long was none of a quarrel */
    REPLIES_MAX = 16
};

static uint64_t new_nonce(struct chan *c)
{
    for (;;) {
        uint64_t v = 0;
        if (c->config.random)
            v = c->config.random(c->config.random_arg);
        else if (getrandom(&v, sizeof v, GRND_INSECURE) < 0 &&
                 getrandom(&v, sizeof v, 0) < 0)
            v = 0;
        /* The tag, too, must differ from the last one, and from a hello's. */
        if ((uint32_t)v && (uint32_t)v != (uint32_t)c->nonce)
            return v;
    }
}

uint32_t chan_peer_tag(const struct chan *c)
{
    return c->config.direct ? 0 : (uint32_t)c->peer;
}

static void send_hello(struct chan *c, bool flush)
{
    /* Zeros longer than any frame end whatever the other end still waits for. */
    static const uint8_t
        zeros[(CHAN_PAYLOAD_MAX + WIRE_HEADER + WIRE_TRAILER) / 64 + 1];
    for (int i = 0; flush && i < 64; i++)
        if (!chan_put_bytes(c, zeros, sizeof zeros))
            return;
    struct wire_hello h = {.version = CHAN_VERSION,
                           .role = c->config.role,
                           .nonce = c->nonce,
                           .echo = c->peer,
                           .program = "lodge " PACKAGE_VERSION};
    uint8_t payload[WIRE_HELLO_MAX];
    struct wire_head head = {.type = WIRE_HELLO};
    head.len = wire_hello_encode(&h, payload);
    chan_put_frame(c, &head, payload);
    c->told = c->peer;
}

static void forget(struct chan *c)
{
    c->state = CHAN_DOWN;
    c->peer = c->told = 0;
    c->up_due = false;
    c->out_at = c->out_len = 0;
    c->part_len = 0;
    c->part_type = 0;
    c->last_id = 0;
    c->due = 0;
    c->tries = c->replies = 0;
    /* Streams not yet told as gone stay in the queue, these come behind them. */
    for (size_t i = 0; i < c->nstreams; i++) {
        if (c->gone_at > 0) {
            memmove(c->gone, c->gone + c->gone_at,
                    (c->ngone - c->gone_at) * sizeof *c->gone);
            c->ngone -= c->gone_at;
            c->gone_at = 0;
        }
        c->gone[c->ngone++] = c->streams[i];
    }
    c->nstreams = 0;
    if (!c->config.direct)
        c->nonce = new_nonce(c);
}

void chan_lose(struct chan *c, const char *why)
{
    if (c->state == CHAN_UP && !c->up_due) {
        c->lost_due = true;
        snprintf(c->lost_text, sizeof c->lost_text, "%s", why);
    }
    forget(c);
    /* The first loss may be a restart at the other end: answer at once. */
    unsigned shift = c->losses < 6 ? c->losses : 6;
    c->wait_ms = c->losses++ ? WAIT_FIRST_MS << (shift - 1) : 0;
    if (c->wait_ms > PAUSE_MAX_MS)
        c->wait_ms = PAUSE_MAX_MS;
    c->paused = c->wait_ms > 0;
    if (!c->paused && !c->config.direct) {
        send_hello(c, false);
        c->wait_ms = WAIT_FIRST_MS;
    }
}

static void breach(struct chan *c, const char *what)
{
    c->stats.breaches++;
    chan_lose(c, what);
}

void chan_reset(struct chan *c)
{
    if (c->state == CHAN_UP && !c->up_due) {
        c->lost_due = true;
        snprintf(c->lost_text, sizeof c->lost_text, "the connection was closed");
    }
    forget(c);
    c->in_at = c->in_len = c->taken = 0;
    c->paused = false;
    c->wait_ms = WAIT_FIRST_MS;
    if (!c->config.direct)
        send_hello(c, false);
}

int chan_new(const struct chan_config *config, struct chan **out, struct err *err)
{
    struct chan *c = calloc(1, sizeof *c);
    if (!c || !(c->in = malloc(CHAN_IN_SIZE))) {
        free(c);
        return err_oom(err);
    }
    c->config = *config;
    if (!c->config.streams_max || c->config.streams_max > CHAN_STREAMS_MAX)
        c->config.streams_max = CHAN_STREAMS_MAX;
    if (!c->config.message_max || c->config.message_max > CHAN_MESSAGE_MAX)
        c->config.message_max = CHAN_MESSAGE_MAX;
    if (c->config.direct) {
        c->state = CHAN_UP;
        if (!chan_add_stream(c, CHAN_DIRECT, config->user)) {
            chan_free(c);
            return err_oom(err);
        }
    } else {
        c->nonce = new_nonce(c);
        c->wait_ms = WAIT_FIRST_MS;
        send_hello(c, false);
    }
    *out = c;
    return 0;
}

void chan_free(struct chan *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->nstreams; i++)
        free(c->streams[i]);
    for (size_t i = c->gone_at; i < c->ngone; i++)
        free(c->gone[i]);
    free(c->streams);
    free(c->gone);
    free(c->in);
    free(c->out);
    free(c->part);
    free(c->text);
    free(c);
}

enum chan_state chan_state(const struct chan *c)
{
    return c->state;
}

int chan_timeout(struct chan *c, uint64_t now_ms)
{
    if (c->state == CHAN_UP) {
        if (!c->up_since)
            c->up_since = now_ms;
        if (now_ms - c->up_since > STEADY_MS)
            c->losses = 0;
        return -1;
    }
    c->up_since = 0;
    if (c->config.direct)
        return -1;
    if (!c->due)
        c->due = now_ms + c->wait_ms;
    return c->due > now_ms ? (int)(c->due - now_ms) : 0;
}

void chan_tick(struct chan *c, uint64_t now_ms)
{
    if (chan_timeout(c, now_ms) != 0)
        return;
    c->due = 0;
    c->replies = 0;
    c->paused = false;
    c->wait_ms = WAIT_FIRST_MS << (c->tries < 3 ? c->tries : 3);
    if (c->wait_ms > WAIT_MAX_MS)
        c->wait_ms = WAIT_MAX_MS;
    c->tries++;
    if (chan_output_len(c) == 0)
        send_hello(c, true);
}

/* --- input --------------------------------------------------------------------------
 */

void *chan_room(struct chan *c, size_t *len)
{
    c->in_at += c->taken;
    c->taken = 0;
    if (c->in_at == c->in_len)
        c->in_at = c->in_len = 0;
    if (c->in_at && CHAN_IN_SIZE - c->in_len < CHAN_IN_SIZE / 2) {
        memmove(c->in, c->in + c->in_at, c->in_len - c->in_at);
        c->in_len -= c->in_at;
        c->in_at = 0;
    }
    *len = CHAN_IN_SIZE - c->in_len;
    return c->in + c->in_len;
}

void chan_added(struct chan *c, size_t len)
{
    c->in_len += len;
    c->stats.bytes_in += len;
}

static void on_hello(struct chan *c, const struct wire_hello *h)
{
    if (h->role > CHAN_GUEST || h->role == c->config.role)
        return; /* our own words come back: an echoing line */
    if (h->version != CHAN_VERSION) {
        breach(c, "the other end speaks another version of the channel protocol");
        c->lost_due = true;
        snprintf(c->lost_text, sizeof c->lost_text,
                 "'%s' speaks version %u of the channel protocol, we speak %d",
                 h->program, h->version, CHAN_VERSION);
        return;
    }
    if (c->state == CHAN_UP) {
        if (h->nonce == c->peer && h->echo == c->nonce)
            return;
        chan_lose(c, "the other end started again");
        if (c->paused)
            return;
    }
    c->peer = h->nonce;
    if (h->echo != c->nonce) {
        if (c->replies++ < REPLIES_MAX)
            send_hello(c, false);
        return;
    }
    if (c->told != c->peer)
        send_hello(c, false);
    c->state = CHAN_UP;
    c->up_due = true;
    c->stats.sessions++;
    memcpy(c->program, h->program, sizeof c->program);
}

/* While down: go to the next hello. False: more bytes are needed. */
static bool seek_hello(struct chan *c)
{
    while (c->in_len > c->in_at) {
        const uint8_t *p = c->in + c->in_at;
        size_t have = c->in_len - c->in_at;
        const uint8_t *at = memchr(p, WIRE_MAGIC & 0xff, have);
        size_t skip = at ? (size_t)(at - p) : have;
        c->in_at += skip;
        c->stats.skipped += skip;
        have -= skip;
        p += skip;
        if (have < WIRE_HEADER)
            return false;
        struct wire_head h;
        uint32_t trailer;
        struct wire_hello hello;
        if (!wire_decode(p, &h, &trailer) || h.type != WIRE_HELLO || h.tag ||
            h.len > WIRE_HELLO_MAX) {
            c->in_at++;
            c->stats.skipped++;
            continue;
        }
        size_t whole = WIRE_HEADER + h.len + WIRE_TRAILER;
        if (have < whole)
            return false;
        if (wire_get32(p + WIRE_HEADER + h.len) != trailer ||
            !wire_hello_decode(p + WIRE_HEADER, h.len, &hello)) {
            c->in_at++;
            c->stats.skipped++;
            continue;
        }
        c->in_at += whole;
        c->stats.frames_in++;
        on_hello(c, &hello);
        return true;
    }
    return false;
}

/* The text of a message, whole, into the event. False: more frames to come, or lost. */
static bool gather(struct chan *c, const struct wire_head *h, const uint8_t *payload,
                   struct chan_event *ev)
{
    bool more = h->flags & WIRE_MORE;
    if (c->part_len + h->len > c->config.message_max) {
        breach(c, "a message is too long");
        return false;
    }
    char *bigger = realloc(c->part, c->part_len + h->len + 1);
    if (!bigger) {
        chan_lose(c, "out of memory");
        return false;
    }
    c->part = bigger;
    memcpy(c->part + c->part_len, payload, h->len);
    c->part_len += h->len;
    c->part[c->part_len] = '\0';
    c->part_type = more ? h->type : 0;
    c->part_stream = h->stream;
    if (more)
        return false;
    free(c->text);
    c->text = c->part;
    c->part = NULL;
    ev->data = c->text;
    ev->len = c->part_len;
    c->part_len = 0;
    return true;
}

static bool take_open(struct chan *c, const struct wire_head *h, const uint8_t *payload,
                      struct chan_event *ev)
{
    if (c->config.role != CHAN_GUEST || c->config.direct || h->stream <= c->last_id) {
        breach(c, "a stream was opened that may not be");
        return false;
    }
    if (!gather(c, h, payload, ev))
        return false;
    if (c->nstreams >= c->config.streams_max) {
        breach(c, "too many streams");
        return false;
    }
    if (!chan_add_stream(c, h->stream, NULL)) {
        chan_lose(c, "out of memory");
        return false;
    }
    c->last_id = h->stream;
    ev->kind = CHAN_EV_OPEN;
    return true;
}

/* A frame on flow `f` of a stream. False: nothing to tell. */
static bool take_flow(struct chan *c, struct chan_stream *s, const struct wire_head *h,
                      const uint8_t *payload, struct chan_event *ev)
{
    if (h->flow >= CHAN_FLOWS ||
        chan_flow_is_ours(c, h->flow) != (h->type == WIRE_CREDIT)) {
        breach(c, "a flow was used in the wrong direction");
        return false;
    }
    struct chan_flow *f = &s->flow[h->flow];
    ev->flow = h->flow;
    if (h->type == WIRE_CREDIT) {
        uint32_t n = h->len == 4 ? wire_get32(payload) : 0;
        if (!n || n > CHAN_WINDOW - f->credit) {
            breach(c, "more credit was given than bytes were sent");
            return false;
        }
        f->credit += n;
        ev->kind = CHAN_EV_CREDIT;
        ev->len = n;
    } else if (f->eof_in || h->len > f->left || (h->type == WIRE_EOF && h->len)) {
        breach(c, f->eof_in ? "bytes came after their end"
                            : "more bytes came than there was credit for");
        return false;
    } else if (h->type == WIRE_EOF) {
        f->eof_in = true;
        ev->kind = CHAN_EV_EOF;
    } else {
        f->left -= h->len;
        ev->kind = CHAN_EV_DATA;
        ev->data = (const char *)payload;
        ev->len = h->len;
        if (!h->len)
            return false;
    }
    return !s->closed_out;
}

static bool take_stream(struct chan *c, const struct wire_head *h,
                        const uint8_t *payload, struct chan_event *ev)
{
    struct chan_stream *s = chan_find(c, h->stream);
    if (!s || s->closed_in) {
        breach(c, "a stream was used that is not open");
        return false;
    }
    ev->user = s->user;
    switch (h->type) {
    case WIRE_MSG:
        ev->kind = CHAN_EV_MSG;
        return gather(c, h, payload, ev) && !s->closed_out;
    case WIRE_CLOSE:
        s->closed_in = true;
        ev->kind = CHAN_EV_CLOSE;
        if (s->closed_out)
            chan_drop_stream(c, s);
        return true;
    default:
        return take_flow(c, s, h, payload, ev);
    }
}

static bool take_frame(struct chan *c, const struct wire_head *h,
                       const uint8_t *payload, struct chan_event *ev)
{
    struct wire_hello hello;
    c->stats.frames_in++;
    *ev = (struct chan_event){.stream = h->stream};
    if (h->type == WIRE_HELLO) {
        if (c->config.direct || !wire_hello_decode(payload, h->len, &hello))
            breach(c, "a wrong hello");
        else
            on_hello(c, &hello);
        return false;
    }
    if (h->tag != (c->config.direct ? 0 : (uint32_t)c->nonce)) {
        c->stats.stale++;
        return false;
    }
    if (h->type == 0 || h->type >= WIRE_TYPES) {
        breach(c, "a frame of a kind that does not exist");
        return false;
    }
    if (c->part_type && (h->type != c->part_type || h->stream != c->part_stream)) {
        breach(c, "a message was broken off");
        return false;
    }
    if (h->type == WIRE_OPEN)
        return take_open(c, h, payload, ev);
    return take_stream(c, h, payload, ev);
}

/* The next frame while up. 1: an event; 0: go on; -1: more bytes are needed. */
static int next_frame(struct chan *c, struct chan_event *ev)
{
    size_t have = c->in_len - c->in_at;
    const uint8_t *p = c->in + c->in_at;
    struct wire_head h;
    uint32_t trailer;
    if (have < WIRE_HEADER)
        return -1;
    if (!wire_decode(p, &h, &trailer)) {
        chan_lose(c, "out of step with the other end");
        return 0;
    }
    if (h.len > CHAN_PAYLOAD_MAX) {
        breach(c, "a frame is too long");
        return 0;
    }
    size_t whole = WIRE_HEADER + h.len + WIRE_TRAILER;
    if (have < whole)
        return -1;
    if (wire_get32(p + WIRE_HEADER + h.len) != trailer) {
        chan_lose(c, "out of step with the other end");
        return 0;
    }
    c->taken = whole;
    return take_frame(c, &h, p + WIRE_HEADER, ev);
}

/* What waits to be told before any new frame. */
static bool next_due(struct chan *c, struct chan_event *ev)
{
    if (c->gone_at < c->ngone) {
        struct chan_stream *s = c->gone[c->gone_at++];
        bool tell = !s->silent;
        *ev =
            (struct chan_event){.kind = CHAN_EV_GONE, .stream = s->id, .user = s->user};
        free(s);
        return tell || next_due(c, ev);
    }
    c->gone_at = c->ngone = 0;
    if (c->lost_due) {
        c->lost_due = false;
        *ev = (struct chan_event){
            .kind = CHAN_EV_LOST, .data = c->lost_text, .len = strlen(c->lost_text)};
        return true;
    }
    if (c->up_due) {
        c->up_due = false;
        *ev = (struct chan_event){
            .kind = CHAN_EV_UP, .data = c->program, .len = strlen(c->program)};
        return true;
    }
    return false;
}

bool chan_next(struct chan *c, struct chan_event *ev)
{
    for (;;) {
        c->in_at += c->taken;
        c->taken = 0;
        if (next_due(c, ev))
            return true;
        if (c->state == CHAN_UP) {
            int got = next_frame(c, ev);
            if (got)
                return got > 0;
        } else if (c->paused || c->config.direct) {
            c->stats.skipped += c->in_len - c->in_at;
            c->in_at = c->in_len = 0;
            return false;
        } else if (!seek_hello(c)) {
            return false;
        }
    }
}
