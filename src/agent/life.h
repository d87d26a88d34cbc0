/* SPDX-License-Identifier: Apache-2.0 */
/* A VM's way through its states: each function writes the row, then acts. */
#pragma once
#include "agent/agent.h"
#include "agent/work.h"

/* What a caller waits for. */
enum life_until {
    UNTIL_READY, /* running; a failure answers with why */
    UNTIL_TALKS, /* ready, and its guest answers or has had its time to */
    UNTIL_IDLE,  /* no action under way any more */
    UNTIL_ENDED, /* gone, failed or forgotten */
};
/* vm is NULL when it has been forgotten meanwhile. why is NULL for success. */
typedef void (*life_told_f)(void *arg, struct vm *vm, const struct err *why);

/* Takes vm into the agent's table, writes its row. */
int life_define(struct agent *a, struct vm *vm, struct err *err);
int life_boot(struct vm *vm, struct err *err);
int life_pause(struct vm *vm, bool pause, struct err *err);
/* cut as in vm.h, stolen. With "stop" the machine ends after success. note: progress;
 * done: the result of VT_CHECKPOINT (borrowed), or why not; then the machine goes on
 * or is being ended. */
int life_checkpoint(struct vm *vm, json_t *cut, work_note_f note, work_done_f done,
                    void *arg, struct err *err);
/* Whoever asked went away: give it up. */
void life_checkpoint_cancel(struct vm *vm);
/* With grace the guest is asked to shut down first. doom: forget it afterwards. */
int life_stop(struct vm *vm, bool grace, bool doom, struct err *err);
/* It went wrong: stop it and keep why. */
void life_fail(struct vm *vm, const struct err *why);
/* The guest said hello, for the first time or again; its link tells. */
void life_guest_up(struct vm *vm);
/* Go on with a row that was read after a restart. */
void life_adopt(struct vm *vm);
/* 1: reached, 0: not yet, -1: it will not be, and why. */
int life_check(const struct vm *vm, enum life_until until, struct err *why);
/* Call told, later, when it is reached or will not be. NULL without memory. */
struct life_waiter;
struct life_waiter *life_wait(struct vm *vm, enum life_until until, life_told_f told,
                              void *arg);
void life_wait_cancel(struct life_waiter *w);
/* It changed: tell those who have what they wait for. */
void life_notify(struct vm *vm);
/* It is being forgotten: tell all. */
void life_wait_end(struct vm *vm);
/* Whoever holds the lease came, or went away; or has half a minute to come. */
void life_lease(struct vm *vm, bool held);
void life_lease_wait(struct vm *vm);
