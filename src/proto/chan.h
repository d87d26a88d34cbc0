/* SPDX-License-Identifier: Apache-2.0 */
/* The guest channel: many flow-controlled streams over one byte stream between the
 * agent (the host end) and lodge-guest, and, for one stream, between a client and the
 * agent. A pure state machine: bytes in, events out, bytes to send out; it does no I/O,
 * knows no descriptors and never blocks. docs/protocol-guest.md describes the wire.
 *
 * Use from an event loop, for each channel:
 *
 *   readable:  p = chan_room(c, &n); n = read(fd, p, n); chan_added(c, n);
 *              while (chan_next(c, &ev)) handle(&ev);
 *   to write:  p = chan_output(c, &n); n = write(fd, p, n); chan_output_done(c, n);
 *              (ask for EPOLLOUT while chan_output_len(c) > 0: check after each turn)
 *   timer:     chan_tick(c, clock_ms()) when chan_timeout(c, clock_ms()) has passed
 *   transport opened anew, or closed: chan_reset(c)
 *
 * Streams. The host opens one with a JSON request; the guest never opens. A stream has
 * three flows of bytes: 0 (standard input) host to guest, 1 and 2 (output, error)
 * guest to host; JSON messages both ways; an end of each flow; a close. Of each flow at
 * most CHAN_WINDOW bytes are under way: who reads says chan_consumed() when the bytes
 * have really gone on, and that comes to the sender as a credit. A relay gives the
 * events of one channel to the other with chan_forward(), credits too, and so needs no
 * buffer of its own: a slow reader stops the writer at the far end and nobody between.
 *
 * Nothing from the other end is trusted. A breach (bad frame, size, credit, stream,
 * direction) gives CHAN_EV_GONE for each stream, then CHAN_EV_LOST, and the channel
 * starts again with a hello after a pause that grows from breach to breach. */
#pragma once
#include "base/err.h"
#include "base/own.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CHAN_VERSION = 1,
    CHAN_PAYLOAD_MAX = 32768,   /* of a frame */
    CHAN_MESSAGE_MAX = 1 << 20, /* of a request or message, which may span frames */
    CHAN_WINDOW = 512 << 10,    /* bytes under way in a flow */
    CHAN_STREAMS_MAX = 1024,    /* at once */
    CHAN_OUTPUT_HIGH = 1 << 20, /* with more to write than this, stop feeding */
    CHAN_FLOWS = 3
};

enum chan_role {
    CHAN_HOST, /* opens streams: the agent to the guest, a client to the agent */
    CHAN_GUEST /* is asked: lodge-guest to the agent, the agent to a client */
};

/* The life of a channel: waiting for a hello that answers ours, then up. */
enum chan_state { CHAN_DOWN, CHAN_UP };

struct chan_config {
    enum chan_role role;
    /* A fresh connection of ours alone (an upgraded one): no hello, up at once, and
     * stream CHAN_DIRECT is open at both ends. A loss is final. */
    bool direct;
    void *user;                    /* of stream CHAN_DIRECT */
    size_t streams_max;            /* 0: CHAN_STREAMS_MAX */
    size_t message_max;            /* of what comes in; 0: CHAN_MESSAGE_MAX */
    uint64_t (*random)(void *arg); /* NULL: the kernel's; tests give their own */
    void *random_arg;
};
enum { CHAN_DIRECT = 1 };

enum chan_event_kind {
    CHAN_EV_UP,   /* the other end answered: streams may be opened. text: its version */
    CHAN_EV_OPEN, /* guest: a new stream; text is the request */
    CHAN_EV_MSG,  /* a message; text is JSON, not yet parsed */
    CHAN_EV_DATA, /* bytes of a flow; call chan_consumed() when they have gone on */
    CHAN_EV_EOF,  /* a flow ended */
    CHAN_EV_CREDIT, /* len more bytes of a flow went on at the far end */
    /* Each stream ends with exactly one of these two, also after a chan_close() of ours:
     * the place to free what hangs on it. */
    CHAN_EV_CLOSE, /* the other end closed: chan_close() it too if you have not yet */
    CHAN_EV_GONE,  /* lost with the channel; no call needed */
    CHAN_EV_LOST   /* the channel is down; text says why. All streams have gone. Comes
                       without an UP when the other end speaks another version */
};

struct chan_event {
    enum chan_event_kind kind;
    uint32_t stream;  /* 0 for UP and LOST */
    int flow;         /* DATA, EOF, CREDIT */
    const char *data; /* text of OPEN, MSG (with a NUL behind), UP, LOST; bytes of DATA.
                         Valid until the next call of chan_next, _room or _reset */
    size_t len;
    void *user; /* what chan_open or chan_set_user said */
};

struct chan;

int chan_new(const struct chan_config *config, struct chan **out, struct err *err);
void chan_free(struct chan *c);
OWN_DEFINE(chan)

/* The transport is new or gone: drop what is half read and unsent, say hello again.
 * Streams that were open come as GONE, then LOST if the channel was up. */
void chan_reset(struct chan *c);
enum chan_state chan_state(const struct chan *c);

/* Where to read to (at least CHAN_PAYLOAD_MAX bytes once chan_next() gave false). */
void *chan_room(struct chan *c, size_t *len);
void chan_added(struct chan *c, size_t len);
/* The next event; false when more bytes are needed. */
bool chan_next(struct chan *c, struct chan_event *ev);

/* What to write, and how much of it was written. */
const void *chan_output(struct chan *c, size_t *len);
void chan_output_done(struct chan *c, size_t len);
size_t chan_output_len(const struct chan *c);

/* Hello is repeated while down. Milliseconds until chan_tick() is wanted, -1: never. */
int chan_timeout(struct chan *c, uint64_t now_ms);
void chan_tick(struct chan *c, uint64_t now_ms);

/* Host: open a stream. Steals request. E_STATE when down, E_BUSY with too many. */
int chan_open(struct chan *c, json_t *request, void *user, uint32_t *stream,
              struct err *err);
void chan_set_user(struct chan *c, uint32_t stream, void *user);
void *chan_user(const struct chan *c, uint32_t stream); /* NULL if there is none */
/* Of an unknown or closed stream the calls below are no error and do nothing: the other
 * end may have closed it, or the channel was lost, while you were busy. */
/* Steals message; NULL is an error, so that json_pack() can stand there. */
int chan_msg(struct chan *c, uint32_t stream, json_t *message, struct err *err);
/* How many bytes chan_data takes now: the credit left. 0 after an end. */
size_t chan_sendable(const struct chan *c, uint32_t stream, int flow);
int chan_data(struct chan *c, uint32_t stream, int flow, const void *data, size_t len,
              struct err *err);
void chan_eof(struct chan *c, uint32_t stream, int flow);
void chan_consumed(struct chan *c, uint32_t stream, int flow, size_t len);
/* No more from us; what still comes for the stream is dropped. */
void chan_close(struct chan *c, uint32_t stream);

/* Relay: do on `to`'s stream what `ev` (MSG, DATA, EOF, CREDIT, CLOSE; GONE closes)
 * says happened on the other channel. Opening is the caller's, who checks and edits it.
 */
int chan_forward(struct chan *to, uint32_t stream, const struct chan_event *ev,
                 struct err *err);

/* The JSON of an OPEN or MSG: an object, no duplicate keys, new reference. */
int chan_parse(const struct chan_event *ev, json_t **out, struct err *err);

struct chan_stats {
    uint64_t bytes_in, bytes_out, frames_in, frames_out;
    uint64_t sessions; /* times it came up */
    uint64_t breaches; /* by the other end */
    uint64_t skipped;  /* bytes passed over in search of a hello */
    uint64_t stale;    /* frames of an earlier session */
    size_t streams;    /* open now */
};
void chan_stats(const struct chan *c, struct chan_stats *out);
