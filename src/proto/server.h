/* SPDX-License-Identifier: Apache-2.0 */
/* A server of JSON lines on sd-event, for lodged and lodge-agent. Each client has its
 * own buffers with limits: one that stalls is dropped and hurts nobody. */
#pragma once
#include "proto/rpc.h"

#include <systemd/sd-event.h>

struct rpc_server;
struct rpc_conn;
/* A request under way. The handler answers it exactly once, now or later, by one of
 * rpc_call_answer, rpc_call_fail, rpc_call_upgrade; that ends its life. If the client
 * goes away first, its `gone` is called and answering is still needed (and harmless).
 */
struct rpc_call;

typedef void (*rpc_handler_f)(struct rpc_call *call, json_t *params, void *arg);
struct rpc_method {
    const char *name;
    rpc_handler_f handle;
};

/* methods: an array that ends with a NULL name; it and `arg` outlive the server. Takes
 * listen_fd. */
int rpc_server_new(sd_event *event, int listen_fd, const char *program,
                   const struct rpc_method *methods, void *arg, struct rpc_server **out,
                   struct err *err);
/* Serve one connected stream as well (socketpair, ssh). Takes fd. With `trusted` its
 * uid is taken as given instead of asked from SO_PEERCRED. */
int rpc_server_add(struct rpc_server *s, int fd, bool trusted, uid_t uid,
                   struct err *err);
void rpc_server_free(struct rpc_server *s);
OWN_DEFINE(rpc_server)

/* An event to all clients that called the built-in method "events.subscribe" and for
 * whom `may` (NULL: all) says yes; how many they are. Steals data. */
size_t rpc_server_emit(struct rpc_server *s, const char *event, json_t *data,
                       bool (*may)(uid_t uid, const json_t *data));

uid_t rpc_call_uid(const struct rpc_call *c);
gid_t rpc_call_gid(const struct rpc_call *c);
pid_t rpc_call_pid(const struct rpc_call *c);
const char *rpc_call_id(const struct rpc_call *c);
const char *rpc_call_method(const struct rpc_call *c);
/* A descriptor that came with the request, in order; -1 when there are no more. The
 * caller's to close. */
int rpc_call_take_fd(struct rpc_call *c);
/* Called when the client goes away before the answer. */
void rpc_call_on_gone(struct rpc_call *c, void (*gone)(struct rpc_call *c, void *arg),
                      void *arg);

void rpc_call_answer(struct rpc_call *c, json_t *result); /* steals result */
/* The same with descriptors, which stay the caller's. */
void rpc_call_answer_fds(struct rpc_call *c, json_t *result, const int *fds,
                         size_t nfds);
void rpc_call_fail(struct rpc_call *c, const struct err *why);
/* The end of a call whose caller went away: nobody hears it. */
void rpc_call_drop(struct rpc_call *c);
void rpc_call_progress(struct rpc_call *c, json_t *what); /* steals what; not the end */
/* Answer, then take the connection out of the server: from now on it carries another
 * protocol. Gives its descriptor (nonblocking, the caller's) and what was already read
 * behind the request (*rest, the caller's to free; NULL if nothing); -1 if it is gone.
 */
int rpc_call_upgrade(struct rpc_call *c, json_t *result, char **rest, size_t *rest_len);
