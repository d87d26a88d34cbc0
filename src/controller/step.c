/* SPDX-License-Identifier: Apache-2.0 */
/* The states of a step, as a table; see runner.h. */
#include "controller/runner.h"

static const char *const names[] = {
    [STEP_PLANNED] = "planned", [STEP_SENT] = "sent",       [STEP_DONE] = "done",
    [STEP_FAILED] = "failed",   [STEP_UNDOING] = "undoing", [STEP_UNDONE] = "undone",
    [STEP_LEFT] = "left",
};
static const char *const events[] = {
    [STEP_SEND] = "send", [STEP_OK] = "ok",     [STEP_ERROR] = "error",
    [STEP_LOST] = "lost", [STEP_UNDO] = "undo",
};

static const struct {
    enum step_state from;
    enum step_event event;
    enum step_state to;
} next[] = {
    {STEP_PLANNED, STEP_SEND, STEP_SENT},
    {STEP_SENT, STEP_SEND, STEP_SENT}, /* again: after a restart or a lost connection */
    {STEP_SENT, STEP_OK, STEP_DONE},
    {STEP_SENT, STEP_ERROR, STEP_FAILED},
    {STEP_SENT, STEP_LOST, STEP_SENT},
    {STEP_PLANNED, STEP_UNDO, STEP_UNDONE}, /* nothing was asked yet */
    {STEP_SENT, STEP_UNDO, STEP_UNDOING},
    {STEP_DONE, STEP_UNDO, STEP_UNDOING},
    {STEP_FAILED, STEP_UNDO, STEP_UNDOING}, /* it may have begun all the same */
    {STEP_UNDOING, STEP_UNDO, STEP_UNDOING},
    {STEP_UNDOING, STEP_SEND, STEP_UNDOING},
    {STEP_UNDOING, STEP_OK, STEP_UNDONE},
    {STEP_UNDOING, STEP_ERROR, STEP_LEFT},
    {STEP_UNDOING, STEP_LOST, STEP_LEFT},
    {STEP_UNDONE, STEP_UNDO, STEP_UNDONE},
    {STEP_LEFT, STEP_UNDO, STEP_UNDOING},
    {STEP_LEFT, STEP_SEND, STEP_UNDOING},
};

const char *step_state_name(enum step_state s)
{
    return names[s];
}

int step_next(enum step_state from, enum step_event event, bool has_undo,
              enum step_state *to, struct err *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(next); i++)
        if (next[i].from == from && next[i].event == event) {
            *to = next[i].to;
            if (event == STEP_UNDO && !has_undo)
                *to = STEP_UNDONE;
            return 0;
        }
    return err_set(err, E_BUG, "a step that is %s cannot take '%s'", names[from],
                   events[event]);
}
