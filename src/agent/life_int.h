/* SPDX-License-Identifier: Apache-2.0 */
/* Between life.c and life_cut.c. */
#pragma once
#include "agent/life.h"
#include "agent/vt.h"
#include "agent/work.h"
#include "base/log.h"

enum {
    LIFE_DESTROY_MS = 60000 /* for one try to take a VM down, and for short actions */
};

struct log_ctx life_ctx(const struct vm *vm);
/* The next state, on disk before this returns. */
int life_step(struct vm *vm, enum vm_event ev, struct err *err);
/* For what cannot be refused: a full disk must not keep a VM from being stopped. */
void life_force_step(struct vm *vm, enum vm_event ev);
/* Start the VM's one action. */
int life_act(struct vm *vm, enum vt_verb verb, const char *what, unsigned timeout_ms,
             work_note_f note, work_done_f done, struct err *err);
void life_take_down(struct vm *vm);

/* Whoever waits for the checkpoint hears how it ended; without result and reason: that
 * the VM was stopped. */
void life_cut_told(struct vm *vm, json_t *result, const struct err *why);
/* The checkpoint came to nothing: the machine goes on. */
void life_cut_recover(struct vm *vm, const struct err *why);
