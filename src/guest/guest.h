/* SPDX-License-Identifier: Apache-2.0 */
/* lodge-guest's worker: one channel, the commands that run, the requests it answers. */
#pragma once
#include "base/list.h"
#include "guest/loop.h"
#include "proto/chan.h"

#include <stdbool.h>

struct guest_options {
    const char *port;   /* name of the virtio-console port */
    const char *socket; /* or a unix socket to connect to */
    const char *listen; /* or one to listen on */
    int fd;             /* or a descriptor; else -1 */
    bool no_identity;   /* do not touch the machine; run commands at once */
    bool pid1;          /* our supervisor is process 1 */
};

struct guest {
    const struct guest_options *options;
    struct loop *loop;
    struct chan *chan;
    struct list execs;
    size_t nexecs;
    bool identity;    /* was applied (or is not wanted) */
    bool congested;   /* commands were held up because much waits to be written */
    uint64_t thaw_at; /* 0: nothing is frozen */
    enum { POWER_ON, POWER_OFF, POWER_REBOOT } power;

    /* port.c */
    int port, listener;
    struct watch *port_watch, *listener_watch;
    uint64_t reopen_at;
    unsigned reopen_tries;
    bool over; /* the descriptor we were given has ended */
};

/* Run until the channel is over (only with options.fd) or the machine goes down. */
int guest_run(const struct guest_options *options, struct err *err);

/* port.c: the carrier of the channel. */
int port_listen(struct guest *g, struct err *err); /* options.listen */
void port_open(struct guest *g);
void port_write(struct guest *g); /* what waits; asks for EPOLLOUT if it must */
void port_close(struct guest *g);
/* Called by port.c when bytes came. */
void guest_take_events(struct guest *g);

/* ops.c: the requests that are not commands. */
void ops_open(struct guest *g, const struct chan_event *ev);
/* An answer and the end of the stream. Steals result. */
void ops_answer(struct guest *g, uint32_t stream, json_t *result);
void ops_refuse(struct guest *g, uint32_t stream, const struct err *why);

/* freeze.c */
int freeze_all(json_t *frozen, struct err *err);
int thaw_all(void); /* how many were frozen */

/* power.c: does not return. */
void power_down(bool pid1, bool reboot) __attribute__((noreturn));
