/* SPDX-License-Identifier: Apache-2.0 */
/* Which VM a call means, who may reach it, and calls that wait for a state. */
#include "agent/methods.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool agent_is_master(uid_t uid)
{
    return uid == 0 || uid == geteuid();
}

bool agent_master_hears(uid_t uid, const json_t *data)
{
    return agent_is_master(uid);
}

bool agent_may(const struct vm *vm, uid_t uid)
{
    return uid == vm->uid || agent_is_master(uid);
}

int agent_may_act_for(struct rpc_call *call, json_int_t uid, json_int_t gid,
                      struct err *err)
{
    if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX)
        return err_set(err, E_INPUT, "%s: uid or gid out of bounds",
                       rpc_call_method(call));
    uid_t caller = rpc_call_uid(call);
    if (caller != 0 &&
        (uid != (json_int_t)caller || gid != (json_int_t)rpc_call_gid(call)))
        return err_set(err, E_PERM, "only root may act for another user");
    return 0;
}

int agent_may_name_job(struct rpc_call *call, const char *job, const json_t *cgroups,
                       struct err *err)
{
    if ((job || cgroups) && !agent_is_master(rpc_call_uid(call)))
        return err_set(err, E_PERM, "only root may name a job or its control groups");
    return 0;
}

struct vm *agent_find(struct agent *a, uid_t uid, const char *name, struct err *err)
{
    struct vm *vm, *found = NULL;
    list_each (vm, &a->vms, in) {
        if (!agent_may(vm, uid))
            continue;
        if (!strcmp(vm->id, name))
            return vm;
        if (strcmp(vm->name, name))
            continue;
        if (found && (found->uid == uid) == (vm->uid == uid)) {
            err_set(err, E_EXISTS, "several VMs are named '%s'; use an id", name);
            return NULL;
        }
        if (!found || vm->uid == uid)
            found = vm;
    }
    if (!found)
        err_set(err, E_NOENT, "no VM '%s' here; 'lodge vm list' shows yours", name);
    return found;
}

static struct vm *only_of_job(struct agent *a, uid_t uid, const char *job,
                              struct err *err)
{
    struct vm *vm, *found = NULL;
    list_each (vm, &a->vms, in) {
        if (!agent_may(vm, uid) || !vm->job || strcmp(vm->job, job))
            continue;
        if (found) {
            err_set(err, E_EXISTS, "job %s has several VMs here; name one", job);
            return NULL;
        }
        found = vm;
    }
    if (!found)
        err_set(err, E_NOENT, "job %s has no VM here", job);
    return found;
}

struct vm *agent_vm_of(struct agent *a, struct rpc_call *call, json_t *params,
                       struct err *err)
{
    const char *name = NULL, *job = NULL;
    uid_t uid = rpc_call_uid(call);
    json_int_t whose = uid; /* root may say whose VM it means */
    if (rpc_unpack(params, err, rpc_call_method(call), "{s?s, s?s, s?I}", "vm", &name,
                   "job", &job, "uid", &whose) < 0)
        return NULL;
    if (uid == 0)
        uid = (uid_t)whose;
    if (name)
        return agent_find(a, uid, name, err);
    if (job)
        return only_of_job(a, uid, job, err);
    err_set(err, E_INPUT, "%s: neither vm nor job is named", rpc_call_method(call));
    return NULL;
}

/* --- calls that wait ----------------------------------------------------------------
 */

struct waiting {
    struct rpc_call *call;
    struct life_waiter *waiter;
    struct agent *agent;
    bool holds; /* the VM goes when the caller goes */
    char id[VM_ID_LEN + 1];
};

static void waiting_free(struct waiting *w)
{
    w->agent->busy--;
    agent_touch(w->agent);
    free(w);
}

static void told(void *arg, struct vm *vm, const struct err *why)
{
    struct waiting *w = arg;
    if (why)
        rpc_call_fail(w->call, why);
    else
        rpc_call_answer(w->call, vm ? vm_show(vm) : NULL);
    if (vm && w->holds)
        life_lease_wait(vm);
    waiting_free(w);
}

static void gone(struct rpc_call *call, void *arg)
{
    struct waiting *w = arg;
    life_wait_cancel(w->waiter);
    struct vm *vm = w->holds ? agent_find(w->agent, 0, w->id, NULL) : NULL;
    rpc_call_drop(call);
    waiting_free(w);
    if (vm)
        life_lease(vm, false);
}

void agent_answer_when(struct rpc_call *call, struct vm *vm, enum life_until until,
                       bool holds)
{
    struct err err;
    int r = life_check(vm, until, &err);
    if (holds)
        life_lease(vm, true);
    if (r > 0) {
        rpc_call_answer(call, vm_show(vm));
        if (holds)
            life_lease_wait(vm);
        return;
    }
    struct waiting *w = r < 0 ? NULL : calloc(1, sizeof *w);
    if (w) {
        *w = (struct waiting){.call = call, .agent = vm->agent, .holds = holds};
        memcpy(w->id, vm->id, sizeof w->id);
        w->waiter = life_wait(vm, until, told, w);
    }
    if (!w || !w->waiter) {
        free(w);
        if (r == 0)
            err_oom(&err);
        rpc_call_fail(call, &err);
        return;
    }
    vm->agent->busy++;
    rpc_call_on_gone(call, gone, w);
}

/* --- by a worker ----------------------------------------------------------------------- */

enum { ASKED_MAX = 32 };

struct asked {
    struct rpc_call *call;
    struct agent *agent;
    uid_t uid;
    struct list in; /* agent.asked */
};

/* Each is a process of root's: nobody has any number of them made. */
static int may_ask(const struct agent *a, uid_t uid, struct err *err)
{
    const struct asked *q;
    unsigned n = 0;
    list_each (q, &a->asked, in)
        n += q->uid == uid;
    if (n < ASKED_MAX || agent_is_master(uid))
        return 0;
    return err_set(err, E_BUSY,
                   "uid %u has asked for %u such answers already; wait for some",
                   (unsigned)uid, n);
}

static void worker_done(void *arg, json_t *result, const struct err *why)
{
    struct asked *q = arg;
    if (why)
        rpc_call_fail(q->call, why);
    else
        rpc_call_answer(q->call, json_incref(result));
    list_remove(&q->in);
    q->agent->busy--;
    agent_touch(q->agent);
    free(q);
}

void agent_answer_by_worker(struct rpc_call *call, struct agent *a,
                            struct work_spec spec)
{
    struct err err = {0};
    struct work *w;
    uid_t uid = rpc_call_uid(call);
    struct asked *q = may_ask(a, uid, &err) < 0 ? NULL : calloc(1, sizeof *q);
    if (!q) {
        if (!err.code)
            err_oom(&err);
        rpc_call_fail(call, &err);
        return;
    }
    *q = (struct asked){.call = call, .agent = a, .uid = uid};
    list_add(&a->asked, &q->in);
    a->busy++;
    spec.event = a->event;
    spec.done = worker_done;
    spec.done_arg = q;
    if (work_start(&spec, &w, &err) < 0)
        worker_done(q, NULL, &err);
}
