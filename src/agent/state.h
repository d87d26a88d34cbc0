/* SPDX-License-Identifier: Apache-2.0 */
/* What a VM goes through: one enum, one table of what may follow what. Pure. */
#pragma once
#include "base/err.h"

#include <stdbool.h>

/* state, word on the wire */
#define VM_STATES(X)                                                                   \
    X(VM_DEFINED, "defined") /* known, nothing taken yet */                            \
    X(VM_STAGING, "staging") /* disks, networks, shares are being made */              \
    X(VM_BOOTING, "booting") /* started, the guest has not said hello */               \
    X(VM_RUNNING, "running")                                                           \
    X(VM_PAUSED, "paused")                                                             \
    X(VM_CHECKPOINTING, "checkpointing")                                               \
    X(VM_MIGRATING, "migrating")                                                       \
    X(VM_STOPPING, "stopping") /* on its way down, and being cleaned */                \
    X(VM_GONE, "gone")         /* ended as asked; may be booted again */               \
    X(VM_FAILED, "failed")     /* ended by itself or never came up; the row says why */

enum vm_state {
#define X(state, name) state,
    VM_STATES(X)
#undef X
        VM_STATE_COUNT
};

#define VM_EVENTS(X)                                                                   \
    X(EV_BOOT, "boot")                                                                 \
    X(EV_STAGED, "staged")                                                             \
    X(EV_UP, "up")                                                                     \
    X(EV_PAUSE, "pause")                                                               \
    X(EV_RESUME, "resume")                                                             \
    X(EV_CHECKPOINT, "checkpoint")                                                     \
    X(EV_MIGRATE, "migrate")                                                           \
    X(EV_STOP, "stop")                                                                 \
    X(EV_DIED, "died")                                                                 \
    X(EV_CLEANED, "cleaned")                                                           \
    X(EV_FAIL, "fail")

enum vm_event {
#define X(event, name) event,
    VM_EVENTS(X)
#undef X
        VM_EVENT_COUNT
};

const char *state_name(enum vm_state s);
const char *state_event_name(enum vm_event e);
/* VM_STATE_COUNT for a word that is none. */
enum vm_state state_parse(const char *name);
/* The state after ev; E_STATE with both names if the table has no such pair. */
int state_next(enum vm_state from, enum vm_event ev, enum vm_state *to,
               struct err *err);
/* Does a VM in this state have a hypervisor, or may it have one? */
bool state_is_live(enum vm_state s);
/* Has it ended, well or not? */
bool state_is_over(enum vm_state s);
