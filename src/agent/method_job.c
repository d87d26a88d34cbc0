/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs: all VMs that a batch job has on this node. */
#include "agent/methods.h"

#include <stdlib.h>
#include <string.h>

#include "agent/ticket.h"

static int may_rule_jobs(struct rpc_call *call, struct err *err)
{
    return agent_is_master(rpc_call_uid(call))
               ? 0
               : err_set(err, E_PERM, "only root begins and ends jobs");
}

static int job_of(struct rpc_call *call, json_t *params, const char **job,
                  struct err *err)
{
    return rpc_unpack(params, err, rpc_call_method(call), "{s:s}", "job", job) < 0
               ? -1
               : may_rule_jobs(call, err);
}

/* Which machines of a virtual cluster belong here: what the batch system's plugin then
 * deploys one by one. */
void method_ticket_plan(struct rpc_call *call, json_t *params, void *arg)
{
    const char *ticket, *job;
    json_int_t uid, node, nodes;
    json_t *plan = NULL;
    struct err err;
    if (rpc_unpack(params, &err, "ticket.plan", "{s:s, s:s, s:I, s:I, s:I !}", "ticket",
                   &ticket, "job", &job, "uid", &uid, "node", &node, "nodes",
                   &nodes) < 0 ||
        may_rule_jobs(call, &err) < 0) {
        rpc_call_fail(call, &err);
        return;
    }
    if (uid < 0 || uid >= UINT32_MAX || nodes < 1 || nodes > UINT16_MAX || node < 0 ||
        node >= nodes)
        err_set(&err, E_INPUT, "ticket.plan: a number is out of bounds");
    else if (agent_ticket_plan(ticket, uid, job, node, nodes, &plan, &err) == 0) {
        rpc_call_answer(call, plan);
        return;
    }
    rpc_call_fail(call, &err);
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
void method_job_begin(struct rpc_call *call, json_t *params, void *arg)
{
    const char *job;
    struct err err;
    if (job_of(call, params, &job, &err) < 0)
        rpc_call_fail(call, &err);
    else
        job_answer(arg, call, job, UNTIL_READY);
}

/* The job is over: all of it goes. Fine when there is nothing. */
void method_job_end(struct rpc_call *call, json_t *params, void *arg)
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

static int root_only(struct rpc_call *call, struct err *err)
{
    return agent_is_master(rpc_call_uid(call))
               ? 0
               : err_set(err, E_PERM, "only the controller asks this");
}

void method_ticket_claims(struct rpc_call *call, json_t *params, void *arg)
{
    struct err err;
    json_t *claims = NULL;
    if (root_only(call, &err) < 0 || agent_ticket_claims(&claims, &err) < 0)
        rpc_call_fail(call, &err);
    else
        rpc_call_answer(call, json_pack("{s:o}", "claims", claims));
}

/* The ticket of this job was another's first: its machines end. */
void method_ticket_refuse(struct rpc_call *call, json_t *params, void *arg)
{
    struct agent *a = arg;
    struct err err;
    const char *job, *first, *node;
    if (root_only(call, &err) < 0 ||
        rpc_unpack(params, &err, "ticket.refuse", "{s:s, s:s, s:s !}", "job", &job,
                   "first", &first, "node", &node) < 0) {
        rpc_call_fail(call, &err);
        return;
    }
    struct err why;
    err_set(&why, E_PERM,
            "the ticket was used before, for job %s on node %s: each job needs its own",
            first, node);
    struct vm *vm, *next;
    list_each_safe (vm, next, &a->vms, in)
        if (vm->job && agent_ticket_is_of(vm->job, job) && state_is_live(vm->state))
            life_fail(vm, &why);
    rpc_call_answer(call, NULL);
}
