/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent can be asked. docs/lodge-agent.8.adoc describes each method; the table
 * at the end is the list. A VM is named by "vm": its name or id. */
#include "agent/agent.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent/console.h"
#include "agent/guest.h"
#include "agent/identity.h"
#include "agent/life.h"
#include "agent/reserve.h"
#include "agent/ticket.h"
#include "agent/vt.h"
#include "base/log.h"
#include "base/str.h"
#include "place/auto.h"
#include "profile/profile.h"
#include "profile/types.h"

/* --- who may, and which one ------------------------------------------------------- */

bool agent_may(const struct vm *vm, uid_t uid)
{
    /* The agent's own user rules over all of it: root on a node, else whose agent. */
    return uid == 0 || uid == vm->uid || uid == geteuid();
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

static struct vm *vm_of(struct agent *a, struct rpc_call *call, json_t *params,
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
    struct err why;
    err_set(&why, E_CANCELLED, "the caller went away");
    life_wait_cancel(w->waiter);
    struct vm *vm = w->holds ? agent_find(w->agent, 0, w->id, NULL) : NULL;
    rpc_call_fail(call, &why);
    waiting_free(w);
    if (vm)
        life_lease(vm, false);
}

static void answer_when(struct rpc_call *call, struct vm *vm, enum life_until until,
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

/* --- deploy
 * --------------------------------------------------------------------------- */

static void new_id(const struct agent *a, char *id)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char b[VM_ID_LEN];
    do {
        if (getrandom(b, sizeof b, 0) != sizeof b)
            memset(b, 0, sizeof b);
        for (int i = 0; i < VM_ID_LEN; i++)
            id[i] = i < 3 ? a->tag[i] : hex[b[i] & 15];
        id[VM_ID_LEN] = '\0';
    } while (agent_find((struct agent *)a, 0, id, NULL));
}

static struct vm *find_own(struct agent *a, uid_t uid, const char *name)
{
    struct vm *vm;
    list_each (vm, &a->vms, in)
        if (vm->uid == uid && !strcmp(vm->name, name))
            return vm;
    return NULL;
}

static char *free_name(struct agent *a, uid_t uid, const char *base)
{
    for (unsigned i = 1;; i++) {
        char *name = i == 1 ? strdup(base) : str_printf("%.50s-%u", base, i);
        if (!name || !find_own(a, uid, name))
            return name;
        free(name);
    }
}

struct deploy {
    const char *name, *job, *request, *ticket;
    json_t *profile, *cgroups;
    json_int_t uid, gid;
    json_int_t memory_bytes, vcpus; /* the job's own size; 0: the profile's */
    int boot, wait, leased;
};

static int deploy_decode(struct rpc_call *call, json_t *params, struct deploy *d,
                         struct err *err)
{
    *d = (struct deploy){.uid = rpc_call_uid(call), .gid = -1, .boot = 1};
    if (rpc_unpack(params, err, "vm.deploy",
                   "{s?s, s?s, s?s, s?s, s?o, s?o, s?I, s?I, s?I, s?I, s?b, s?b, s?b "
                   "!}",
                   "name", &d->name, "job", &d->job, "request", &d->request, "ticket",
                   &d->ticket, "profile", &d->profile, "cgroups", &d->cgroups, "uid",
                   &d->uid, "gid", &d->gid, "memory_bytes", &d->memory_bytes, "vcpus",
                   &d->vcpus, "boot", &d->boot, "wait", &d->wait, "leased",
                   &d->leased) < 0)
        return -1;
    if (d->name && !str_is_name(d->name))
        return err_set(err, E_INPUT,
                       "'%s' cannot name a VM: use letters, digits, . _ -", d->name);
    uid_t caller = rpc_call_uid(call);
    if (d->gid < 0)
        d->gid = rpc_call_gid(call);
    bool rules = caller == 0 || caller == geteuid();
    if (caller != 0 &&
        (d->uid != (json_int_t)caller || d->gid != (json_int_t)rpc_call_gid(call)))
        return err_set(err, E_PERM, "only root may deploy for another user");
    if (!rules && (d->memory_bytes || d->vcpus))
        return err_set(err, E_PERM, "only root may change the size of a profile");
    if (d->memory_bytes < 0 || d->vcpus < 0 || d->vcpus > UINT32_MAX)
        return err_set(err, E_INPUT, "vm.deploy: memory_bytes or vcpus out of bounds");
    if (!rules && (d->cgroups || d->job))
        return err_set(err, E_PERM, "only root may name a job or its control groups");
    if (d->uid < 0 || d->uid >= UINT32_MAX || d->gid < 0 || d->gid >= UINT32_MAX)
        return err_set(err, E_INPUT, "vm.deploy: uid or gid out of bounds");
    return 0;
}

/* The profile of the request: from a ticket, or as given. */
static int deploy_profile(struct agent *a, struct rpc_call *call, struct deploy *d,
                          struct profile **out, struct err *err)
{
    if (d->ticket)
        return agent_ticket(a, d->ticket, d->uid, d->job, out, err);
    if (!d->profile)
        return err_set(err, E_INPUT, "vm.deploy: neither a profile nor a ticket");
    return profile_from_json(d->profile, out, err);
}

static int deploy_make(struct agent *a, struct rpc_call *call, struct deploy *d,
                       struct vm **out, struct err *err)
{
    AUTO(vm) vm = calloc(1, sizeof *vm);
    if (!vm)
        return err_oom(err);
    list_init(&vm->in);
    list_init(&vm->waiters);
    if (deploy_profile(a, call, d, &vm->profile, err) < 0)
        return -1;
    new_id(a, vm->id);
    vm->name = d->name ? strdup(d->name) : free_name(a, d->uid, vm->profile->name);
    vm->job = d->job ? strdup(d->job) : NULL;
    vm->request = d->request ? strdup(d->request) : NULL;
    vm->uid = d->uid;
    vm->gid = d->gid;
    vm->leased = d->leased;
    vm->cgroups = json_incref(d->cgroups);
    vm->vt = json_object();
    if (!vm->name || !vm->vt)
        return err_oom(err);
    char reason[200] = "";
    if (vm->profile->type == PROFILE_AUTO &&
        place_auto(agent_facts(a), vm->profile, &vm->profile->type, reason,
                   sizeof reason, err) < 0)
        return -1;
    if (agent_fit(vm->profile, d->memory_bytes, d->vcpus, err) < 0)
        return err_at(err, "profile '%s'", vm->profile->name);
    const struct vt_ops *ops = vt_find(vm->profile->type);
    if (!ops)
        return err_set(err, E_UNAVAIL, "this agent has no type '%s'",
                       profile_type_names[vm->profile->type]);
    enum profile_cap missing;
    if (!profile_type_fits(vm->profile->type, vm->profile, &missing))
        return err_set(err, E_INPUT, "profile '%s': type '%s' cannot %s",
                       vm->profile->name, ops->name, profile_cap_texts[missing]);
    if (ops->check(vm->profile, err) < 0 || reserve_check(a, vm, err) < 0)
        return err_at(err, "profile '%s'", vm->profile->name);
    if (*reason)
        json_object_set_new(vm->vt, "reason", json_string(reason));
    *out = move(vm);
    return 0;
}

/* Is this the request that made `old`, sent again? */
static bool same_deploy(const struct vm *old, const struct deploy *d)
{
    if (d->request && old->request)
        return !strcmp(d->request, old->request);
    AUTO(profile) wanted = NULL;
    if (!d->profile || profile_from_json(d->profile, &wanted, NULL) < 0)
        return false;
    if (wanted->type == PROFILE_AUTO)
        wanted->type = old->profile->type;
    AUTO_JSON a = profile_to_json(wanted);
    AUTO_JSON b = profile_to_json(old->profile);
    return state_is_live(old->state) && a && b && json_equal(a, b);
}

static void do_deploy(struct rpc_call *call, json_t *params, void *arg)
{
    struct agent *a = arg;
    struct deploy d;
    struct err err;
    struct vm *vm = NULL;
    if (deploy_decode(call, params, &d, &err) < 0) {
        rpc_call_fail(call, &err);
        return;
    }
    struct vm *old = d.name ? find_own(a, d.uid, d.name) : NULL;
    if (old && !same_deploy(old, &d)) {
        err_set(&err, E_EXISTS,
                "there is a VM '%s' already (%s); destroy it first or "
                "take another name",
                d.name, state_name(old->state));
        rpc_call_fail(call, &err);
        return;
    }
    if (old) {
        vm = old; /* the same request again */
    } else if (deploy_make(a, call, &d, &vm, &err) < 0) {
        rpc_call_fail(call, &err);
        return;
    } else if (life_define(a, vm, &err) < 0) {
        vm_free(vm);
        rpc_call_fail(call, &err);
        return;
    } else if (d.boot && life_boot(vm, &err) < 0) {
        rpc_call_fail(call, &err);
        return;
    }
    if (d.leased && !d.wait)
        life_lease_wait(vm);
    if (d.wait && d.boot)
        answer_when(call, vm, UNTIL_READY, d.leased);
    else
        rpc_call_answer(call, vm_show(vm));
}

/* --- verbs
 * ------------------------------------------------------------------------------ */

static void do_boot(struct rpc_call *call, json_t *params, void *arg)
{
    struct err err;
    struct vm *vm = vm_of(arg, call, params, &err);
    if (!vm || life_boot(vm, &err) < 0)
        rpc_call_fail(call, &err);
    else if (json_is_false(json_object_get(params, "wait")))
        rpc_call_answer(call, vm_show(vm));
    else
        answer_when(call, vm, UNTIL_READY, false);
}

static void pause_or_resume(struct rpc_call *call, json_t *params, struct agent *a,
                            bool pause)
{
    struct err err;
    struct vm *vm = vm_of(a, call, params, &err);
    if (!vm || life_pause(vm, pause, &err) < 0)
        rpc_call_fail(call, &err);
    else
        answer_when(call, vm, UNTIL_IDLE, false);
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
    struct vm *vm = vm_of(a, call, params, &err);
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
        answer_when(call, vm, UNTIL_ENDED, false);
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
    struct vm *vm = vm_of(arg, call, params, &err);
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
    struct vm *vm = vm_of(arg, call, params, &err);
    const char *until = json_string_value(json_object_get(params, "until"));
    if (!vm)
        rpc_call_fail(call, &err);
    else if (until && strcmp(until, "ready") && strcmp(until, "ended")) {
        err_set(&err, E_INPUT, "vm.wait: until '%s' is neither ready nor ended", until);
        rpc_call_fail(call, &err);
    } else
        answer_when(call, vm,
                    until && !strcmp(until, "ready") ? UNTIL_READY : UNTIL_ENDED,
                    false);
}

/* The call stays open until the VM ends; the VM ends when the caller goes first. */
static void do_hold(struct rpc_call *call, json_t *params, void *arg)
{
    struct err err;
    struct vm *vm = vm_of(arg, call, params, &err);
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
    answer_when(call, vm, UNTIL_ENDED, true);
}

/* A stream asked for while the VM boots: it starts when the guest is there. */
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
    struct err why;
    err_set(&why, E_CANCELLED, "the caller went away");
    life_wait_cancel(p->waiter);
    rpc_call_fail(call, &why);
    patient_free(p);
}

static void stream_later(struct rpc_call *call, struct vm *vm, const char *op,
                         json_t *params)
{
    struct err err;
    struct patient *p = calloc(1, sizeof *p);
    if (p)
        p->waiter = life_wait(vm, UNTIL_READY, patient_told, p);
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
    return vm->state == VM_FAILED || vm->state == VM_GONE ||
           (vm->state == VM_STOPPING && (vm->failing || vm->forced));
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
    else if (vm->state == VM_STAGING || vm->state == VM_BOOTING)
        stream_later(call, vm, op, params);
    else if (identity_exec(vm, rpc_call_uid(call), op, params, &request, &err) < 0)
        rpc_call_fail(call, &err);
    else
        guest_relay(vm, call, request);
}

static void do_exec(struct rpc_call *call, json_t *params, void *arg)
{
    stream(call, params, arg, "exec");
}

static void do_cp(struct rpc_call *call, json_t *params, void *arg)
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

static void do_load(struct rpc_call *call, json_t *params, void *arg)
{
    stream(call, params, arg, "load");
}

static void do_console(struct rpc_call *call, json_t *params, void *arg)
{
    struct err err;
    struct vm *vm = vm_of(arg, call, params, &err);
    if (vm)
        console_watch(vm, call, json_is_true(json_object_get(params, "write")));
    else
        rpc_call_fail(call, &err);
}

/* --- stats: its own worker, so that it never holds up a verb
 * -------------------------- */

struct asking {
    struct rpc_call *call;
    struct agent *agent;
};

static void on_stats(void *arg, json_t *result, const struct err *why)
{
    struct asking *q = arg;
    if (why)
        rpc_call_fail(q->call, why);
    else
        rpc_call_answer(q->call, json_incref(json_object_get(
                                     json_object_get(result, "vt"), "stats")));
    q->agent->busy--;
    agent_touch(q->agent);
    free(q);
}

static void do_stats(struct rpc_call *call, json_t *params, void *arg)
{
    enum { STATS_MS = 10000 };
    struct agent *a = arg;
    struct err err;
    struct vm *vm = vm_of(a, call, params, &err);
    struct asking *q = vm ? calloc(1, sizeof *q) : NULL;
    if (!q) {
        if (vm)
            err_oom(&err);
        rpc_call_fail(call, &err);
        return;
    }
    *q = (struct asking){.call = call, .agent = a};
    a->busy++;
    struct vt_order order = {.vm = vm, .verb = VT_STATS};
    struct work_spec spec = {.event = a->event,
                             .what = "statistics",
                             .run = vt_work,
                             .done = on_stats,
                             .arg = &order,
                             .done_arg = q,
                             .timeout_ms = STATS_MS};
    struct work *w;
    if (work_start(&spec, &w, &err) < 0)
        on_stats(q, NULL, &err);
}

/* --- jobs
 * -------------------------------------------------------------------------------- */

static int job_of(struct rpc_call *call, json_t *params, const char **job,
                  struct err *err)
{
    if (rpc_unpack(params, err, rpc_call_method(call), "{s:s}", "job", job) < 0)
        return -1;
    if (rpc_call_uid(call) != 0 && rpc_call_uid(call) != geteuid())
        return err_set(err, E_PERM, "only root begins and ends jobs");
    return 0;
}

/* A VM of the job that is not there yet. */
static struct vm *of_job(struct agent *a, const char *job, enum life_until until)
{
    struct vm *vm;
    list_each (vm, &a->vms, in)
        if (vm->job && !strcmp(vm->job, job) &&
            (until == UNTIL_ENDED || life_check(vm, until, NULL) <= 0))
            return vm;
    return NULL;
}

/* A job's VMs one after the other: when one is ready (or gone), the next is looked at.
 */
struct job_wait {
    struct rpc_call *call;
    struct agent *agent;
    enum life_until until;
    struct life_waiter *waiter;
    char *job;
};

static void job_done(struct job_wait *j, const struct err *why)
{
    if (why)
        rpc_call_fail(j->call, why);
    else
        rpc_call_answer(j->call, NULL);
    j->agent->busy--;
    agent_touch(j->agent);
    free(j->job);
    free(j);
}

static void job_next(struct job_wait *j);

static void job_told(void *arg, struct vm *vm, const struct err *why)
{
    struct job_wait *j = arg;
    j->waiter = NULL;
    if (why && j->until == UNTIL_READY)
        job_done(j, why);
    else
        job_next(j);
}

static void job_gone(struct rpc_call *call, void *arg)
{
    struct job_wait *j = arg;
    struct err why;
    err_set(&why, E_CANCELLED, "the caller went away");
    life_wait_cancel(j->waiter);
    job_done(j, &why);
}

static void job_next(struct job_wait *j)
{
    struct vm *vm = of_job(j->agent, j->job, j->until);
    struct err why = {0};
    if (!vm) {
        job_done(j, NULL);
        return;
    }
    if (j->until == UNTIL_READY && life_check(vm, j->until, &why) < 0) {
        job_done(j, &why);
        return;
    }
    j->waiter = life_wait(vm, j->until, job_told, j);
    if (!j->waiter) {
        err_oom(&why);
        job_done(j, &why);
    }
}

static void job_answer(struct agent *a, struct rpc_call *call, const char *job,
                       enum life_until until)
{
    struct err err;
    struct job_wait *j = calloc(1, sizeof *j);
    if (!j || !(j->job = strdup(job))) {
        free(j);
        err_oom(&err);
        rpc_call_fail(call, &err);
        return;
    }
    j->call = call;
    j->agent = a;
    j->until = until;
    a->busy++;
    rpc_call_on_gone(call, job_gone, j);
    job_next(j);
}

/* All VMs of the job are ready, or why not. */
static void do_job_begin(struct rpc_call *call, json_t *params, void *arg)
{
    const char *job;
    struct err err;
    if (job_of(call, params, &job, &err) < 0)
        rpc_call_fail(call, &err);
    else
        job_answer(arg, call, job, UNTIL_READY);
}

/* The job is over: all of it goes. Fine when there is nothing. */
static void do_job_end(struct rpc_call *call, json_t *params, void *arg)
{
    struct agent *a = arg;
    const char *job;
    struct err err;
    if (job_of(call, params, &job, &err) < 0) {
        rpc_call_fail(call, &err);
        return;
    }
    struct vm *vm, *next;
    list_each_safe (vm, next, &a->vms, in)
        if (vm->job && !strcmp(vm->job, job))
            life_stop(vm, false, true, NULL);
    if (json_is_false(json_object_get(params, "wait")))
        rpc_call_answer(call, NULL);
    else
        job_answer(a, call, job, UNTIL_ENDED);
}

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
    rpc_call_answer(call, json_pack("{s:I, s:I, s:I, s:o, s:o, s:o}", "pid",
                                    (json_int_t)getpid(), "uid", (json_int_t)geteuid(),
                                    "vms", (json_int_t)n, "types", types, "reserved",
                                    reserve_show(a), "room", reserve_room(a)));
}

const struct rpc_method agent_methods[] = {
    {"agent.info", do_info},  {"vm.deploy", do_deploy},
    {"vm.boot", do_boot},     {"vm.pause", do_pause},
    {"vm.resume", do_resume}, {"vm.stop", do_stop},
    {"vm.kill", do_kill},     {"vm.destroy", do_destroy},
    {"vm.status", do_status}, {"vm.list", do_list},
    {"vm.wait", do_wait},     {"vm.hold", do_hold},
    {"vm.exec", do_exec},     {"vm.cp", do_cp},
    {"vm.load", do_load},     {"vm.console", do_console},
    {"vm.stats", do_stats},   {"job.begin", do_job_begin},
    {"job.end", do_job_end},  {NULL, NULL},
};
