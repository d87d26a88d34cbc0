/* SPDX-License-Identifier: Apache-2.0 */
/* A lasting connection to one node's agent: JSON lines over a transport, requests with
 * answers by callback, events, a heartbeat, reconnection with back-off and jitter. */
#pragma once
#include "transport/transport.h"

#include <jansson.h>
#include <stdbool.h>

enum link_state { LINK_DOWN, LINK_CONNECTING, LINK_UP };

struct link_hooks {
    /* The state changed; why is NULL when it is up. */
    void (*state)(enum link_state state, const struct err *why, void *arg);
    /* An event of the agent; data is borrowed. */
    void (*event)(const char *name, json_t *data, void *arg);
};
struct link_times { /* milliseconds; 0: the usual */
    unsigned connect, heartbeat, backoff_min, backoff_max;
};

struct link;
/* `spec` is copied. hooks may hold NULLs. Connects by itself, again and again. */
int link_new(sd_event *event, const char *name, const struct transport_spec *spec,
             const struct link_times *times, const struct link_hooks *hooks, void *arg,
             struct link **out, struct err *err);
/* Requests under way fail with E_CANCELLED. */
void link_free(struct link *l);
OWN_DEFINE(link)

/* result is borrowed for the call; err is NULL when all went well. */
typedef void (*link_done_f)(json_t *result, const struct err *err, void *arg);
/* Ask. Steals params. `done` is called exactly once, never from inside link_call(). A
 * link that is down, or goes down before the answer, is E_HOST; timeout_ms 0: none. */
int link_call(struct link *l, const char *method, json_t *params, unsigned timeout_ms,
              link_done_f done, void *arg, struct err *err);

/* The transport while it is up, to open another stream over it; else NULL. */
const struct transport *link_transport(const struct link *l);

enum link_state link_state(const struct link *l);
/* Why it is down; "" if it never was. */
const char *link_why(const struct link *l);
/* Wall-clock milliseconds of the last byte heard; 0 for never. */
uint64_t link_heard_ms(const struct link *l);
/* Drop the connection and connect again at once (after the node was changed). */
void link_kick(struct link *l);
