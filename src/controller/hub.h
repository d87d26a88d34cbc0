/* SPDX-License-Identifier: Apache-2.0 */
/* The controller's connections: one lasting link a node, by the node's name. Knows
 * nothing of the store: src/controller/node.c fills it from the rows. */
#pragma once
#include "transport/link.h"

#include <jansson.h>

struct hub;

struct hub_hooks {
    void (*state)(const char *node, enum link_state state, const struct err *why,
                  void *arg);
    void (*event)(const char *node, const char *event, json_t *data, void *arg);
};

int hub_new(sd_event *event, const struct hub_hooks *hooks, void *arg, struct hub **out,
            struct err *err);
void hub_free(struct hub *h);
OWN_DEFINE(hub)

/* Is this a good description of how to reach a node?
 *   {"transport": "ssh", "host", "port"?, "user"?, "identity"?, "known_hosts"?}
 *   {"transport": "exec", "command": ["prog", "arg"...]}
 *   {"transport": "unix", "path"?}
 * *out's strings live as long as spec; its argv (exec) is freed by hub_spec_done().
 * identity and known_hosts default to the site's own, below DIRS_CONFIG. */
struct hub_spec {
    struct transport_spec to;
    char *identity, *known_hosts;
    const char **argv;
};
int hub_spec_parse(json_t *spec, struct hub_spec *out, struct err *err);
void hub_spec_done(struct hub_spec *s);

/* Add the node, or change how it is reached (then it is connected anew). */
int hub_put(struct hub *h, const char *node, json_t *spec, struct err *err);
void hub_drop(struct hub *h, const char *node);
/* NULL if there is no such node. */
struct link *hub_link(const struct hub *h, const char *node);
/* {"link": "up", "why": "", "heard": wall ms or null}; NULL without memory or node. */
json_t *hub_status(const struct hub *h, const char *node);

/* What the node's agent last told that a new machine could get there (borrowed; NULL: not
 * known): {"cpus", "memory_bytes", "types"}. Asked when the link comes up and after every
 * event of a machine. */
json_t *hub_room(const struct hub *h, const char *node);
/* Drop all nodes that are not among rows ([{"name"}...]). */
void hub_keep(struct hub *h, const json_t *rows);

/* As link_call(), with the node's name; E_NOENT if there is none. */
int hub_call(struct hub *h, const char *node, const char *method, json_t *params,
             unsigned timeout_ms, link_done_f done, void *arg, struct err *err);
/* Join a client's connection to the node's agent (see relay.h). Takes fd. */
int hub_relay(struct hub *h, const char *node, int fd, uid_t uid, gid_t gid,
              const void *rest, size_t rest_len, struct err *err);
