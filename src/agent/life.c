/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a VM; see the header. What must stay true: the row on disk is never
 * behind an action under way; at most one action a VM; an end always passes through
 * VT_DESTROY, which takes everything back. */
#include "agent/life_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/console.h"
#include "agent/guest.h"
#include "agent/images.h"
#include "agent/vt.h"
#include "agent/work.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/proc.h"

enum {
    GRACE_MS = 30000,  /* for a guest to shut down */
    LEASE_MS = 30000,  /* for a holder to come back after our restart */
    STAGE_MS = 300000, /* staging and start, without the guest's own boot */
    RETRY_MAX_MS = 30000
};

struct log_ctx life_ctx(const struct vm *vm)
{
    return (struct log_ctx){.job = vm->job, .vm = vm->name};
}

/* --- steps -------------------------------------------------------------------- */

static bool may_hear(uid_t uid, const json_t *data)
{
    json_int_t owner = json_integer_value(json_object_get(data, "uid"));
    return uid == 0 || (json_int_t)uid == owner;
}

static void emit(struct vm *vm, const char *event)
{
    json_t *data = vm_show(vm);
    if (data)
        json_object_set_new(data, "vm", json_string(vm->name));
    if (data && vm->agent->server)
        rpc_server_emit(vm->agent->server, event, data, may_hear);
    else
        json_decref(data);
}

int life_step(struct vm *vm, enum vm_event ev, struct err *err)
{
    enum vm_state was = vm->state, to;
    if (state_next(was, ev, &to, err) < 0)
        return err_at(err, "VM '%s'", vm->name);
    vm->state = to;
    if (vm_save(vm, err) < 0) {
        vm->state = was;
        return err_at(err, "VM '%s'", vm->name);
    }
    struct log_ctx ctx = life_ctx(vm);
    if (was != to)
        log_info(&ctx, "%s -> %s", state_name(was), state_name(to));
    emit(vm, "vm.state");
    return 0;
}

/* For what cannot be refused: a full disk must not keep a VM from being stopped. */
void life_force_step(struct vm *vm, enum vm_event ev)
{
    struct err err;
    enum vm_state to;
    if (life_step(vm, ev, &err) == 0)
        return;
    struct log_ctx ctx = life_ctx(vm);
    log_error(&ctx, "%s", err.text);
    if (state_next(vm->state, ev, &to, &err) == 0)
        vm->state = to;
}

static void save(struct vm *vm)
{
    struct err err;
    struct log_ctx ctx = life_ctx(vm);
    if (vm_save(vm, &err) < 0)
        log_error(&ctx, "row not written: %s", err.text);
}

int life_act(struct vm *vm, enum vt_verb verb, const char *what, unsigned timeout_ms,
             work_note_f note, work_done_f done, struct err *err)
{
    if (vm->work)
        return err_set(err, E_BUSY, "VM '%s' is busy with another action", vm->name);
    /* The order is read in the fork only: it may live on this stack. */
    struct vt_order order = {.vm = vm, .verb = verb, .args = vm->cut};
    struct work_spec spec = {.event = vm->agent->event,
                             .what = what,
                             .run = vt_work,
                             .note = note,
                             .done = done,
                             .arg = &order,
                             .done_arg = vm,
                             .timeout_ms = timeout_ms};
    vm->act = (struct err){0};
    return work_start(&spec, &vm->work, err);
}

static void set_timer(struct vm *vm, sd_event_source **timer, uint64_t ms,
                      sd_event_time_handler_t on)
{
    *timer = sd_event_source_disable_unref(*timer);
    if (on)
        sd_event_add_time_relative(vm->agent->event, timer, CLOCK_MONOTONIC, ms * 1000,
                                   0, on, vm);
}

int life_define(struct agent *a, struct vm *vm, struct err *err)
{
    vm->agent = a;
    vm->state = VM_DEFINED;
    vm->stages[STAGE_DEFINED] = clock_wall_ms();
    if (vm_save(vm, err) < 0)
        return -1;
    list_add(&a->vms, &vm->in);
    agent_touch(a);
    emit(vm, "vm.state");
    return 0;
}

static void forget(struct vm *vm)
{
    emit(vm, "vm.forgotten");
    work_cancel(move(vm->work));
    guest_close(vm);
    console_close(vm);
    vm_forget(vm);
    list_remove(&vm->in);
    life_wait_end(vm);
    struct agent *a = vm->agent;
    vm_free(vm);
    agent_touch(a);
}

/* --- the end -------------------------------------------------------------------- */

static int on_retry(sd_event_source *source, uint64_t usec, void *arg)
{
    life_take_down(arg);
    return 0;
}

static void on_destroyed(void *arg, json_t *result, const struct err *why)
{
    struct vm *vm = arg;
    struct log_ctx ctx = life_ctx(vm);
    vm->work = NULL;
    if (why) {
        uint64_t wait = 1000ull << (vm->retries < 5 ? vm->retries : 5);
        vm->retries++;
        log_warn(&ctx, "taking it down failed, next try in %u s: %s",
                 (unsigned)(wait / 1000), why->text);
        vm->act = *why;
        set_timer(vm, &vm->timer, wait < RETRY_MAX_MS ? wait : RETRY_MAX_MS, on_retry);
        return;
    }
    vm->pid = 0;
    vm->pid_start = 0;
    vm->retries = 0;
    images_release(vm);
    json_object_clear(vm->vt);
    json_decref(move(vm->cut));
    vm->stages[STAGE_ENDED] = clock_wall_ms();
    life_force_step(vm, vm->failing ? EV_FAIL : EV_CLEANED);
    agent_touch(vm->agent);
    console_over(vm);
    if (vm->doomed)
        forget(vm);
    else
        life_notify(vm);
}

void life_take_down(struct vm *vm)
{
    struct err err;
    life_cut_told(vm, NULL, NULL);
    set_timer(vm, &vm->timer, 0, NULL);
    set_timer(vm, &vm->limit, 0, NULL);
    vm->pid_watch = sd_event_source_disable_unref(vm->pid_watch);
    work_cancel(move(vm->work));
    guest_close(vm);
    vm->forced = true;
    if (life_act(vm, VT_DESTROY, "destroy", LIFE_DESTROY_MS, NULL, on_destroyed, &err) <
        0)
        on_destroyed(vm, NULL, &err);
}

static void fail_with(struct vm *vm, const struct err *why, enum vm_event ev)
{
    struct log_ctx ctx = life_ctx(vm);
    if (!vm->why.code) {
        vm->why = *why;
        log_warn(&ctx, "failed: %s", why->text);
    }
    vm->failing = true;
    life_force_step(vm, ev);
    life_take_down(vm);
    life_notify(vm);
}

void life_fail(struct vm *vm, const struct err *why)
{
    if (vm->state != VM_STOPPING)
        fail_with(vm, why, vm->state == VM_STAGING ? EV_FAIL : EV_DIED);
}

static void died(struct vm *vm)
{
    vm->pid_watch = sd_event_source_disable_unref(vm->pid_watch);
    if (vm->state == VM_STOPPING) {
        if (!vm->forced)
            life_take_down(vm);
        return;
    }
    struct err why;
    if (console_tells_end(vm, &why)) {
        life_fail(vm, &why);
        return;
    }
    /* It powered itself off: an end like any other. */
    life_force_step(vm, EV_DIED);
    life_take_down(vm);
    life_notify(vm);
}

static int on_pid(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    died(arg);
    return 0;
}

static int on_settle(sd_event_source *source, uint64_t usec, void *arg)
{
    died(arg);
    return 0;
}

/* False: it is not there any more. */
static bool watch(struct vm *vm)
{
    int fd = syscall(SYS_pidfd_open, vm->pid, 0);
    if (fd < 0 || proc_start_time(vm->pid) != vm->pid_start) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    if (sd_event_add_io(vm->agent->event, &vm->pid_watch, fd, EPOLLIN, on_pid, vm) <
        0) {
        close(fd);
        return false;
    }
    sd_event_source_set_io_fd_own(vm->pid_watch, true);
    return true;
}

static int on_grace_over(sd_event_source *source, uint64_t usec, void *arg)
{
    life_take_down(arg);
    return 0;
}

static void on_powerdown(void *arg, json_t *result, const struct err *why)
{
    struct vm *vm = arg;
    vm->work = NULL;
    if (why)
        life_take_down(vm);
}

int life_stop(struct vm *vm, bool grace, bool doom, struct err *err)
{
    bool ended = state_is_over(vm->state);
    vm->doomed |= doom;
    if (ended || (vm->state == VM_DEFINED && doom)) {
        if (vm->doomed)
            forget(vm);
        return 0;
    }
    bool again = vm->state == VM_STOPPING;
    bool was_running = vm->state == VM_RUNNING;
    if (life_step(vm, EV_STOP, err) < 0)
        return -1;
    if (again && (grace || vm->forced))
        return 0;
    life_cut_told(vm, NULL, NULL);
    work_cancel(move(vm->work));
    if (grace && was_running && guest_shutdown(vm)) {
        set_timer(vm, &vm->timer, GRACE_MS, on_grace_over);
    } else if (grace && was_running && vt_find(vm->profile->type)->powerdown &&
               life_act(vm, VT_POWERDOWN, "power down", LIFE_DESTROY_MS, NULL,
                        on_powerdown, NULL) == 0) {
        set_timer(vm, &vm->timer, GRACE_MS, on_grace_over);
    } else {
        life_take_down(vm);
    }
    life_notify(vm);
    return 0;
}

/* --- the beginning ---------------------------------------------------------------- */

static int on_not_ready(sd_event_source *source, uint64_t usec, void *arg)
{
    struct vm *vm = arg;
    struct err why;
    char line[200];
    console_last_line(vm, line, sizeof line);
    err_set(&why, E_TIMEOUT, "the guest was not ready within %u s%s%s",
            (unsigned)(vm->profile->ready_ms / 1000),
            *line ? "; its console's last line: " : "", line);
    life_fail(vm, &why);
    return 0;
}

static int on_limit(sd_event_source *source, uint64_t usec, void *arg)
{
    struct vm *vm = arg;
    struct log_ctx ctx = life_ctx(vm);
    log_info(&ctx, "its time is over");
    if (!vm->why.code)
        err_set(&vm->why, E_TIMEOUT, "stopped after its time limit of %u s",
                (unsigned)(vm->profile->time_ms / 1000));
    life_stop(vm, true, false, NULL);
    return 0;
}

static void set_limit(struct vm *vm)
{
    uint64_t now = clock_wall_ms(),
             end = vm->stages[STAGE_STARTED] + vm->profile->time_ms;
    if (vm->profile->time_ms)
        set_timer(vm, &vm->limit, end > now ? end - now : 0, on_limit);
}

void life_guest_up(struct vm *vm)
{
    if (vm->state == VM_BOOTING) {
        vm->stages[STAGE_READY] = clock_wall_ms();
        /* It has new keys now; when we come again it keeps them. */
        json_object_del(json_object_get(vm->vt, "identity"), "clone");
        set_timer(vm, &vm->timer, 0, NULL);
        life_force_step(vm, EV_UP);
    }
    life_notify(vm);
}

/* From here on the VM is there: connect to all of it. */
static void attach(struct vm *vm)
{
    images_hold(vm);
    console_open(vm);
    set_limit(vm);
    if (!watch(vm)) {
        /* Let the console's last words arrive first. */
        set_timer(vm, &vm->timer, 50, on_settle);
        return;
    }
    if (vm->state == VM_BOOTING)
        set_timer(vm, &vm->timer, vm->profile->ready_ms, on_not_ready);
    if (json_object_get(vm->vt, "guest"))
        guest_open(vm);
    else
        life_guest_up(vm);
}

static void on_boot_note(void *arg, json_t *note)
{
    struct vm *vm = arg;
    const char *stage = json_string_value(json_object_get(note, "stage"));
    if (!stage || strcmp(stage, "staged") || vm->state != VM_STAGING)
        return;
    vm->stages[STAGE_STAGED] = clock_wall_ms();
    life_force_step(vm, EV_STAGED);
}

static void on_booted(void *arg, json_t *result, const struct err *why)
{
    struct vm *vm = arg;
    vm->work = NULL;
    json_t *vt = json_object_get(result, "vt");
    pid_t pid = json_integer_value(json_object_get(result, "pid"));
    struct err mine;
    if (!why && (!json_is_object(vt) || pid <= 0 || vm->state != VM_BOOTING)) {
        err_set(&mine, E_BUG, "boot told no process");
        why = &mine;
    }
    if (why) {
        fail_with(vm, why, EV_FAIL);
        return;
    }
    json_decref(vm->vt);
    vm->vt = json_incref(vt);
    vm->pid = pid;
    vm->pid_start = proc_start_time(pid);
    /* Started again after its end, it boots. */
    json_decref(move(vm->from));
    vm->stages[STAGE_STARTED] = clock_wall_ms();
    save(vm);
    attach(vm);
    life_notify(vm);
}

static int start_boot(struct vm *vm, struct err *err)
{
    images_hold(vm);
    unsigned ms = STAGE_MS + (vm->held ? 0 : IMAGES_AWAIT_MS);
    return life_act(vm, VT_BOOT, "boot", ms, on_boot_note, on_booted, err);
}

int life_boot(struct vm *vm, struct err *err)
{
    if (vm->state == VM_STAGING || vm->state == VM_BOOTING || vm->state == VM_RUNNING)
        return 0;
    if (life_step(vm, EV_BOOT, err) < 0)
        return -1;
    uint64_t defined = vm->stages[STAGE_DEFINED];
    memset(vm->stages, 0, sizeof vm->stages);
    vm->stages[STAGE_DEFINED] = defined;
    vm->why = (struct err){0};
    vm->failing = vm->forced = false;
    if (start_boot(vm, err) < 0) {
        struct err why;
        err_set(&why, E_SYS, "no worker could be started");
        fail_with(vm, &why, EV_FAIL);
        return -1;
    }
    return 0;
}

/* --- pause --------------------------------------------------------------------------
 */

static void on_paused(void *arg, json_t *result, const struct err *why)
{
    struct vm *vm = arg;
    vm->work = NULL;
    if (why) {
        vm->act = *why;
        life_force_step(vm, vm->state == VM_PAUSED ? EV_RESUME : EV_PAUSE);
    } else if (vm->state == VM_RUNNING) {
        guest_set_clock(vm);
    }
    life_notify(vm);
}

int life_pause(struct vm *vm, bool pause, struct err *err)
{
    if (vm->state == (pause ? VM_PAUSED : VM_RUNNING))
        return 0;
    const struct vt_ops *ops = vt_find(vm->profile->type);
    if (!(pause ? ops->pause : ops->resume))
        return err_set(err, E_UNAVAIL, "type '%s' cannot pause", ops->name);
    if (vm->work)
        return err_set(err, E_BUSY, "VM '%s' is busy with another action", vm->name);
    if (life_step(vm, pause ? EV_PAUSE : EV_RESUME, err) < 0)
        return -1;
    if (life_act(vm, pause ? VT_PAUSE : VT_RESUME, pause ? "pause" : "resume",
                 LIFE_DESTROY_MS, NULL, on_paused, err) < 0) {
        life_force_step(vm, pause ? EV_RESUME : EV_PAUSE);
        return -1;
    }
    return 0;
}

/* --- after a restart
 * ------------------------------------------------------------------ */

static int on_lease_over(sd_event_source *source, uint64_t usec, void *arg)
{
    life_stop(arg, false, true, NULL);
    return 0;
}

void life_lease_wait(struct vm *vm)
{
    if (vm->leased)
        set_timer(vm, &vm->lease, LEASE_MS, on_lease_over);
}

void life_lease(struct vm *vm, bool held)
{
    set_timer(vm, &vm->lease, 0, NULL);
    if (!held)
        life_stop(vm, false, true, NULL);
}

void life_adopt(struct vm *vm)
{
    struct log_ctx ctx = life_ctx(vm);
    struct err err;
    life_lease_wait(vm);
    switch (vm->state) {
    case VM_DEFINED:
    case VM_GONE:
    case VM_FAILED:
        if (vm->doomed)
            forget(vm);
        return;
    case VM_STOPPING:
        life_take_down(vm);
        return;
    case VM_STAGING:
        break;
    case VM_BOOTING:
        if (!vm->pid)
            break;
        attach(vm);
        return;
    case VM_CHECKPOINTING:
        log_info(&ctx, "its checkpoint was interrupted: it goes on without");
        attach(vm);
        err_set(&err, E_CANCELLED, "the agent was restarted");
        life_cut_recover(vm, &err);
        return;
    default:
        attach(vm);
        return;
    }
    log_info(&ctx, "its start was interrupted: starting it again");
    vm->state = VM_STAGING;
    if (vm_save(vm, &err) < 0 || start_boot(vm, &err) < 0)
        fail_with(vm, &err, EV_FAIL);
}
