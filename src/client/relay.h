/* SPDX-License-Identifier: Apache-2.0 */
/* A command's relay under way: what the files of client_exec() share. */
#pragma once
#include "client/exec.h"
#include "proto/chan.h"

#include <signal.h>
#include <termios.h>

/* Output on its way to one of our files. */
struct sink {
    int fd;
    bool whole, socket, broken, ended; /* whole: a write never waits */
    char *data;                        /* CHAN_WINDOW, filled on first use */
    size_t at, len;
    uint64_t consumed;
};

struct relay {
    const struct client_exec *x;
    struct chan *chan;
    int conn, signals;
    struct sink out[3];
    bool input_over; /* at its end, or nobody reads it over there */
    bool input_told; /* the end was sent */
    bool input_closed;
    char *kept; /* input of offsets consumed..sent, at offset modulo CHAN_WINDOW */
    uint64_t input_consumed, input_sent;
    bool waiting;     /* for the answer to attach: nothing is sent until then */
    bool asked_again; /* the request was sent twice: it may be answered by an attach */
    bool exited, closed, hung_up;
    int status;
    struct termios was;
    bool raw;
    struct err *err;
};

/* relay_tty.c: our terminal and our signals */
void relay_make_raw(struct relay *r);
void relay_make_cooked(struct relay *r);
void relay_send_json(struct relay *r, json_t *what);
void relay_send_winsize(struct relay *r);
void relay_flush_now(struct relay *r);
void relay_take_signals(struct relay *r);
int relay_watch_signals(struct relay *r, sigset_t *was, struct err *err);

/* relay_flow.c: our three files */
void relay_sink_init(struct sink *s, int fd);
bool relay_sink_write(struct relay *r, int flow);
int relay_sink_take(struct relay *r, int flow, const char *data, size_t len);
size_t relay_input_room(const struct relay *r);
void relay_input_end(struct relay *r);
int relay_input_read(struct relay *r, size_t room);
int relay_input_again(struct relay *r, json_int_t from);
