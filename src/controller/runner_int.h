/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the runner: operations and steps in memory. runner.c makes the turns, runner_op.c
 * builds operations from rows, runner_send.c asks the nodes. */
#pragma once
#include "base/list.h"
#include "controller/push.h"
#include "controller/runner.h"

struct step {
    struct op *op;
    int n, phase;
    char *node, *vm;
    json_t *request, *undo;
    bool place; /* else: the machine is gone when it is done */
    bool push;  /* an image is sent: by push.h, with many requests */
    enum step_state state;
    char detail[160];
    uint64_t told_ms;       /* when its progress was last written down */
    void *flight;           /* of the request under way, for push_cancel() */
    bool asked, asked_back; /* an answer to request, to undo, is still to come */
    bool dirty;
};

struct waiter {
    struct list in;
    runner_done_f done;
    void *arg;
};

struct op {
    struct list in;
    struct runner *runner;
    int64_t id;
    uid_t owner;
    bool undoing, cancelled, ended;
    bool settling; /* ended before: what it left on nodes is being taken back */
    bool apart;    /* its steps do not need each other: one that fails undoes none */
    char why[256];
    enum err_code code;
    struct step *steps;
    size_t count;
    struct list waiters;
    sd_event_source *away; /* armed while steps wait for nodes that are away */
};

struct runner {
    sd_event *event;
    struct store *store;
    struct hub *hub;
    struct pusher *pusher;
    struct runner_hooks hooks;
    void *arg;
    struct list ops;
    sd_event_source *turn; /* writes down and goes on, once a turn of the loop */
    sd_event_source *again;
};

/* runner_op.c */
void op_free(struct op *op);
OWN_DEFINE(op)
/* The operation as the store has it. */
int op_load(struct runner *r, int64_t id, const char *method, uid_t owner,
            struct op **out, struct err *err);

/* runner_send.c */
void step_take(struct step *s, enum step_event event);
/* Ask the step's node for it, or for its undoing. */
void step_send(struct runner *r, struct step *s);

/* runner.c */
void runner_turn(struct runner *r);
