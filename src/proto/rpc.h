/* SPDX-License-Identifier: Apache-2.0 */
/* Messages: JSON, one object a line, at most RPC_LINE_MAX bytes, over any stream.
 *
 *   server, first   {"hello": {"protocol": 1, "program": "lodge-agent", "version":
 * "..."}} request         {"id": "7", "method": "vm.boot", "params": {...}} answer
 * {"id": "7", "result": {...}}
 *                   {"id": "7", "error": {"code": "not-found", "text": "..."}}
 *   progress        {"id": "7", "progress": {...}}       before the answer, any number
 *   event           {"event": "vm.state", "data": {...}} to who asked for events
 *
 * A request may be sent again with the same id; a method that changes something says
 * how it finds the earlier one. Descriptors travel with the line that speaks of them.
 */
#pragma once
#include "base/err.h"
#include "base/own.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { RPC_PROTOCOL = 1, RPC_LINE_MAX = 1 << 20 };

OWN_CLEANUP(json_t, json_decref)
#define AUTO_JSON AUTO_T(json_t)

/* Lines out of a byte stream. {0} is valid; rpc_lines_done() frees. */
struct rpc_lines {
    char *data;
    size_t len, size, scanned;
};
/* Room for at least `want` more bytes, to read into; NULL if a line grew too long. */
char *rpc_lines_room(struct rpc_lines *l, size_t want);
void rpc_lines_added(struct rpc_lines *l, size_t n);
/* The next whole line parsed into *out (a new reference). 1: got one; 0: none yet; -1:
 * not an object, not JSON, duplicate keys, too deep, NUL, or longer than RPC_LINE_MAX.
 */
int rpc_lines_next(struct rpc_lines *l, json_t **out, struct err *err);
void rpc_lines_done(struct rpc_lines *l);

/* The object as a line with its newline; *out is the caller's. */
int rpc_encode(const json_t *object, char **out, size_t *len, struct err *err);

/* Builders; new references, NULL without memory. `params`, `result`... are stolen. */
json_t *rpc_hello(const char *program);
json_t *rpc_request(const char *id, const char *method, json_t *params);
json_t *rpc_answer(const char *id, json_t *result);
json_t *rpc_refusal(const char *id, const struct err *why);
json_t *rpc_progress(const char *id, json_t *what);
json_t *rpc_event(const char *event, json_t *data);
/* The error of an answer into err; 0 if there is none, else -1. */
int rpc_error_of(const json_t *answer, struct err *err);
/* json_unpack_ex with its message turned into an E_PROTO error "what: ...". */
int rpc_unpack(json_t *from, struct err *err, const char *what, const char *fmt, ...);
