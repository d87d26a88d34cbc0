/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent can be asked. docs/lodge-agent.8.adoc describes each method; the table
 * at the end is the list. A VM is named by "vm": its name or id. */
#include "agent/methods.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/checkpoint.h"
#include "agent/console.h"
#include "agent/images.h"
#include "agent/reserve.h"
#include "agent/vt.h"

static void do_boot(struct rpc_call *call, json_t *params, void *arg)
{
    struct err err;
    struct vm *vm = agent_vm_of(arg, call, params, &err);
    bool ended = vm && state_is_over(vm->state);
    /* An ended machine holds nothing: its place may be somebody else's by now. */
    if (!vm || (ended && reserve_check(arg, vm, &err) < 0) || life_boot(vm, &err) < 0)
        rpc_call_fail(call, &err);
    else if (json_is_false(json_object_get(params, "wait")))
        rpc_call_answer(call, vm_show(vm));
    else
        agent_answer_when(call, vm, UNTIL_READY, false);
}

static void pause_or_resume(struct rpc_call *call, json_t *params, struct agent *a,
                            bool pause)
{
    struct err err;
    struct vm *vm = agent_vm_of(a, call, params, &err);
    if (!vm || life_pause(vm, pause, &err) < 0)
        rpc_call_fail(call, &err);
    else
        agent_answer_when(call, vm, UNTIL_IDLE, false);
}

static void do_pause(struct rpc_call *call, json_t *params, void *arg)
{
    pause_or_resume(call, params, arg, true);
}

static void do_resume(struct rpc_call *call, json_t *params, void *arg)
{
    pause_or_resume(call, params, arg, false);
}

static void end_vm(struct rpc_call *call, json_t *params, struct agent *a, bool grace,
                   bool doom)
{
    struct err err;
    struct vm *vm = agent_vm_of(a, call, params, &err);
    if (!vm) {
        rpc_call_fail(call, &err);
        return;
    }
    bool wait = !json_is_false(json_object_get(params, "wait"));
    /* Who waits must be in line before the VM can be forgotten at once. */
    char id[VM_ID_LEN + 1];
    memcpy(id, vm->id, sizeof id);
    if (life_stop(vm, grace, doom, &err) < 0) {
        rpc_call_fail(call, &err);
        return;
    }
    vm = agent_find(a, 0, id, NULL);
    if (!vm || !wait)
        rpc_call_answer(call, vm ? vm_show(vm) : NULL);
    else
        agent_answer_when(call, vm, UNTIL_ENDED, false);
}

static void do_stop(struct rpc_call *call, json_t *params, void *arg)
{
    end_vm(call, params, arg, true, false);
}

static void do_kill(struct rpc_call *call, json_t *params, void *arg)
{
    end_vm(call, params, arg, false, false);
}

static void do_destroy(struct rpc_call *call, json_t *params, void *arg)
{
    end_vm(call, params, arg, false, true);
}

static void do_status(struct rpc_call *call, json_t *params, void *arg)
{
    struct err err;
    struct vm *vm = agent_vm_of(arg, call, params, &err);
    if (vm)
        rpc_call_answer(call, vm_show(vm));
    else
        rpc_call_fail(call, &err);
}

static void do_list(struct rpc_call *call, json_t *params, void *arg)
{
    struct agent *a = arg;
    const char *job = json_string_value(json_object_get(params, "job"));
    json_t *list = json_array();
    struct vm *vm;
    list_each (vm, &a->vms, in)
        if (agent_may(vm, rpc_call_uid(call)) &&
            (!job || (vm->job && !strcmp(vm->job, job))))
            json_array_append_new(list, vm_show(vm));
    rpc_call_answer(call, json_pack("{s:o}", "vms", list));
}

static void do_wait(struct rpc_call *call, json_t *params, void *arg)
{
    struct err err;
    struct vm *vm = agent_vm_of(arg, call, params, &err);
    const char *until = json_string_value(json_object_get(params, "until"));
    if (!vm)
        rpc_call_fail(call, &err);
    else if (until && strcmp(until, "ready") && strcmp(until, "ended")) {
        err_set(&err, E_INPUT, "vm.wait: until '%s' is neither ready nor ended", until);
        rpc_call_fail(call, &err);
    } else
        agent_answer_when(call, vm,
                          until && !strcmp(until, "ready") ? UNTIL_READY : UNTIL_ENDED,
                          false);
}

/* The call stays open until the VM ends; the VM ends when the caller goes first. */
static void do_hold(struct rpc_call *call, json_t *params, void *arg)
{
    struct err err;
    struct vm *vm = agent_vm_of(arg, call, params, &err);
    if (!vm) {
        rpc_call_fail(call, &err);
        return;
    }
    if (!vm->leased) {
        err_set(&err, E_STATE, "VM '%s' was not deployed to be held", vm->name);
        rpc_call_fail(call, &err);
        return;
    }
    life_lease(vm, true);
    rpc_call_progress(call, json_pack("{s:b}", "held", 1));
    agent_answer_when(call, vm, UNTIL_ENDED, true);
}

static void do_console(struct rpc_call *call, json_t *params, void *arg)
{
    struct err err;
    struct vm *vm = agent_vm_of(arg, call, params, &err);
    if (vm)
        console_watch(vm, call, json_is_true(json_object_get(params, "write")));
    else
        rpc_call_fail(call, &err);
}

/* --- stats: its own worker, so that it never holds up a verb
 * -------------------------- */

static int read_stats(void *order, work_tell_f tell, json_t **out, struct err *err)
{
    AUTO_JSON all = NULL;
    if (vt_work(order, tell, &all, err) < 0)
        return -1;
    *out = json_incref(json_object_get(json_object_get(all, "vt"), "stats"));
    return 0;
}

static void do_stats(struct rpc_call *call, json_t *params, void *arg)
{
    enum { STATS_MS = 10000 };
    struct err err;
    struct vm *vm = agent_vm_of(arg, call, params, &err);
    if (!vm) {
        rpc_call_fail(call, &err);
        return;
    }
    struct vt_order order = {.vm = vm, .verb = VT_STATS};
    agent_answer_by_worker(call, arg,
                           (struct work_spec){.what = "statistics",
                                              .run = read_stats,
                                              .arg = &order,
                                              .timeout_ms = STATS_MS});
}

/* --- the list -------------------------------------------------------------------------- */

static void do_info(struct rpc_call *call, json_t *params, void *arg)
{
    struct agent *a = arg;
    size_t n = 0;
    struct vm *vm;
    list_each (vm, &a->vms, in)
        n++;
    json_t *types = json_array();
    for (const struct vt_ops *const *o = vt_types; *o; o++)
        json_array_append_new(types, json_string((*o)->name));
    json_t *info = json_pack("{s:I, s:I, s:o}", "pid", (json_int_t)getpid(), "uid",
                             (json_int_t)geteuid(), "types", types);
    /* How full it is, and of how many machines, is nobody else's to know. */
    if (info && agent_is_master(rpc_call_uid(call)))
        json_object_update_new(info, json_pack("{s:I, s:o, s:o}", "vms", (json_int_t)n,
                                               "reserved", reserve_show(a), "room",
                                               reserve_room(a)));
    rpc_call_answer(call, info);
}

const struct rpc_method agent_methods[] = {
    {"agent.info", do_info},
    {"vm.deploy", method_deploy},
    {"vm.boot", do_boot},
    {"vm.pause", do_pause},
    {"vm.resume", do_resume},
    {"vm.stop", do_stop},
    {"vm.kill", do_kill},
    {"vm.destroy", do_destroy},
    {"vm.status", do_status},
    {"vm.list", do_list},
    {"vm.wait", do_wait},
    {"vm.hold", do_hold},
    {"vm.exec", method_exec},
    {"vm.cp", method_cp},
    {"vm.load", method_load},
    {"vm.console", do_console},
    {"vm.stats", do_stats},
    {"vm.checkpoint", checkpoint_save},
    {"vm.restore", checkpoint_restore},
    {"job.begin", method_job_begin},
    {"job.end", method_job_end},
    {"node.check", method_node_check},
    {"ticket.claims", method_ticket_claims},
    {"ticket.plan", method_ticket_plan},
    {"ticket.refuse", method_ticket_refuse},
    {"image.offer", images_offer},
    {"image.part", images_part},
    {"image.commit", images_commit},
    {NULL, NULL},
};
