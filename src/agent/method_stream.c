/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that become streams to the guest: exec, cp, load. */
#include "agent/methods.h"

#include <stdlib.h>
#include <string.h>

#include "agent/guest.h"
#include "agent/identity.h"

/* A stream asked for while the VM boots, or its guest is only being talked to: it starts when
 * the guest is there. */
struct patient {
    struct rpc_call *call;
    struct agent *agent;
    struct life_waiter *waiter;
    const char *op;
    json_t *params;
};

static void patient_free(struct patient *p)
{
    json_decref(p->params);
    p->agent->busy--;
    agent_touch(p->agent);
    free(p);
}

static void patient_told(void *arg, struct vm *vm, const struct err *why)
{
    struct patient *p = arg;
    struct err none;
    json_t *request = NULL;
    rpc_call_on_gone(p->call, NULL, NULL);
    if (!vm)
        err_set(&none, E_NOENT, "the VM is gone");
    /* Only now is it known which groups the owner has in the guest. */
    if (why || !vm ||
        identity_exec(vm, rpc_call_uid(p->call), p->op, p->params, &request, &none) < 0)
        rpc_call_fail(p->call, why ? why : &none);
    else
        guest_relay(vm, p->call, request);
    patient_free(p);
}

static void patient_gone(struct rpc_call *call, void *arg)
{
    struct patient *p = arg;
    life_wait_cancel(p->waiter);
    rpc_call_drop(call);
    patient_free(p);
}

static void stream_later(struct rpc_call *call, struct vm *vm, const char *op,
                         json_t *params)
{
    struct err err;
    struct patient *p = calloc(1, sizeof *p);
    if (p)
        p->waiter = life_wait(vm, UNTIL_TALKS, patient_told, p);
    if (!p || !p->waiter) {
        free(p);
        err_oom(&err);
        rpc_call_fail(call, &err);
        return;
    }
    p->call = call;
    p->agent = vm->agent;
    p->op = op;
    p->params = json_incref(params);
    vm->agent->busy++;
    rpc_call_on_gone(call, patient_gone, p);
}

/* Nobody waits for a machine that is over: who was attached to a command of it is told
 * so, as a command that is not there. */
static bool is_over(const struct vm *vm)
{
    return state_is_over(vm->state) ||
           (vm->state == VM_STOPPING && (vm->failing || vm->forced));
}

/* "uid" says as whom it runs: in that user's machine of the name, or in the caller's. */
static struct vm *vm_of(struct agent *a, struct rpc_call *call, json_t *params,
                        struct err *err)
{
    struct vm *vm = agent_vm_of(a, call, params, err);
    if (vm || err->code != E_NOENT || !json_object_get(params, "uid"))
        return vm;
    AUTO_JSON which = json_pack("{s:O*, s:O*}", "vm", json_object_get(params, "vm"),
                                "job", json_object_get(params, "job"));
    if (!which) {
        err_oom(err);
        return NULL;
    }
    return agent_vm_of(a, call, which, err);
}

static void stream(struct rpc_call *call, json_t *params, struct agent *a,
                   const char *op)
{
    struct err err;
    struct vm *vm = vm_of(a, call, params, &err);
    json_t *request = NULL;
    if (vm && (vm->state == VM_FAILED || (vm->state == VM_STOPPING && vm->failing))) {
        err = vm->why;
        err_at(&err, "VM '%s' failed", vm->name);
        if (json_object_get(params, "attach"))
            err.code = E_NOENT;
        vm = NULL;
    } else if (vm && is_over(vm) && json_object_get(params, "attach")) {
        err_set(&err, E_NOENT, "VM '%s' is %s", vm->name, state_name(vm->state));
        vm = NULL;
    }
    if (!vm)
        rpc_call_fail(call, &err);
    else if (vm->state == VM_STAGING || vm->state == VM_BOOTING ||
             (vm->state == VM_RUNNING && guest_may_come(vm)))
        stream_later(call, vm, op, params);
    else if (identity_exec(vm, rpc_call_uid(call), op, params, &request, &err) < 0)
        rpc_call_fail(call, &err);
    else
        guest_relay(vm, call, request);
}

void method_exec(struct rpc_call *call, json_t *params, void *arg)
{
    stream(call, params, arg, "exec");
}

void method_cp(struct rpc_call *call, json_t *params, void *arg)
{
    const char *op = json_string_value(json_object_get(params, "op"));
    struct err err;
    if (op && (!strcmp(op, "put") || !strcmp(op, "get"))) {
        stream(call, params, arg, op);
        return;
    }
    err_set(&err, E_INPUT, "vm.cp: op must be 'put' or 'get'");
    rpc_call_fail(call, &err);
}

void method_load(struct rpc_call *call, json_t *params, void *arg)
{
    stream(call, params, arg, "load");
}
