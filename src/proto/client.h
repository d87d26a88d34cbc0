/* SPDX-License-Identifier: Apache-2.0 */
/* A blocking client of JSON lines: the command line, the plugins, tests. */
#pragma once
#include "proto/rpc.h"

struct rpc_client;

/* Connect to the unix socket and read the hello; refuses another protocol number. A path
 * "tcp:HOST:PORT" is lodged on another machine, by munge (lodge-gate). */
int rpc_client_connect(const char *path, struct rpc_client **out, struct err *err);
/* The same over a connected stream. Takes fd. */
int rpc_client_open(int fd, const char *name, struct rpc_client **out, struct err *err);
/* The same where the first bytes were read already, behind an upgrade's answer. */
int rpc_client_open_after(int fd, const char *read, size_t len, const char *name,
                          struct rpc_client **out, struct err *err);
void rpc_client_free(struct rpc_client *c);
OWN_DEFINE(rpc_client)

/* Called for each progress (name NULL) or event that comes while waiting. */
typedef void (*rpc_client_note_f)(const char *event, json_t *data, void *arg);
struct rpc_client_opts {
    int timeout_ms; /* 0 or less: none */
    const int *fds; /* sent with the request; stay the caller's */
    size_t nfds;
    int *got_fds; /* room for descriptors that come with the answer */
    size_t *got_nfds;
    rpc_client_note_f note;
    void *arg;
};
/* Ask and wait. Steals params (NULL: none); *result (may be NULL) is a new reference.
 * An error answer becomes err, word for word. opts may be NULL. */
int rpc_client_call(struct rpc_client *c, const char *method, json_t *params,
                    const struct rpc_client_opts *opts, json_t **result,
                    struct err *err);
/* Wait for the next event; E_TIMEOUT after timeout_ms (-1: for ever). */
int rpc_client_wait_event(struct rpc_client *c, int timeout_ms, json_t **event,
                          struct err *err);
/* After an upgrade: the descriptor (the caller's) and what was read behind the answer.
 */
int rpc_client_take_fd(struct rpc_client *c, char **rest, size_t *rest_len);
