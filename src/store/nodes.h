/* SPDX-License-Identifier: Apache-2.0 */
/* The store's tables about nodes: how to reach them, what was put on them, the steps of
 * operations, the log of events. See schema/db/0002-nodes.sql and store.h. */
#pragma once
#include "store/store.h"

/* --- nodes: {name, spec (object), drained, who, added, changed} ---------------------- */
int store_node_put(struct store *s, const char *name, const json_t *spec, uid_t who,
                   struct err *err);
/* why NULL: takes new machines again. */
int store_node_drain(struct store *s, const char *name, const char *why, uid_t who,
                     struct err *err);
/* E_BUSY while machines are placed there. */
int store_node_remove(struct store *s, const char *name, struct err *err);
int store_node_get(struct store *s, const char *name, json_t **out, struct err *err);
int store_node_list(struct store *s, json_t **out, struct err *err);

/* --- placements: {vm, owner, node, cluster, operation} ------------------------------- */
int store_place(struct store *s, const char *vm, uid_t owner, const char *node,
                const char *cluster, int64_t operation, struct err *err);
int store_unplace(struct store *s, const char *vm, uid_t owner, struct err *err);
/* The operation that put it where it is; 0 if it is nowhere. */
int store_placed_by(struct store *s, const char *vm, uid_t owner, int64_t *operation,
                    struct err *err);
/* cluster NULL: all of them; owner (uid_t)-1: everybody's. */
int store_placements(struct store *s, uid_t owner, const char *cluster, json_t **out,
                     struct err *err);

/* --- steps ----------------------------------------------------------------------------
 * {operation, n, phase, node, vm, request {method, params}, undo (same, or null), state,
 * detail} */
int store_step_add(struct store *s, int64_t operation, int n, int phase,
                   const char *node, const char *vm, const json_t *request,
                   const json_t *undo, struct err *err);
int store_step_state(struct store *s, int64_t operation, int n, const char *state,
                     const char *detail, struct err *err);
int store_steps(struct store *s, int64_t operation, json_t **out, struct err *err);
/* [{operation}] that left a step on the node. */
int store_steps_left(struct store *s, const char *node, json_t **out, struct err *err);
/* Operations that are running and have steps: what a controller goes on with when it
 * starts. Rows as of store_op_get(). */
int store_op_unfinished(struct store *s, json_t **out, struct err *err);
/* End the operation: state "done", "failed" or "cancelled". */
int store_op_end(struct store *s, int64_t id, const char *state, const char *error,
                 struct err *err);

/* --- who may use a profile of the site ----------------------------------------------- */
int store_allow(struct store *s, const char *profile, const char *kind, uint32_t id,
                bool allow, struct err *err);
/* [{profile, kind, id}]; empty: everybody may. */
int store_allowed(struct store *s, const char *profile, json_t **out, struct err *err);

/* job uses the ticket, on node. *first: the claim that stands, ours or an earlier one:
 * {job, uid, node}. */
int store_claim(struct store *s, const char *ticket, const char *job, uid_t uid,
                const char *node, int64_t expires, json_t **first, struct err *err);
int store_claims_forget(struct store *s, int64_t now, struct err *err);

/* --- events --------------------------------------------------------------------------- */
/* at_ms 0: now. */
int store_event_add(struct store *s, int64_t at_ms, uid_t who, const char *node,
                    const char *vm, const char *job, const char *what,
                    const json_t *data, struct err *err);
/* What is NULL or 0 is not asked for. */
struct store_event_query {
    int64_t after;    /* its number */
    int64_t since_ms; /* wall clock */
    const char *vm, *node, *job;
    const char *what; /* the whole word, or what stands before its first point */
    int64_t op;
    uid_t uid;      /* 0: all; else what any user may know, and what is uid's own */
    uint32_t limit; /* the newest of them */
};
/* Oldest first: {id, at, who, node, vm, job, what, data (object)}. */
int store_event_list(struct store *s, const struct store_event_query *q, json_t **out,
                     struct err *err);
/* Those before that time go. */
int store_event_forget(struct store *s, int64_t before_ms, struct err *err);
