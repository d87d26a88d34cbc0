/* SPDX-License-Identifier: Apache-2.0 */
/* The table of transitions; see the header. Called by the agent before it acts. */
#include "agent/state.h"

#include <string.h>

#include "base/own.h"

static const char *const names[] = {
#define X(state, name) [state] = name,
    VM_STATES(X)
#undef X
};
static const char *const events[] = {
#define X(event, name) [event] = name,
    VM_EVENTS(X)
#undef X
};

static const struct {
    enum vm_state from;
    enum vm_event ev;
    enum vm_state to;
} table[] = {
    {VM_DEFINED, EV_BOOT, VM_STAGING},
    {VM_DEFINED, EV_STOP, VM_STOPPING},
    {VM_STAGING, EV_STAGED, VM_BOOTING},
    {VM_STAGING, EV_FAIL, VM_STOPPING},
    {VM_STAGING, EV_STOP, VM_STOPPING},
    {VM_BOOTING, EV_UP, VM_RUNNING},
    {VM_BOOTING, EV_DIED, VM_STOPPING},
    {VM_BOOTING, EV_FAIL, VM_STOPPING},
    {VM_BOOTING, EV_STOP, VM_STOPPING},
    {VM_RUNNING, EV_PAUSE, VM_PAUSED},
    {VM_RUNNING, EV_CHECKPOINT, VM_CHECKPOINTING},
    {VM_RUNNING, EV_MIGRATE, VM_MIGRATING},
    {VM_RUNNING, EV_DIED, VM_STOPPING},
    {VM_RUNNING, EV_STOP, VM_STOPPING},
    {VM_PAUSED, EV_RESUME, VM_RUNNING},
    {VM_PAUSED, EV_CHECKPOINT, VM_CHECKPOINTING},
    {VM_PAUSED, EV_MIGRATE, VM_MIGRATING},
    {VM_PAUSED, EV_DIED, VM_STOPPING},
    {VM_PAUSED, EV_STOP, VM_STOPPING},
    {VM_CHECKPOINTING, EV_PAUSE, VM_PAUSED},
    {VM_CHECKPOINTING, EV_RESUME, VM_RUNNING},
    {VM_CHECKPOINTING, EV_DIED, VM_STOPPING},
    {VM_CHECKPOINTING, EV_STOP, VM_STOPPING},
    {VM_MIGRATING, EV_PAUSE, VM_PAUSED},
    {VM_MIGRATING, EV_RESUME, VM_RUNNING},
    {VM_MIGRATING, EV_DIED, VM_STOPPING},
    {VM_MIGRATING, EV_STOP, VM_STOPPING},
    {VM_STOPPING, EV_STOP, VM_STOPPING},
    {VM_STOPPING, EV_DIED, VM_STOPPING},
    {VM_STOPPING, EV_CLEANED, VM_GONE},
    {VM_STOPPING, EV_FAIL, VM_FAILED},
    {VM_GONE, EV_BOOT, VM_STAGING},
    {VM_FAILED, EV_BOOT, VM_STAGING},
    {VM_FAILED, EV_STOP, VM_STOPPING},
    {VM_GONE, EV_STOP, VM_STOPPING},
};

const char *state_name(enum vm_state s)
{
    return s < VM_STATE_COUNT ? names[s] : "?";
}

const char *state_event_name(enum vm_event e)
{
    return e < VM_EVENT_COUNT ? events[e] : "?";
}

enum vm_state state_parse(const char *name)
{
    for (unsigned s = 0; s < VM_STATE_COUNT; s++)
        if (name && !strcmp(names[s], name))
            return s;
    return VM_STATE_COUNT;
}

int state_next(enum vm_state from, enum vm_event ev, enum vm_state *to, struct err *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        if (table[i].from == from && table[i].ev == ev) {
            *to = table[i].to;
            return 0;
        }
    return err_set(err, E_STATE, "cannot %s a VM that is %s", state_event_name(ev),
                   state_name(from));
}

bool state_is_over(enum vm_state s)
{
    return s == VM_GONE || s == VM_FAILED;
}

bool state_is_live(enum vm_state s)
{
    return s != VM_DEFINED && !state_is_over(s);
}
