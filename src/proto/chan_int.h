/* SPDX-License-Identifier: Apache-2.0 */
/* What chan.c (session, input) and chan_stream.c (streams, output) share. */
#pragma once
#include "proto/chan.h"
#include "proto/chan_wire.h"

enum {
    CHAN_IN_SIZE = 4 * (CHAN_PAYLOAD_MAX + WIRE_HEADER + WIRE_TRAILER),
    CHAN_OUT_MAX = 64 << 20 /* never more waits to be written than this */
};

struct chan_flow {
    uint32_t credit; /* we may still send */
    uint32_t left;   /* the other end may still send */
    uint32_t owed;   /* consumed, not yet given back as a credit */
    bool eof_out, eof_in;
};

struct chan_stream {
    uint32_t id;
    void *user;
    bool closed_out, closed_in;
    bool silent; /* was never really opened: no event */
    struct chan_flow flow[CHAN_FLOWS];
};

struct chan {
    struct chan_config config;
    enum chan_state state;

    /* Session. */
    uint64_t nonce, peer; /* ours, theirs; 0: not known */
    uint64_t told;        /* the echo in our last hello */
    char program[65];     /* theirs */
    bool up_due, lost_due;
    char lost_text[160];
    unsigned losses, tries, replies;
    bool paused; /* after a loss: what comes in is dropped until the tick */
    int wait_ms; /* to the next hello, counted from the next chan_timeout() */
    uint64_t due, up_since;

    /* Input: bytes in[in_at .. in_len), of which `taken` belong to the last event. */
    uint8_t *in;
    size_t in_at, in_len, taken;
    char *part; /* a message of several frames */
    size_t part_len;
    uint32_t part_stream;
    uint8_t part_type; /* 0: none */
    char *text;        /* of the last event, with its NUL */

    /* Output: out[out_at .. out_len). */
    uint8_t *out;
    size_t out_at, out_len, out_size;

    /* Streams by rising id; gone[gone_at..) are still to be told. */
    struct chan_stream **streams, **gone;
    size_t nstreams, streams_size, ngone, gone_at;
    uint32_t last_id;

    struct chan_stats stats;
};

/* The channel is lost because of `why`; streams go. */
void chan_lose(struct chan *c, const char *why);
/* Append a frame; false (and the channel is lost) without memory. */
bool chan_put_frame(struct chan *c, const struct wire_head *h, const void *payload);
bool chan_put_bytes(struct chan *c, const void *data, size_t len);
/* The tag of frames to the other end. */
uint32_t chan_peer_tag(const struct chan *c);
bool chan_flow_is_ours(const struct chan *c, int flow); /* we send on it */
struct chan_stream *chan_find(const struct chan *c, uint32_t id);
struct chan_stream *chan_add_stream(struct chan *c, uint32_t id, void *user);
void chan_drop_stream(struct chan *c, struct chan_stream *s);
