/* SPDX-License-Identifier: Apache-2.0 */
/* The guest channel: a session that is up, and then anything. The input is a row of
 * steps: raw bytes, well-formed frames with any fields, calls of the API. Whatever comes,
 * the channel stays within its limits and comes up again with an honest peer. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "proto/chan_int.h"
#include "proto/command.h"

const char fuzz_name[] = "chan";
const char *const fuzz_seeds[] = {NULL};

struct input {
    const uint8_t *at, *end;
};

static uint64_t counter;

static uint64_t count_up(void *arg)
{
    return ++counter * 0x9e3779b97f4a7c15u | 1;
}

static uint8_t byte(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static uint32_t word(struct input *in)
{
    uint32_t v = byte(in);
    return v | byte(in) << 8;
}

static void drain(struct chan *c)
{
    struct chan_event ev;
    while (chan_next(c, &ev)) {
        struct command *command = NULL;
        json_t *json = NULL;
        if ((ev.kind == CHAN_EV_MSG || ev.kind == CHAN_EV_OPEN) &&
            chan_parse(&ev, &json, NULL) == 0 &&
            command_decode(json, &command, NULL) == 0)
            command_free(command);
        json_decref(json);
        if (ev.kind == CHAN_EV_DATA)
            chan_consumed(c, ev.stream, ev.flow, ev.len);
        if (ev.kind == CHAN_EV_CLOSE)
            chan_close(c, ev.stream);
    }
}

static void feed(struct chan *c, const void *data, size_t len)
{
    for (const char *p = data; len > 0;) {
        size_t room;
        void *to = chan_room(c, &room);
        if (!room)
            abort();
        size_t n = len < room ? len : room;
        memcpy(to, p, n);
        chan_added(c, n);
        drain(c);
        p += n;
        len -= n;
    }
}

static void exchange(struct chan *a, struct chan *b)
{
    for (int i = 0; i < 8; i++) {
        struct chan *from = i % 2 ? a : b, *to = i % 2 ? b : a;
        size_t len;
        const void *p = chan_output(from, &len);
        feed(to, p, len);
        chan_output_done(from, len);
    }
}

/* A frame with the fields of the input, made by `from` and so with the right tag. */
static void put_frame(struct chan *from, struct input *in)
{
    struct wire_head h = {.tag = chan_peer_tag(from),
                          .type = byte(in) % (WIRE_TYPES + 1),
                          .flags = byte(in) % 4,
                          .flow = byte(in) % 4,
                          .stream = byte(in) % 5,
                          .len = word(in)};
    uint8_t *payload = calloc(1, h.len + 1);
    if (!payload)
        return;
    size_t n = in->end - in->at;
    n = n < h.len ? n : h.len;
    memcpy(payload, in->at, n);
    in->at += n < 64 ? n : 64;
    chan_put_frame(from, &h, payload);
    free(payload);
}

static void step(struct chan *us, struct chan *them, struct input *in, uint64_t *now)
{
    uint32_t stream = 0;
    size_t n;
    switch (byte(in) % 8) {
    case 0: /* raw bytes into us */
        n = word(in) % 600;
        n = n < (size_t)(in->end - in->at) ? n : (size_t)(in->end - in->at);
        feed(us, in->at, n);
        in->at += n;
        break;
    case 1:
    case 2:
    case 3:
        put_frame(them, in);
        exchange(us, them);
        break;
    case 4:
        chan_open(us, json_pack("{s:s}", "op", "x"), NULL, &stream, NULL);
        break;
    case 5:
        n = chan_sendable(us, byte(in) % 5, 0);
        if (n > 1000)
            chan_data(us, 1, 0, in->at, in->at < in->end ? 1 : 0, NULL);
        chan_close(us, byte(in) % 5);
        break;
    case 6:
        *now += word(in);
        chan_tick(us, *now);
        chan_tick(them, *now);
        exchange(us, them);
        break;
    default:
        chan_reset(byte(in) & 1 ? us : them);
        drain(us);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    counter = 1;
    bool host = byte(&in) & 1;
    struct chan_config mine = {.role = host ? CHAN_HOST : CHAN_GUEST,
                               .streams_max = 3,
                               .message_max = 5000,
                               .random = count_up},
                       theirs = {.role = host ? CHAN_GUEST : CHAN_HOST,
                                 .random = count_up};
    struct chan *us = NULL, *them = NULL;
    if (chan_new(&mine, &us, NULL) < 0 || chan_new(&theirs, &them, NULL) < 0)
        abort();
    exchange(us, them);
    if (chan_state(us) != CHAN_UP)
        abort();
    chan_open(host ? us : them, json_object(), NULL, NULL, NULL);
    exchange(us, them);
    uint64_t now = 1;
    while (in.at < in.end) {
        step(us, them, &in, &now);
        struct chan_stats s;
        chan_stats(us, &s);
        if (s.streams > 3 || chan_output_len(us) > CHAN_OUT_MAX)
            abort();
    }
    /* It heals: both start anew, and after the longest pause they are up. */
    chan_reset(them);
    chan_reset(us);
    drain(us);
    drain(them);
    for (int i = 0;
         i < 100 && (chan_state(us) != CHAN_UP || chan_state(them) != CHAN_UP); i++) {
        now += 1000;
        chan_tick(us, now);
        chan_tick(them, now);
        exchange(us, them);
    }
    if (chan_state(us) != CHAN_UP || chan_state(them) != CHAN_UP)
        abort();
    chan_free(us);
    chan_free(them);
    return 0;
}
