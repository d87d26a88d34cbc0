/* SPDX-License-Identifier: Apache-2.0 */
/* A guest that means harm: takes the place of lodge-guest (same options --listen and
 * --fd) and attacks whoever calls it. It knows the protocol: attacks come in sessions that
 * are up, with right tags and sums, between stretches of proper behaviour.
 *
 *   hostile-guest --listen PATH | --fd N  [--seed N] [--attack NAME] [--quiet]
 *
 * Without --attack it changes from one to the next. It writes nothing to disk and uses
 * little processor time of its own: what suffers is the agent, if anything does. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "proto/chan_int.h"

enum { OPEN_MAX_SEEN = 64, FLOOD = 1 << 20 };

static uint64_t seed = 1;

static uint32_t dice(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

struct peer {
    struct chan *chan;
    int fd;
    uint32_t streams[OPEN_MAX_SEEN]; /* opened by the host, not yet closed */
    size_t n;
    bool deaf; /* does not read */
};

static uint32_t some_stream(struct peer *p)
{
    return p->n && dice(8) ? p->streams[dice(p->n)] : dice(6);
}

static void frame(struct peer *p, struct wire_head h, const void *payload)
{
    static uint8_t noise[CHAN_PAYLOAD_MAX];
    h.tag = chan_peer_tag(p->chan);
    if (h.len > sizeof noise) {
        /* Only the head tells this length. */
        uint8_t head[WIRE_HEADER];
        wire_encode(&h, head);
        chan_put_bytes(p->chan, head, sizeof head);
        return;
    }
    chan_put_frame(p->chan, &h, payload ? payload : noise);
}

static void text(struct peer *p, const char *json)
{
    struct wire_head h = {
        .type = WIRE_MSG, .stream = some_stream(p), .len = strlen(json)};
    frame(p, h, json);
}

/* --- attacks: each does a little, again and again ------------------------------------- */

static void garbage(struct peer *p)
{
    uint8_t bytes[512];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = dice(256);
    chan_put_bytes(p->chan, bytes, 1 + dice(sizeof bytes));
}

static void any_frame(struct peer *p)
{
    struct wire_head h = {.type = dice(WIRE_TYPES + 2),
                          .flags = dice(4),
                          .flow = dice(5),
                          .stream = some_stream(p),
                          .len = dice(4) ? dice(300) : dice(CHAN_PAYLOAD_MAX + 2)};
    frame(p, h, NULL);
}

static void credits(struct peer *p)
{
    static const uint32_t some[] = {0, 1, CHAN_WINDOW, 0x7fffffff, 0xffffffff};
    uint8_t raw[4];
    wire_put32(raw, some[dice(ARRAY_SIZE(some))]);
    frame(p,
          (struct wire_head){
              .type = WIRE_CREDIT, .flow = dice(3), .stream = some_stream(p), .len = 4},
          raw);
}

/* Text that never ends. */
static void endless_message(struct peer *p)
{
    for (int i = 0; i < 40; i++)
        frame(p,
              (struct wire_head){.type = WIRE_MSG,
                                 .flags = WIRE_MORE,
                                 .stream = p->n ? p->streams[0] : 1,
                                 .len = CHAN_PAYLOAD_MAX},
              NULL);
}

static void flood(struct peer *p)
{
    for (int i = 0; i < 40; i++)
        frame(p,
              (struct wire_head){.type = WIRE_DATA,
                                 .flow = 1 + dice(2),
                                 .stream = p->n ? p->streams[0] : 1,
                                 .len = CHAN_PAYLOAD_MAX},
              NULL);
}

static void hellos(struct peer *p)
{
    struct wire_hello hello = {.version = dice(4) ? CHAN_VERSION : dice(9),
                               .role = dice(3),
                               .nonce = dice(1000),
                               .echo = dice(1000)};
    uint8_t payload[WIRE_HELLO_MAX];
    struct wire_head h = {.type = WIRE_HELLO};
    h.len = wire_hello_encode(&hello, payload);
    for (int i = 0; i < 200; i++)
        chan_put_frame(p->chan, &h, payload);
}

static void lies(struct peer *p)
{
    static const char *const said[] = {
        "{",
        "[]",
        "{}",
        "{\"exit\":{}}",
        "{\"exit\":{\"status\":-1}}",
        "{\"exit\":{\"signal\":99999}}",
        "{\"exit\":7}",
        "{\"result\":null}",
        "{\"result\":{\"warnings\":{}}}",
        "{\"result\":{\"load\":\"x\",\"memory\":[]}}",
        "{\"error\":{}}",
        "{\"error\":{\"code\":7,\"text\":[]}}",
        "{\"error\":{\"code\":\"denied\",\"text\":\"\\u001b[2J\\u0007\\n\\r\"}}",
        "{\"attached\":{\"stdin\":99999999999}}",
        "{\"attached\":{\"stdin\":-1}}",
        "{\"started\":{\"pid\":-1}}",
        "{\"progress\":{\"files\":1e999}}",
        "{\"lost\":true}",
        "{\"stdin\":\"closed\"}",
        "\xff\xfe",
    };
    text(p, said[dice(ARRAY_SIZE(said))]);
}

static void deep(struct peer *p)
{
    char json[20000];
    memset(json, '[', sizeof json - 1);
    memcpy(json, "{\"a\":", 5);
    json[sizeof json - 1] = '\0';
    text(p, json);
}

static void closes(struct peer *p)
{
    uint32_t stream = some_stream(p);
    for (int i = 0; i < 3; i++)
        frame(p, (struct wire_head){.type = WIRE_CLOSE, .stream = stream}, NULL);
}

static void half_frame(struct peer *p)
{
    uint8_t head[WIRE_HEADER];
    struct wire_head h = {.tag = chan_peer_tag(p->chan),
                          .type = WIRE_DATA,
                          .flow = 1,
                          .stream = some_stream(p),
                          .len = CHAN_PAYLOAD_MAX};
    wire_encode(&h, head);
    chan_put_bytes(p->chan, head, 1 + dice(sizeof head));
}

static void not_reading(struct peer *p)
{
    p->deaf = true;
}

static void hang_up(struct peer *p)
{
    shutdown(p->fd, SHUT_RDWR);
}

static void silence(struct peer *p)
{
}

static const struct {
    const char *name;
    void (*strike)(struct peer *p);
} attacks[] = {
    {"garbage", garbage},  {"any-frame", any_frame},
    {"credits", credits},  {"endless-message", endless_message},
    {"flood", flood},      {"hellos", hellos},
    {"lies", lies},        {"deep", deep},
    {"closes", closes},    {"half-frame", half_frame},
    {"deaf", not_reading}, {"hang-up", hang_up},
    {"silence", silence},
};

/* --- behaving, as far as it goes ------------------------------------------------------ */

/* Identity is taken, so that commands come; a command gets some output and an end. */
static void opened(struct peer *p, const struct chan_event *ev)
{
    bool command = strstr(ev->data, "\"exec\"") != NULL;
    if (p->n < OPEN_MAX_SEEN)
        p->streams[p->n++] = ev->stream;
    if (!command) {
        chan_msg(p->chan, ev->stream, json_pack("{s:{s:[]}}", "result", "warnings"),
                 NULL);
        chan_close(p->chan, ev->stream);
        return;
    }
    chan_msg(p->chan, ev->stream, json_pack("{s:{s:i}}", "started", "pid", 1), NULL);
    if (dice(3)) {
        chan_data(p->chan, ev->stream, 1, "hello\n", 6, NULL);
        if (dice(3)) {
            chan_msg(p->chan, ev->stream, json_pack("{s:{s:i}}", "exit", "status", 0),
                     NULL);
            chan_close(p->chan, ev->stream);
        }
    }
}

static void take_events(struct peer *p)
{
    struct chan_event ev;
    while (chan_next(p->chan, &ev)) {
        if (ev.kind == CHAN_EV_OPEN)
            opened(p, &ev);
        if (ev.kind == CHAN_EV_DATA && dice(2))
            chan_consumed(p->chan, ev.stream, ev.flow, ev.len);
        if (ev.kind == CHAN_EV_LOST) {
            chan_reset(p->chan); /* no pause for us */
            p->n = 0;
        }
        if (ev.kind == CHAN_EV_CLOSE || ev.kind == CHAN_EV_GONE) {
            chan_close(p->chan, ev.stream);
            for (size_t i = 0; i < p->n; i++)
                if (p->streams[i] == ev.stream)
                    p->streams[i--] = p->streams[--p->n];
        }
    }
}

/* False: the other end hung up. */
static bool turn(struct peer *p, int wait_ms)
{
    size_t len, room;
    const void *out = chan_output(p->chan, &len);
    struct pollfd poll_fd = {.fd = p->fd,
                             .events = (p->deaf ? 0 : POLLIN) | (len ? POLLOUT : 0)};
    chan_tick(p->chan, clock_ms());
    chan_timeout(p->chan, clock_ms());
    poll(&poll_fd, 1, wait_ms);
    if (poll_fd.revents & POLLOUT) {
        ssize_t n = send(p->fd, out, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
            chan_output_done(p->chan, n);
    }
    if (poll_fd.revents & (POLLHUP | POLLERR) && p->deaf)
        return false;
    if (!(poll_fd.revents & (POLLIN | POLLHUP)) || p->deaf)
        return true;
    void *to = chan_room(p->chan, &room);
    ssize_t n = recv(p->fd, to, room, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        return false;
    if (n > 0) {
        chan_added(p->chan, n);
        take_events(p);
    }
    return true;
}

static void session(int fd, const char *only, bool quiet)
{
    enum { SPELL_MS = 400, GENTLE_MS = 300, NAP_MS = 5 };
    struct chan_config config = {.role = CHAN_GUEST};
    struct peer p = {.fd = fd};
    if (chan_new(&config, &p.chan, NULL) < 0)
        return;
    for (bool alive = true; alive;) {
        size_t which = dice(ARRAY_SIZE(attacks));
        while (only && strcmp(attacks[which].name, only))
            which = (which + 1) % ARRAY_SIZE(attacks);
        uint64_t gentle = clock_ms() + GENTLE_MS, end = gentle + SPELL_MS;
        p.deaf = false;
        while (alive && clock_ms() < gentle)
            alive = turn(&p, NAP_MS);
        if (!quiet)
            fprintf(stderr, "hostile-guest: %s\n", attacks[which].name);
        while (alive && clock_ms() < end) {
            if (chan_output_len(p.chan) < FLOOD && chan_state(p.chan) == CHAN_UP)
                attacks[which].strike(&p);
            alive = turn(&p, NAP_MS);
        }
    }
    chan_free(p.chan);
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"listen", required_argument, NULL, 'l'},
                                          {"fd", required_argument, NULL, 'f'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"attack", required_argument, NULL, 'a'},
                                          {"quiet", no_argument, NULL, 'q'},
                                          {"no-identity", no_argument, NULL, 'n'},
                                          {"host", no_argument, NULL, 'n'},
                                          {0}};
    const char *path = NULL, *only = getenv("HOSTILE_ATTACK");
    const char *from = getenv("HOSTILE_SEED");
    uint64_t number, given = from && str_to_u64(from, &number) ? number : clock_us();
    bool quiet = false;
    int opt, fd = -1;
    while ((opt = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
        if (opt == 'l')
            path = optarg;
        else if (opt == 'f' && str_to_u64(optarg, &number))
            fd = number;
        else if (opt == 's' && str_to_u64(optarg, &number))
            given = number;
        else if (opt == 'a')
            only = optarg;
        else if (opt == 'q')
            quiet = true;
        else if (opt != 'n')
            return 64;
    }
    bool known = !only;
    for (size_t i = 0; i < ARRAY_SIZE(attacks) && !known; i++)
        known = !strcmp(only, attacks[i].name);
    if ((fd < 0 && !path) || !known) {
        fputs(
            "usage: hostile-guest --listen PATH | --fd N [--seed N] [--attack NAME]\n",
            stderr);
        return 64;
    }
    signal(SIGPIPE, SIG_IGN);
    seed = given;
    fprintf(stderr, "hostile-guest: seed %llu\n", (unsigned long long)given);
    if (fd >= 0) {
        session(fd, only, quiet);
        return 0;
    }
    struct err err;
    AUTO_FD listener = fd_unix_listen(path, 0600, &err);
    if (listener < 0) {
        fprintf(stderr, "hostile-guest: %s\n", err.text);
        return 1;
    }
    for (;;) {
        int caller = accept(listener, NULL, NULL);
        if (caller < 0)
            continue;
        session(caller, only, quiet);
        close(caller);
    }
}
