/* SPDX-License-Identifier: Apache-2.0 */
/* Operations that reach beyond the store: steps on nodes, in phases, written down before
 * they are taken. A controller killed anywhere goes on where it was: every request is safe
 * to send twice. When a step fails, all others are taken back.
 *
 * Step:  planned -> sent -> done            Operation:  running -> done
 *                       \-> failed                              \-> failed, cancelled
 *        any -> undoing -> undone | left     (left: the node did not answer; it is asked
 *                                             again whenever it comes back) */
#pragma once
#include "controller/hub.h"
#include "store/nodes.h"

enum step_state {
    STEP_PLANNED,
    STEP_SENT,
    STEP_DONE,
    STEP_FAILED,
    STEP_UNDOING,
    STEP_UNDONE,
    STEP_LEFT,
    STEP_STATE_COUNT,
};
enum step_event {
    STEP_SEND,  /* the request goes out */
    STEP_OK,    /* answered */
    STEP_ERROR, /* refused */
    STEP_LOST,  /* no answer will come: the connection went, or its time is over */
    STEP_UNDO,  /* take it back */
};
const char *step_state_name(enum step_state s);
/* The next state, pure; -1 with both names in err if there is none. has_undo: there is
 * something to take back. */
int step_next(enum step_state from, enum step_event event, bool has_undo,
              enum step_state *to, struct err *err);

/* What shall be done. The runner writes it down with its operation before it begins. */
struct plan_step {
    int phase;
    const char *node, *vm;
    json_t *request; /* {"method", "params"} */
    json_t *undo;    /* the same, or NULL */
    bool place;      /* the machine is put there by this step (else it is taken away) */
};
struct plan {
    const char *method, *target, *cluster;
    uid_t who, owner;
    const char *request; /* the caller's id of it, or NULL */
    struct plan_step *steps;
    size_t count;
};

struct runner;
struct runner_hooks {
    /* state: "running", "done", "failed", "cancelled". */
    void (*ended)(int64_t op, const char *state, const char *why, void *arg);
};
/* Takes up what an earlier controller left unfinished. */
int runner_new(sd_event *event, struct store *store, struct hub *hub,
               const struct runner_hooks *hooks, void *arg, struct runner **out,
               struct err *err);
void runner_free(struct runner *r);
OWN_DEFINE(runner)

/* Write it down and begin; *op is its number. */
int runner_start(struct runner *r, const struct plan *plan, int64_t *op,
                 struct err *err);
/* Called once when the operation ends (never at once); err is NULL when it is done. */
typedef void (*runner_done_f)(int64_t op, const struct err *err, void *arg);
int runner_wait(struct runner *r, int64_t op, runner_done_f done, void *arg,
                struct err *err);
void runner_forget(struct runner *r, void *arg); /* who waited with this arg is gone */
int runner_cancel(struct runner *r, int64_t op, struct err *err);
/* Settle what an ended operation left: how "retry" asks the nodes again, "mark" takes the
 * administrator's word that it is gone. */
int runner_recover(struct runner *r, int64_t op, const char *how, struct err *err);
/* The node's link came up: send what waits for it. */
void runner_node_up(struct runner *r, const char *node);
