/* SPDX-License-Identifier: Apache-2.0 */
/* Asking nodes for steps, and what their answers mean. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "controller/runner_int.h"

enum { REQUEST_MS = 900000 }; /* the longest a node may take for one step */

/* One request under way. */
struct flight {
    struct step *step;
    bool undo;
};

void step_take(struct step *s, enum step_event event)
{
    struct err err;
    enum step_state to;
    if (step_next(s->state, event, s->undo, &to, &err) < 0) {
        log_error(NULL, "operation %" PRId64 ": %s", s->op->id, err.text);
        return;
    }
    s->dirty |= to != s->state;
    s->state = to;
}

static void judge(struct step *s, bool undo, json_t *result, const struct err *why)
{
    struct op *op = s->op;
    if (!why || ((undo || !s->place) && why->code == E_NOENT)) {
        const char *id = json_string_value(json_object_get(result, "id"));
        snprintf(s->detail, sizeof s->detail, "%s", id ? id : "");
        step_take(s, STEP_OK);
    } else if (why->code == E_HOST || why->code == E_TIMEOUT ||
               why->code == E_CANCELLED) {
        step_take(s, STEP_LOST);
    } else {
        snprintf(s->detail, sizeof s->detail, "%s", why->text);
        if (!*op->why && !undo) {
            snprintf(op->why, sizeof op->why, "%s: %s", s->node, why->text);
            op->code = why->code;
        }
        step_take(s, STEP_ERROR);
    }
}

static void on_answer(json_t *result, const struct err *why, void *arg)
{
    struct flight *f = arg;
    struct step *s = f->step;
    *(f->undo ? &s->asked_back : &s->asked) = false;
    /* The answer to a request that is being taken back says nothing any more. */
    if (s->state == (f->undo ? STEP_UNDOING : STEP_SENT))
        judge(s, f->undo, result, why);
    free(f);
    runner_turn(s->op->runner);
}

/* Written down now and then, for who watches. */
static void on_progress(uint64_t sent, uint64_t total, void *arg)
{
    enum { TELL_MS = 1000 };
    struct step *s = ((struct flight *)arg)->step;
    uint64_t now = clock_ms();
    if (s->state != STEP_SENT || now - s->told_ms < TELL_MS)
        return;
    s->told_ms = now;
    snprintf(s->detail, sizeof s->detail, "%" PRIu64 " of %" PRIu64 " MiB", sent >> 20,
             (total + (1 << 20) - 1) >> 20);
    s->dirty = true;
    runner_turn(s->op->runner);
}

void step_send(struct runner *r, struct step *s)
{
    bool undo = s->state == STEP_UNDOING;
    json_t *what = undo ? s->undo : s->request;
    const char *method = json_string_value(json_object_get(what, "method"));
    struct err err;
    struct flight *f = calloc(1, sizeof *f);
    if (f) {
        *f = (struct flight){s, undo};
        s->flight = f;
        *(undo ? &s->asked_back : &s->asked) = true;
        const int sent =
            s->push && !undo
                ? push_start(r->pusher, s->node, json_object_get(what, "params"),
                             on_answer, on_progress, f, &err)
                : hub_call(r->hub, s->node, method,
                           json_incref(json_object_get(what, "params")), REQUEST_MS,
                           on_answer, f, &err);
        if (sent == 0)
            return;
        *(undo ? &s->asked_back : &s->asked) = false;
        free(f);
    } else {
        err_oom(&err);
    }
    if (undo || err.code != E_HOST)
        judge(s, undo, NULL, &err);
    runner_turn(r);
}
