/* SPDX-License-Identifier: Apache-2.0 */
/* A VM's checkpoint, as a part of its life: begun, told about, over, or come to nothing.
 * What is cut is cut elsewhere (VT_CHECKPOINT); here is only what state the VM is in. */
#include "agent/life_int.h"

#include <stdlib.h>

#include "agent/vt.h"
#include "agent/work.h"
#include "base/log.h"

enum { CUT_MS = 6 * 3600 * 1000 /* all of a checkpoint */ };

struct life_cut {
    work_note_f note;
    work_done_f done;
    void *arg;
};

void life_cut_told(struct vm *vm, json_t *result, const struct err *why)
{
    struct life_cut *c = move(vm->cutting);
    struct err ended;
    err_set(&ended, E_CANCELLED, "VM '%s' was stopped meanwhile", vm->name);
    if (c)
        c->done(c->arg, result, result || why ? why : &ended);
    free(c);
}

static void on_cut_note(void *arg, json_t *note)
{
    struct vm *vm = arg;
    if (vm->cutting && vm->cutting->note)
        vm->cutting->note(vm->cutting->arg, note);
}

/* It runs, or is paused, as before. */
static void cut_over(struct vm *vm)
{
    bool paused = json_is_true(json_object_get(vm->cut, "paused"));
    json_decref(move(vm->cut));
    life_force_step(vm, paused ? EV_PAUSE : EV_RESUME);
    life_notify(vm);
}

static void on_recovered(void *arg, json_t *result, const struct err *why)
{
    struct vm *vm = arg;
    struct err failed = vm->act;
    vm->work = NULL;
    if (why) {
        life_fail(vm, why);
        return;
    }
    cut_over(vm);
    life_cut_told(vm, NULL, &failed);
}

/* The checkpoint came to nothing: the machine goes on. */
void life_cut_recover(struct vm *vm, const struct err *why)
{
    struct err err;
    if (life_act(vm, VT_RECOVER, "giving up a checkpoint", LIFE_DESTROY_MS, NULL,
                 on_recovered, &err) < 0)
        life_fail(vm, &err);
    else
        vm->act = *why;
}

static void on_cut(void *arg, json_t *result, const struct err *why)
{
    struct vm *vm = arg;
    vm->work = NULL;
    if (why) {
        struct log_ctx ctx = life_ctx(vm);
        log_warn(&ctx, "no checkpoint: %s", why->text);
        life_cut_recover(vm, why);
        return;
    }
    if (!json_is_true(json_object_get(vm->cut, "stop"))) {
        cut_over(vm);
        life_cut_told(vm, result, NULL);
        return;
    }
    json_decref(move(vm->cut));
    struct life_cut *c = move(vm->cutting);
    life_force_step(vm, EV_STOP);
    life_take_down(vm);
    vm->cutting = c;
    life_cut_told(vm, result, NULL);
}

int life_checkpoint(struct vm *vm, json_t *cut, work_note_f note, work_done_f done,
                    void *arg, struct err *err)
{
    AUTO_JSON own = cut;
    const struct vt_ops *ops = vt_find(vm->profile->type);
    if (!ops->checkpoint)
        return err_set(err, E_UNAVAIL,
                       "type '%s' cannot checkpoint; change the "
                       "profile's type to hpc, kvm or qemu",
                       ops->name);
    if (vm->work)
        return err_set(err, E_BUSY, "VM '%s' is busy with another action", vm->name);
    struct life_cut *c = calloc(1, sizeof *c);
    if (!own || !c) {
        free(c);
        return err_oom(err);
    }
    *c = (struct life_cut){.note = note, .done = done, .arg = arg};
    json_object_set_new(own, "paused", json_boolean(vm->state == VM_PAUSED));
    vm->cut = json_incref(own);
    if (life_step(vm, EV_CHECKPOINT, err) < 0) {
        json_decref(move(vm->cut));
        free(c);
        return -1;
    }
    if (life_act(vm, VT_CHECKPOINT, "checkpoint", CUT_MS, on_cut_note, on_cut, err) <
        0) {
        free(c);
        cut_over(vm);
        return -1;
    }
    vm->cutting = c;
    return 0;
}

void life_checkpoint_cancel(struct vm *vm)
{
    struct err why;
    free(move(vm->cutting));
    if (vm->state != VM_CHECKPOINTING)
        return;
    work_cancel(move(vm->work));
    err_set(&why, E_CANCELLED, "the checkpoint was given up");
    life_cut_recover(vm, &why);
}
