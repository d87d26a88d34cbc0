/* SPDX-License-Identifier: Apache-2.0 */
/* src/proto/chan: two ends joined by byte queues that cut, lose and repeat. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "proto/chan.h"
#include "proto/chan_wire.h"
#include "proto/rpc.h"

static uint64_t seed = 1;

static uint64_t next_random(void *arg)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return seed >> 8 | 1;
}

static struct chan *make(enum chan_role role, bool direct)
{
    struct chan *c = NULL;
    struct chan_config config = {.role = role, .direct = direct, .random = next_random};
    assert_int_equal(chan_new(&config, &c, NULL), 0);
    return c;
}

/* Move at most `most` bytes from a to b; gives how many. */
static size_t move_bytes(struct chan *a, struct chan *b, size_t most)
{
    size_t have, room;
    const void *from = chan_output(a, &have);
    void *to = chan_room(b, &room);
    size_t n = have < room ? have : room;
    n = n < most ? n : most;
    memcpy(to, from, n);
    chan_output_done(a, n);
    chan_added(b, n);
    return n;
}

static int count(struct chan *c, enum chan_event_kind kind)
{
    struct chan_event ev;
    int n = 0;
    while (chan_next(c, &ev))
        n += ev.kind == kind;
    return n;
}

/* Exchange until silence; the number of UP events at both ends. */
static int settle(struct chan *a, struct chan *b)
{
    int ups = 0;
    while (move_bytes(a, b, SIZE_MAX) + move_bytes(b, a, SIZE_MAX))
        ups += count(a, CHAN_EV_UP) + count(b, CHAN_EV_UP);
    return ups;
}

static void test_hello(void **state)
{
    struct chan *h = make(CHAN_HOST, false), *g = make(CHAN_GUEST, false);
    assert_int_equal(chan_open(h, json_object(), NULL, NULL, NULL), -1);
    assert_int_equal(settle(h, g), 2);
    assert_int_equal(chan_state(h), CHAN_UP);
    assert_int_equal(chan_state(g), CHAN_UP);
    assert_int_equal(chan_timeout(h, 5), -1);
    /* Byte by byte is the same. */
    chan_reset(h);
    chan_reset(g);
    int ups = 0;
    while (move_bytes(h, g, 1) + move_bytes(g, h, 1))
        ups += count(h, CHAN_EV_UP) + count(g, CHAN_EV_UP);
    assert_int_equal(ups, 2);
    chan_free(h);
    chan_free(g);
}

/* Our own words coming back (a line that echoes) bring nothing up. */
static void test_echo(void **state)
{
    struct chan *g = make(CHAN_GUEST, false);
    for (int i = 0; i < 10; i++) {
        move_bytes(g, g, SIZE_MAX);
        assert_int_equal(count(g, CHAN_EV_UP), 0);
        chan_tick(g, 1000 * (i + 1));
    }
    assert_int_equal(chan_state(g), CHAN_DOWN);
    chan_free(g);
}

static struct chan_event expect(struct chan *c, enum chan_event_kind kind)
{
    struct chan_event ev = {0};
    assert_true(chan_next(c, &ev));
    assert_int_equal(ev.kind, kind);
    return ev;
}

static void test_stream(void **state)
{
    struct chan *h = make(CHAN_HOST, false), *g = make(CHAN_GUEST, false);
    settle(h, g);
    uint32_t id;
    int mine;
    /* A request longer than a frame comes in one piece. */
    AUTO_STR big = malloc(200001);
    memset(big, 'x', 200000);
    big[200000] = '\0';
    assert_int_equal(chan_open(h, json_pack("{s:s}", "op", big), &mine, &id, NULL), 0);
    while (move_bytes(h, g, SIZE_MAX) && count(g, CHAN_EV_OPEN) == 0)
        ;
    assert_int_equal(chan_open(h, json_pack("{s:s}", "op", "x"), NULL, &id, NULL), 0);
    assert_int_equal(id, 2);
    move_bytes(h, g, SIZE_MAX);
    struct chan_event ev = expect(g, CHAN_EV_OPEN);
    AUTO_JSON got = NULL;
    assert_int_equal(chan_parse(&ev, &got, NULL), 0);
    assert_string_equal(json_string_value(json_object_get(got, "op")), "x");
    assert_int_equal(chan_data(h, 2, 0, "abc", 3, NULL), 0);
    assert_int_equal(chan_data(h, 2, 1, "abc", 3, NULL), -1); /* not our flow */
    chan_eof(h, 2, 0);
    assert_int_equal(chan_sendable(h, 2, 0), 0);
    move_bytes(h, g, SIZE_MAX);
    ev = expect(g, CHAN_EV_DATA);
    assert_int_equal(ev.len, 3);
    assert_memory_equal(ev.data, "abc", 3);
    expect(g, CHAN_EV_EOF);
    chan_msg(g, 2, json_pack("{s:i}", "exit", 7), NULL);
    chan_close(g, 2);
    move_bytes(g, h, SIZE_MAX);
    ev = expect(h, CHAN_EV_MSG);
    assert_string_equal(ev.data, "{\"exit\":7}");
    expect(h, CHAN_EV_CLOSE);
    chan_close(h, 2);
    move_bytes(h, g, SIZE_MAX);
    expect(g, CHAN_EV_CLOSE);
    struct chan_event none;
    assert_false(chan_next(g, &none));
    struct chan_stats stats;
    chan_stats(g, &stats);
    assert_int_equal(stats.streams, 1);
    assert_int_equal(stats.breaches, 0);
    /* The first stream is gone with the channel; the second is over. */
    chan_reset(h);
    ev = expect(h, CHAN_EV_GONE);
    assert_ptr_equal(ev.user, &mine);
    expect(h, CHAN_EV_LOST);
    assert_false(chan_next(h, &none));
    chan_free(h);
    chan_free(g);
}

/* A window full, then nothing; credit comes when the reader says so. */
static void test_credit(void **state)
{
    struct chan *h = make(CHAN_HOST, true), *g = make(CHAN_GUEST, true);
    static char block[CHAN_WINDOW];
    assert_int_equal(chan_sendable(g, CHAN_DIRECT, 1), CHAN_WINDOW);
    assert_int_equal(chan_data(g, CHAN_DIRECT, 1, block, sizeof block, NULL), 0);
    assert_int_equal(chan_sendable(g, CHAN_DIRECT, 1), 0);
    assert_int_equal(chan_data(g, CHAN_DIRECT, 1, block, 1, NULL), -1);
    size_t got = 0;
    struct chan_event ev;
    while (move_bytes(g, h, SIZE_MAX))
        while (chan_next(h, &ev))
            got += ev.len;
    assert_int_equal(got, CHAN_WINDOW);
    chan_consumed(h, CHAN_DIRECT, 1, 10);
    assert_int_equal(chan_output_len(h), 0); /* gathered */
    chan_consumed(h, CHAN_DIRECT, 1, CHAN_WINDOW / 4);
    move_bytes(h, g, SIZE_MAX);
    ev = expect(g, CHAN_EV_CREDIT);
    assert_int_equal(ev.len, CHAN_WINDOW / 4 + 10);
    assert_int_equal(chan_sendable(g, CHAN_DIRECT, 1), ev.len);
    chan_free(h);
    chan_free(g);
}

/* client -- agent -- guest: the agent only forwards, and never holds more than a
 * window. */
static void test_relay(void **state)
{
    struct chan *client = make(CHAN_HOST, true), *up = make(CHAN_GUEST, true);
    struct chan *down = make(CHAN_HOST, false), *guest = make(CHAN_GUEST, false);
    settle(down, guest);
    uint32_t id;
    assert_int_equal(chan_open(down, json_pack("{s:s}", "op", "exec"), NULL, &id, NULL),
                     0);
    move_bytes(down, guest, SIZE_MAX);
    expect(guest, CHAN_EV_OPEN);
    enum { TOTAL = 20 << 20 };
    static char block[100000];
    size_t sent = 0, got = 0, held = 0;
    struct chan_event ev;
    for (int turn = 0; got < TOTAL; turn++) {
        assert_true(turn < 100000);
        size_t n = chan_sendable(guest, id, 1);
        n = n < sizeof block ? n : sizeof block;
        for (size_t i = 0; i < n; i++)
            block[i] = (sent + i) % 251;
        assert_int_equal(chan_data(guest, id, 1, block, n, NULL), 0);
        sent += n;
        move_bytes(guest, down, SIZE_MAX);
        while (chan_next(down, &ev))
            assert_int_equal(chan_forward(up, CHAN_DIRECT, &ev, NULL), 0);
        assert_true(chan_output_len(up) < CHAN_WINDOW + CHAN_WINDOW / 8);
        move_bytes(up, client, 30000); /* a slow client */
        while (chan_next(client, &ev)) {
            assert_int_equal(ev.kind, CHAN_EV_DATA);
            for (size_t i = 0; i < ev.len; i++)
                assert_int_equal((unsigned char)ev.data[i], (got + i) % 251);
            got += ev.len;
            held += ev.len;
        }
        if (turn % 3 == 0) {
            chan_consumed(client, CHAN_DIRECT, 1, held);
            held = 0;
        }
        move_bytes(client, up, SIZE_MAX);
        while (chan_next(up, &ev))
            assert_int_equal(chan_forward(down, id, &ev, NULL), 0);
        move_bytes(down, guest, SIZE_MAX);
        while (chan_next(guest, &ev))
            assert_int_equal(ev.kind, CHAN_EV_CREDIT);
    }
    chan_free(client);
    chan_free(up);
    chan_free(down);
    chan_free(guest);
}

/* The host end starts anew in the middle of a frame (agent killed, guest restored): the
 * cut frame is never delivered, both come up again. */
static void test_restart(void **state)
{
    for (size_t cut = 1; cut < 500; cut += 7) {
        struct chan *h = make(CHAN_HOST, false), *g = make(CHAN_GUEST, false);
        settle(h, g);
        uint32_t id;
        chan_open(h, json_pack("{s:s}", "op", "x"), NULL, &id, NULL);
        settle(h, g);
        static char block[20000];
        memset(block, 'd', sizeof block);
        chan_data(h, id, 0, block, sizeof block, NULL);
        move_bytes(h, g, cut * 40);
        chan_free(h); /* the rest is never sent */
        h = make(CHAN_HOST, false);
        int ups = 0, gone = 0;
        size_t data = 0;
        struct chan_event ev;
        for (uint64_t now = 1000; now < 20000 && ups < 2; now += 100) {
            chan_tick(h, now);
            chan_tick(g, now);
            move_bytes(h, g, SIZE_MAX);
            move_bytes(g, h, SIZE_MAX);
            while (chan_next(g, &ev)) {
                ups += ev.kind == CHAN_EV_UP;
                gone += ev.kind == CHAN_EV_GONE;
                data += ev.kind == CHAN_EV_DATA ? ev.len : 0;
            }
            ups += count(h, CHAN_EV_UP);
        }
        assert_int_equal(ups, 2);
        assert_int_equal(gone, 1);
        assert_true(data == 0 || data == sizeof block);
        chan_free(h);
        chan_free(g);
    }
}

/* A user's bytes that look like a hello and a request do not come up as a session. */
static void test_forged(void **state)
{
    struct chan *g = make(CHAN_GUEST, false);
    struct wire_hello hello = {
        .version = CHAN_VERSION, .role = CHAN_HOST, .nonce = 77, .echo = 78};
    uint8_t frame[WIRE_HEADER + WIRE_HELLO_MAX + WIRE_TRAILER];
    struct wire_head head = {.type = WIRE_HELLO};
    for (int i = 0; i < 1000; i++) {
        head.len = wire_hello_encode(&hello, frame + WIRE_HEADER);
        wire_put32(frame + WIRE_HEADER + head.len, wire_encode(&head, frame));
        size_t room;
        memcpy(chan_room(g, &room), frame, WIRE_HEADER + head.len + WIRE_TRAILER);
        chan_added(g, WIRE_HEADER + head.len + WIRE_TRAILER);
        assert_int_equal(count(g, CHAN_EV_UP), 0);
    }
    assert_true(chan_output_len(g) < 5000); /* answers are limited */
    chan_free(g);
}

/* Send one raw frame from a hostile guest to a host with stream 1 open. */
static bool hostile(const struct wire_head *want, const void *payload)
{
    struct chan *h = make(CHAN_HOST, false), *g = make(CHAN_GUEST, false);
    settle(h, g);
    chan_open(h, json_object(), NULL, NULL, NULL);
    move_bytes(h, g, SIZE_MAX);
    /* The tag is in the guest's own frames. */
    chan_msg(g, 1, json_object(), NULL);
    expect(g, CHAN_EV_OPEN);
    chan_msg(g, 1, json_object(), NULL);
    size_t len, room;
    const uint8_t *out = chan_output(g, &len);
    struct wire_head head = *want;
    head.tag = wire_get32(out + 4);
    chan_output_done(g, len);
    uint8_t *to = chan_room(h, &room);
    uint32_t trailer = wire_encode(&head, to);
    if (payload)
        memcpy(to + WIRE_HEADER, payload, head.len);
    else
        memset(to + WIRE_HEADER, 'x', head.len < 40000 ? head.len : 40000);
    if (head.len < 40000)
        wire_put32(to + WIRE_HEADER + head.len, trailer);
    chan_added(h, WIRE_HEADER + (head.len < 40000 ? head.len : 40000) + WIRE_TRAILER);
    bool lost = count(h, CHAN_EV_LOST) == 1;
    struct chan_stats stats;
    chan_stats(h, &stats);
    assert_int_equal(stats.breaches, lost);
    chan_free(h);
    chan_free(g);
    return lost;
}

static void test_breaches(void **state)
{
    struct wire_head good = {.stream = 1, .type = WIRE_DATA, .flow = 1, .len = 10};
    assert_false(hostile(&good, NULL));
    static const struct wire_head bad[] = {
        {.stream = 1, .type = WIRE_DATA, .flow = 0, .len = 10},  /* direction */
        {.stream = 1, .type = WIRE_DATA, .flow = 3, .len = 10},  /* flow */
        {.stream = 2, .type = WIRE_DATA, .flow = 1, .len = 10},  /* not open */
        {.stream = 9, .type = WIRE_OPEN, .len = 2},              /* guests do not */
        {.stream = 1, .type = WIRE_EOF, .flow = 1, .len = 1},    /* bytes in an end */
        {.stream = 1, .type = WIRE_CREDIT, .flow = 0, .len = 4}, /* never sent */
        {.stream = 1, .type = WIRE_CREDIT, .flow = 0, .len = 3},
        {.stream = 1, .type = WIRE_CREDIT, .flow = 1, .len = 4},
        {.stream = 1, .type = WIRE_HELLO, .len = 3},
        {.stream = 1, .type = 0},
        {.stream = 1, .type = WIRE_TYPES},
        {.stream = 1, .type = WIRE_DATA, .flow = 1, .len = CHAN_PAYLOAD_MAX + 1},
        {.stream = 1, .type = WIRE_DATA, .flow = 1, .len = 0xffffffff},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (!hostile(&bad[i], NULL))
            fail_msg("breach %zu was let through", i);
}

/* A guest that breaks the rules again and again is answered ever more rarely. */
static void test_backoff(void **state)
{
    struct chan *h = make(CHAN_HOST, false), *g = make(CHAN_GUEST, false);
    uint64_t now = 1000;
    for (int i = 0; i < 6; i++) {
        int ups = 0;
        for (; ups < 2; now += 50) {
            assert_true(now < 100000);
            chan_tick(h, now);
            chan_tick(g, now);
            ups += settle(h, g);
        }
        size_t room;
        memset(chan_room(h, &room), 'x', 1000);
        chan_added(h, 1000);
        assert_int_equal(count(h, CHAN_EV_LOST), 1);
        chan_reset(g);
    }
    assert_true(chan_timeout(h, now) >= 4000);
    /* But after a session that lasted, as a restored guest's, it is answered at once. */
    for (int ups = 0; ups < 2; now += 50) {
        assert_true(now < 200000);
        chan_tick(h, now);
        chan_tick(g, now);
        ups += settle(h, g);
    }
    assert_int_equal(chan_timeout(h, now), -1);
    assert_int_equal(chan_timeout(h, now + 3000), -1);
    size_t room;
    memset(chan_room(h, &room), 'x', 1000);
    chan_added(h, 1000);
    assert_int_equal(count(h, CHAN_EV_LOST), 1);
    assert_true(chan_timeout(h, now + 3000) <= 250);
    chan_free(h);
    chan_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello),   cmocka_unit_test(test_echo),
        cmocka_unit_test(test_stream),  cmocka_unit_test(test_credit),
        cmocka_unit_test(test_relay),   cmocka_unit_test(test_restart),
        cmocka_unit_test(test_forged),  cmocka_unit_test(test_breaches),
        cmocka_unit_test(test_backoff),
    };
    return cmocka_run_group_tests_name("chan", tests, NULL, NULL);
}
