/* SPDX-License-Identifier: Apache-2.0 */
/* Operations in memory: made from their rows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/runner_int.h"
#include "proto/rpc.h"

void op_free(struct op *op)
{
    if (!op)
        return;
    list_remove(&op->in);
    for (size_t i = 0; i < op->count; i++) {
        free(op->steps[i].node);
        free(op->steps[i].vm);
        json_decref(op->steps[i].request);
        json_decref(op->steps[i].undo);
    }
    while (!list_is_empty(&op->waiters)) {
        struct waiter *w = list_entry(op->waiters.next, struct waiter, in);
        list_remove(&w->in);
        free(w);
    }
    sd_event_source_disable_unref(op->away);
    free(op->steps);
    free(op);
}

static struct op *op_new(struct runner *r, int64_t id, uid_t owner, size_t count)
{
    AUTO(op) op = calloc(1, sizeof *op);
    if (!op)
        return NULL;
    list_init(&op->in);
    list_init(&op->waiters);
    op->runner = r;
    op->id = id;
    op->owner = owner;
    if (!(op->steps = calloc(count + 1, sizeof *op->steps)))
        return NULL;
    op->count = count;
    return move(op);
}

static int step_fill(struct step *s, struct op *op, int n, int phase, const char *node,
                     const char *vm, json_t *request, json_t *undo)
{
    *s = (struct step){.op = op, .n = n, .phase = phase};
    s->request = json_incref(request);
    s->undo = json_is_object(undo) ? json_incref(undo) : NULL;
    s->node = strdup(node);
    s->vm = vm ? strdup(vm) : NULL;
    const char *method = json_string_value(json_object_get(request, "method"));
    s->place = !(method && !strcmp(method, "vm.destroy"));
    s->push = method && !strcmp(method, PUSH_METHOD);
    return s->node && (!vm || s->vm) && s->request && method ? 0 : -1;
}

static int state_of(const char *name)
{
    for (int i = 0; i < STEP_STATE_COUNT; i++)
        if (!strcmp(step_state_name(i), name))
            return i;
    return STEP_LEFT;
}

int op_load(struct runner *r, int64_t id, const char *method, uid_t owner,
            struct op **out, struct err *err)
{
    AUTO_JSON rows = NULL;
    size_t i;
    json_t *row;
    if (store_steps(r->store, id, &rows, err) < 0)
        return -1;
    AUTO(op) op = op_new(r, id, owner, json_array_size(rows));
    if (!op)
        return err_oom(err);
    op->apart = !strcmp(method, PUSH_METHOD);
    json_array_foreach (rows, i, row) {
        const char *node, *state;
        json_t *request, *undo, *vm, *detail;
        int n, phase;
        if (rpc_unpack(row, err, "step", "{s:i, s:i, s:s, s:o, s:o, s:o, s:s, s:o}",
                       "n", &n, "phase", &phase, "node", &node, "vm", &vm, "request",
                       &request, "undo", &undo, "state", &state, "detail", &detail) < 0)
            return -1;
        struct step *s = &op->steps[i];
        if (step_fill(s, op, n, phase, node, json_string_value(vm), request, undo) < 0)
            return err_oom(err);
        s->state = state_of(state);
        if (json_is_string(detail))
            snprintf(s->detail, sizeof s->detail, "%s", json_string_value(detail));
        op->undoing |= s->state == STEP_UNDOING || s->state == STEP_UNDONE ||
                       s->state == STEP_LEFT;
        if (s->state == STEP_FAILED)
            snprintf(op->why, sizeof op->why, "%s: %s", node, s->detail);
    }
    *out = move(op);
    return 0;
}
