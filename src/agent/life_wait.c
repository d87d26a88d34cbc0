/* SPDX-License-Identifier: Apache-2.0 */
/* Who waits for a VM to come so far. */
#include <stdlib.h>

#include "agent/guest.h"
#include "agent/life.h"

struct life_waiter {
    struct list in;
    enum life_until until;
    life_told_f told;
    void *arg;
};

/* 1: tell success, -1: tell why, 0: wait on. */
static int reached(const struct vm *vm, enum life_until until)
{
    bool ended = state_is_over(vm->state);
    switch (until) {
    case UNTIL_TALKS:
        if (vm->state == VM_RUNNING && guest_may_come(vm))
            return 0;
        /* fall through */
    case UNTIL_READY:
        if (vm->state == VM_RUNNING || vm->state == VM_PAUSED)
            return 1;
        return ended || vm->state == VM_STOPPING ? -1 : 0;
    case UNTIL_IDLE:
        if (vm->work || vm->state == VM_STOPPING)
            return 0;
        return vm->act.code ? -1 : 1;
    case UNTIL_ENDED:
        return ended ? 1 : 0;
    }
    return 0;
}

static void tell(struct life_waiter *w, struct vm *vm, const struct err *why)
{
    list_remove(&w->in);
    w->told(w->arg, vm, why);
    free(w);
}

void life_notify(struct vm *vm)
{
    struct life_waiter *w;
again:
    list_each (w, &vm->waiters, in) {
        struct err why;
        int r = life_check(vm, w->until, &why);
        if (!r)
            continue;
        tell(w, vm, r < 0 ? &why : NULL);
        goto again; /* whoever was told may have cancelled others */
    }
}

int life_check(const struct vm *vm, enum life_until until, struct err *why)
{
    int r = reached(vm, until);
    if (r >= 0)
        return r;
    const struct err *e = until == UNTIL_IDLE ? &vm->act : &vm->why;
    if (e->code && why)
        *why = *e;
    return e->code ? -1 : err_set(why, E_CANCELLED, "VM '%s' was stopped", vm->name);
}

struct life_waiter *life_wait(struct vm *vm, enum life_until until, life_told_f told,
                              void *arg)
{
    struct life_waiter *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    *w = (struct life_waiter){.until = until, .told = told, .arg = arg};
    list_add(&vm->waiters, &w->in);
    return w;
}

void life_wait_cancel(struct life_waiter *w)
{
    if (w) {
        list_remove(&w->in);
        free(w);
    }
}

void life_wait_end(struct vm *vm)
{
    struct life_waiter *w;
    while (!list_is_empty(&vm->waiters)) {
        struct err why;
        w = list_entry(vm->waiters.next, struct life_waiter, in);
        if (vm->why.code)
            why = vm->why;
        else
            err_set(&why, E_CANCELLED, "VM '%s' was destroyed", vm->name);
        tell(w, NULL, w->until == UNTIL_ENDED ? NULL : &why);
    }
}
