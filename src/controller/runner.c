/* SPDX-License-Identifier: Apache-2.0 */
/* The runner of operations; see runner.h. In memory are the operations under way; the
 * store is the truth. A state is written before the request goes out; answers are
 * written together once a turn of the loop, since asking twice does no harm. */
#include "controller/runner.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "controller/runner_int.h"
#include "proto/rpc.h"

enum {
    RETRY_MS = 1000, /* after the store could not be written */
    AWAY_MS = 30000, /* a node may be away so long before its steps are given up */
};

/* --- the turn: write down, then act ------------------------------------------------- */

void runner_turn(struct runner *r)
{
    sd_event_source_set_enabled(r->turn, SD_EVENT_ONESHOT);
}

/* The machine is not there (any more): its place is free. */
static bool frees_place(const struct step *s)
{
    return s->vm && (s->place ? s->state == STEP_UNDONE : s->state == STEP_DONE);
}

/* What was put there by another operation since stays. */
static int free_place(struct runner *r, const struct op *op, const struct step *s,
                      struct err *err)
{
    int64_t by;
    if (store_placed_by(r->store, s->vm, op->owner, &by, err) < 0)
        return -1;
    if (s->place && by != op->id)
        return 0;
    return store_unplace(r->store, s->vm, op->owner, err);
}

static bool has_failed(const struct op *op)
{
    bool failed = op->undoing;
    for (size_t i = 0; i < op->count; i++)
        failed |= op->steps[i].state == STEP_FAILED;
    return failed;
}

static const struct step *first_left(const struct op *op)
{
    for (size_t i = 0; i < op->count; i++)
        if (op->steps[i].state == STEP_LEFT)
            return &op->steps[i];
    return NULL;
}

static const char *end_name(const struct op *op)
{
    return op->cancelled ? "cancelled" : has_failed(op) ? "failed" : "done";
}

static int write_op(struct runner *r, struct op *op, struct err *err)
{
    for (size_t i = 0; i < op->count; i++) {
        struct step *s = &op->steps[i];
        if (!s->dirty)
            continue;
        if (store_step_state(r->store, op->id, s->n, step_state_name(s->state),
                             *s->detail ? s->detail : NULL, err) < 0 ||
            (frees_place(s) && free_place(r, op, s, err) < 0))
            return -1;
    }
    if (!op->ended)
        return 0;
    return store_op_end(r->store, op->id, end_name(op), *op->why ? op->why : NULL, err);
}

/* All that changed, in one transaction. */
static bool write_down(struct runner *r)
{
    struct err err;
    struct op *op;
    if (store_begin(r->store, &err) < 0) {
        log_error(NULL, "%s", err.text);
        return false;
    }
    int e = 0;
    list_each (op, &r->ops, in)
        if (e == 0)
            e = write_op(r, op, &err);
    if (e < 0)
        log_error(NULL, "%s", err.text);
    if (store_end(r->store, e == 0, &err) < 0) {
        log_error(NULL, "%s", err.text);
        e = -1;
    }
    if (e == 0)
        list_each (op, &r->ops, in)
            for (size_t i = 0; i < op->count; i++)
                op->steps[i].dirty = false;
    return e == 0;
}

static bool is_away(const struct runner *r, const struct step *s)
{
    struct link *l = hub_link(r->hub, s->node);
    return !l || link_state(l) != LINK_UP;
}

/* --- one operation ------------------------------------------------------------------ */

static void begin_undo(struct op *op)
{
    op->undoing = true;
    for (size_t i = 0; i < op->count; i++) {
        if (op->steps[i].push && op->steps[i].asked)
            push_cancel(op->runner->pusher, op->steps[i].flight);
        step_take(&op->steps[i], STEP_UNDO);
    }
}

static int on_away(sd_event_source *source, uint64_t now, void *arg)
{
    struct op *op = arg;
    op->away = sd_event_source_unref(op->away);
    if (op->undoing || op->ended)
        return 0;
    for (size_t i = 0; i < op->count; i++) {
        struct step *s = &op->steps[i];
        if ((s->state != STEP_SENT && s->state != STEP_PLANNED) || s->asked ||
            !is_away(op->runner, s))
            continue;
        snprintf(op->why, sizeof op->why, "%s: did not come back within %d s", s->node,
                 AWAY_MS / 1000);
        op->code = E_HOST;
        runner_turn(op->runner);
        if (!op->apart) {
            begin_undo(op);
            break;
        }
        snprintf(s->detail, sizeof s->detail, "did not come back within %d s",
                 AWAY_MS / 1000);
        step_take(s, STEP_SEND);
        step_take(s, STEP_ERROR);
    }
    return 0;
}

static void watch_away(struct op *op)
{
    if (!op->away)
        sd_event_add_time_relative(op->runner->event, &op->away, CLOCK_MONOTONIC,
                                   AWAY_MS * 1000ull, 100000, on_away, op);
}

/* Decide, without acting: which steps are to be sent now. Sets op->ended at the end. */
static void op_decide(struct runner *r, struct op *op)
{
    int phase = -1;
    bool failed = false, open = false;
    for (size_t i = 0; i < op->count; i++) {
        const struct step *s = &op->steps[i];
        failed |= s->state == STEP_FAILED;
        if ((s->state == STEP_PLANNED || s->state == STEP_SENT) &&
            (phase < 0 || s->phase < phase))
            phase = s->phase;
        open |= s->state == STEP_UNDOING;
    }
    if (failed && !op->undoing && !op->apart) {
        begin_undo(op);
        op_decide(r, op);
        return;
    }
    op->ended = op->undoing ? !open : phase < 0;
    for (size_t i = 0; i < op->count && !op->undoing; i++) {
        struct step *s = &op->steps[i];
        if (s->phase == phase && s->state == STEP_PLANNED)
            step_take(s, STEP_SEND);
    }
}

/* Act on what is written down. */
static void op_act(struct runner *r, struct op *op)
{
    for (size_t i = 0; i < op->count; i++) {
        struct step *s = &op->steps[i];
        bool wants = s->state == (op->undoing ? STEP_UNDOING : STEP_SENT);
        if (!wants || s->dirty || (op->undoing ? s->asked_back : s->asked))
            continue;
        if (!op->undoing && is_away(r, s) && hub_link(r->hub, s->node))
            watch_away(op);
        else
            step_send(r, s);
    }
}

static void op_end(struct runner *r, struct op *op)
{
    struct err err;
    err_set(&err,
            op->cancelled ? E_CANCELLED
            : op->code    ? op->code
                          : E_FAIL,
            "%s", *op->why ? op->why : "cancelled");
    const char *state = end_name(op);
    const struct step *left = first_left(op);
    const bool failed = op->settling ? left != NULL : has_failed(op);
    if (op->settling && left)
        err_set(&err, E_UNAVAIL, "%s: still there: %s", left->node, left->detail);
    list_remove(&op->in);
    while (!list_is_empty(&op->waiters)) {
        struct waiter *w = list_entry(op->waiters.next, struct waiter, in);
        list_remove(&w->in);
        w->done(op->id, failed ? &err : NULL, w->arg);
        free(w);
    }
    if (r->hooks.ended)
        r->hooks.ended(op->id, state, op->why, r->arg);
    op_free(op);
}

/* An answer may still come for a step that is given up: not before it is in. */
static bool may_go(const struct op *op)
{
    for (size_t i = 0; i < op->count; i++)
        if (op->steps[i].asked || op->steps[i].asked_back)
            return false;
    return op->ended;
}

static int on_turn(sd_event_source *source, void *arg)
{
    struct runner *r = arg;
    struct op *op, *next;
    list_each (op, &r->ops, in)
        op_decide(r, op);
    if (!write_down(r)) {
        log_error(NULL, "operations wait until the store can be written");
        sd_event_source_set_time_relative(r->again, RETRY_MS * 1000ull);
        sd_event_source_set_enabled(r->again, SD_EVENT_ONESHOT);
        return 0;
    }
    list_each_safe (op, next, &r->ops, in) {
        if (may_go(op))
            op_end(r, op);
        else
            op_act(r, op);
    }
    return 0;
}

/* --- begin, go on ------------------------------------------------------------------- */

static int on_again(sd_event_source *source, uint64_t now, void *arg)
{
    runner_turn(arg);
    return 0;
}

static int take_up(struct runner *r, struct err *err)
{
    AUTO_JSON rows = NULL;
    size_t i;
    json_t *row;
    if (store_op_unfinished(r->store, &rows, err) < 0)
        return -1;
    json_array_foreach (rows, i, row) {
        struct op *op = NULL;
        int64_t id = json_integer_value(json_object_get(row, "id"));
        uid_t who = (uid_t)json_integer_value(json_object_get(row, "who"));
        const char *method = json_string_value(json_object_get(row, "method"));
        if (op_load(r, id, method, who, &op, err) < 0)
            return -1;
        list_add(&r->ops, &op->in);
        if (op->undoing && !*op->why)
            snprintf(op->why, sizeof op->why, "taken back");
        log_info(NULL, "operation %" PRId64 ": going on after a restart", id);
    }
    runner_turn(r);
    return 0;
}

int runner_new(sd_event *event, struct store *store, struct hub *hub,
               const struct runner_hooks *hooks, void *arg, struct runner **out,
               struct err *err)
{
    AUTO(runner) r = calloc(1, sizeof *r);
    if (!r)
        return err_oom(err);
    *r = (struct runner){.event = sd_event_ref(event),
                         .store = store,
                         .hub = hub,
                         .hooks = *hooks,
                         .arg = arg};
    list_init(&r->ops);
    if (pusher_new(hub, &r->pusher, err) < 0)
        return -1;
    if (sd_event_add_defer(event, &r->turn, on_turn, r) < 0 ||
        sd_event_add_time(event, &r->again, CLOCK_MONOTONIC, 0, 0, on_again, r) < 0)
        return err_oom(err);
    sd_event_source_set_enabled(r->turn, SD_EVENT_OFF);
    sd_event_source_set_enabled(r->again, SD_EVENT_OFF);
    if (take_up(r, err) < 0)
        return -1;
    *out = move(r);
    return 0;
}

/* The hub must be freed before: it fails what is in flight, and those answers need the
 * operations. */
void runner_free(struct runner *r)
{
    if (!r)
        return;
    struct op *op, *next;
    pusher_free(r->pusher);
    list_each_safe (op, next, &r->ops, in)
        op_free(op);
    sd_event_source_disable_unref(r->turn);
    sd_event_source_disable_unref(r->again);
    sd_event_unref(r->event);
    free(r);
}

static int write_plan(struct runner *r, const struct plan *plan, int64_t *id,
                      struct err *err)
{
    if (store_op_start(r->store, plan->method, plan->target, plan->who, plan->request,
                       id, err) < 0)
        return -1;
    for (size_t i = 0; i < plan->count; i++) {
        const struct plan_step *s = &plan->steps[i];
        if (store_step_add(r->store, *id, (int)i, s->phase, s->node, s->vm, s->request,
                           s->undo, err) < 0 ||
            (s->place && store_place(r->store, s->vm, plan->owner, s->node,
                                     plan->cluster, *id, err) < 0))
            return -1;
    }
    return 0;
}

/* Two operations on one machine would undo each other's work. */
static int check_free(struct runner *r, const struct plan *plan, struct err *err)
{
    struct op *op;
    list_each (op, &r->ops, in)
        for (size_t i = 0; op->owner == plan->owner && i < op->count; i++)
            for (size_t k = 0; op->steps[i].vm && k < plan->count; k++)
                if (plan->steps[k].vm && !strcmp(op->steps[i].vm, plan->steps[k].vm))
                    return err_set(err, E_BUSY,
                                   "operation %" PRId64 " still works on machine '%s'; "
                                   "wait for it (lodge op wait) or cancel it",
                                   op->id, plan->steps[k].vm);
    return 0;
}

int runner_start(struct runner *r, const struct plan *plan, int64_t *id,
                 struct err *err)
{
    struct op *op = NULL;
    if (check_free(r, plan, err) < 0 || store_begin(r->store, err) < 0)
        return -1;
    int e = write_plan(r, plan, id, err);
    if (store_end(r->store, e == 0, err) < 0 ||
        op_load(r, *id, plan->method, plan->owner, &op, err) < 0)
        return -1;
    list_add(&r->ops, &op->in);
    runner_turn(r);
    return 0;
}

static struct op *find(struct runner *r, int64_t id)
{
    struct op *op;
    list_each (op, &r->ops, in)
        if (op->id == id)
            return op;
    return NULL;
}

int runner_wait(struct runner *r, int64_t id, runner_done_f done, void *arg,
                struct err *err)
{
    struct op *op = find(r, id);
    if (!op)
        return err_set(err, E_STATE, "operation %" PRId64 " is not running", id);
    struct waiter *w = calloc(1, sizeof *w);
    if (!w)
        return err_oom(err);
    *w = (struct waiter){.done = done, .arg = arg};
    list_add(&op->waiters, &w->in);
    return 0;
}

void runner_forget(struct runner *r, void *arg)
{
    struct op *op;
    list_each (op, &r->ops, in) {
        struct waiter *w, *next;
        list_each_safe (w, next, &op->waiters, in)
            if (w->arg == arg) {
                list_remove(&w->in);
                free(w);
            }
    }
}

int runner_cancel(struct runner *r, int64_t id, struct err *err)
{
    struct op *op = find(r, id);
    if (!op)
        return err_set(err, E_STATE, "operation %" PRId64 " is not running", id);
    for (size_t i = 0; i < op->count; i++)
        if (!op->steps[i].undo && !op->steps[i].push)
            return err_set(err, E_STATE,
                           "operation %" PRId64 " cannot be taken back; let it end",
                           id);
    if (!op->undoing) {
        op->cancelled = true;
        snprintf(op->why, sizeof op->why, "cancelled");
        begin_undo(op);
        runner_turn(r);
    }
    return 0;
}

int runner_recover(struct runner *r, int64_t id, const char *how, struct err *err)
{
    bool mark = !strcmp(how, "mark");
    struct op *op = NULL;
    AUTO_JSON row = NULL;
    if (!mark && strcmp(how, "retry"))
        return err_set(err, E_USAGE, "recover by 'retry' or 'mark', not '%s'", how);
    if (find(r, id))
        return err_set(err, E_STATE, "operation %" PRId64 " is still running", id);
    if (store_op_get(r->store, id, &row, err) < 0 ||
        op_load(r, id, json_string_value(json_object_get(row, "method")),
                (uid_t)json_integer_value(json_object_get(row, "who")), &op, err) < 0)
        return -1;
    size_t left = 0;
    for (size_t i = 0; i < op->count; i++) {
        struct step *s = &op->steps[i];
        int64_t by = id;
        if (s->state != STEP_LEFT)
            continue;
        /* A machine of that name that somebody else has started since is none of ours. */
        if (s->vm && store_placed_by(r->store, s->vm, op->owner, &by, err) < 0) {
            op_free(op);
            return -1;
        }
        left++;
        step_take(s, STEP_SEND);
        if (mark || by != id)
            step_take(s, STEP_OK);
    }
    if (!left) {
        op_free(op);
        return err_set(err, E_STATE, "operation %" PRId64 " left nothing to settle",
                       id);
    }
    op->undoing = op->settling = true;
    op->cancelled =
        !strcmp(json_string_value(json_object_get(row, "state")), "cancelled");
    list_add(&r->ops, &op->in);
    runner_turn(r);
    return 0;
}

static void retry_left(struct runner *r, const char *node)
{
    AUTO_JSON rows = NULL;
    size_t i;
    json_t *row;
    struct err err;
    if (store_steps_left(r->store, node, &rows, &err) < 0) {
        log_error(NULL, "%s", err.text);
        return;
    }
    json_array_foreach (rows, i, row) {
        int64_t id = json_integer_value(json_object_get(row, "operation"));
        if (!find(r, id) && runner_recover(r, id, "retry", &err) < 0)
            log_warn(NULL, "%s", err.text);
    }
}

/* Nobody waits any more for a node that is back; if it goes again, from then on. */
static void stop_waiting(struct runner *r, const char *node)
{
    struct op *op;
    list_each (op, &r->ops, in)
        for (size_t i = 0; i < op->count; i++)
            if (!strcmp(op->steps[i].node, node))
                op->away = sd_event_source_disable_unref(op->away);
}

void runner_node_up(struct runner *r, const char *node)
{
    stop_waiting(r, node);
    retry_left(r, node);
    runner_turn(r);
}
