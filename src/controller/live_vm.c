/* SPDX-License-Identifier: Apache-2.0 */
/* lodged's methods about machines: start and stop them, alone or as a cluster, by
 * operations; say which run where, asked from all nodes at once. */
#include "controller/lodged.h"

#include <stdlib.h>
#include <string.h>

#include "controller/vm_plan.h"

typedef int (*planner_f)(struct lodged *l, const struct vm_caller *who, json_t *params,
                         struct vm_plan *out, struct err *err);

static void run(struct rpc_call *call, json_t *params, struct lodged *l,
                planner_f planner)
{
    struct err err;
    struct vm_plan plan = {0};
    struct vm_caller who = {rpc_call_uid(call), rpc_call_gid(call)};
    if (planner(l, &who, params, &plan, &err) < 0)
        rpc_call_fail(call, &err);
    else
        lodged_run_plan(l, call, &plan.plan, plan.wait);
    vm_plan_done(&plan);
}

/* Machines are started by root, or by users where the site lets them do so outside of jobs. */
static void run_start(struct rpc_call *call, json_t *params, struct lodged *l,
                      planner_f planner)
{
    struct err err;
    if (rpc_call_uid(call) != 0 && conf_outside_jobs(l->conf, &err) < 0)
        rpc_call_fail(call, &err);
    else
        run(call, params, l, planner);
}

static void live_vm_start(struct rpc_call *call, json_t *params, void *arg)
{
    run_start(call, params, arg, vm_plan_start);
}

static void live_vm_stop(struct rpc_call *call, json_t *params, void *arg)
{
    run(call, params, arg, vm_plan_stop);
}

static void live_cluster_start(struct rpc_call *call, json_t *params, void *arg)
{
    run_start(call, params, arg, vm_plan_cluster);
}

/* Which machines are where, by the books. */
static void live_vm_where(struct rpc_call *call, json_t *params, void *arg)
{
    struct lodged *l = arg;
    struct err err;
    json_t *rows = NULL;
    const char *cluster = json_string_value(json_object_get(params, "cluster"));
    uid_t uid = rpc_call_uid(call);
    if (store_placements(l->store, uid ? uid : (uid_t)-1, cluster, &rows, &err) < 0)
        rpc_call_fail(call, &err);
    else
        rpc_call_answer(call, rows);
}

/* --- what the nodes say ----------------------------------------------------------------- */

/* One question to all nodes; the caller may have gone when the last answer comes. */
struct gather {
    struct rpc_call *call;
    json_t *vms, *missing; /* machines; nodes that did not answer, with why */
    uid_t uid;
    size_t open;
};

struct asked {
    struct gather *g;
    char *node;
};

static void gather_end(struct gather *g)
{
    if (--g->open)
        return;
    rpc_call_answer(g->call,
                    json_pack("{s:o, s:o}", "vms", g->vms, "missing", g->missing));
    free(g);
}

static void miss(struct gather *g, const char *node, const char *why)
{
    json_array_append_new(g->missing,
                          json_pack("{s:s, s:s}", "node", node, "why", why));
}

static void on_vms(json_t *result, const struct err *why, void *arg)
{
    struct asked *a = arg;
    struct gather *g = a->g;
    json_t *vm;
    size_t i;
    if (why)
        miss(g, a->node, why->text);
    json_array_foreach (json_object_get(result, "vms"), i, vm) {
        if (g->uid &&
            json_integer_value(json_object_get(vm, "uid")) != (json_int_t)g->uid)
            continue;
        json_object_set_new(vm, "node", json_string(a->node));
        json_array_append(g->vms, vm);
    }
    free(a->node);
    free(a);
    gather_end(g);
}

static void ask(struct lodged *l, struct gather *g, const char *node)
{
    enum { ANSWER_MS = 5000 };
    struct err err;
    struct asked *a = calloc(1, sizeof *a);
    g->open++;
    if (a && (a->node = strdup(node))) {
        a->g = g;
        if (hub_call(l->hub, node, "vm.list", NULL, ANSWER_MS, on_vms, a, &err) == 0)
            return;
        free(a->node);
    } else {
        err_oom(&err);
    }
    free(a);
    miss(g, node, err.text);
    g->open--;
}

/* {"nodes"?: [...]}: {"vms": [as of the agents, with "node"], "missing": [{node, why}]}. */
static void live_vm_list(struct rpc_call *call, json_t *params, void *arg)
{
    struct lodged *l = arg;
    struct err err;
    AUTO_JSON rows = NULL;
    json_t *row, *only = json_object_get(params, "nodes");
    size_t i;
    struct gather *g = calloc(1, sizeof *g);
    if (!g || store_node_list(l->store, &rows, &err) < 0) {
        if (!g)
            err_oom(&err);
        free(g);
        rpc_call_fail(call, &err);
        return;
    }
    *g = (struct gather){call, json_array(), json_array(), rpc_call_uid(call), 1};
    json_array_foreach (rows, i, row) {
        json_t *name = json_object_get(row, "name"), *want;
        size_t k;
        bool wanted = !only;
        json_array_foreach (only, k, want)
            wanted |= json_equal(want, name);
        if (wanted)
            ask(l, g, json_string_value(name));
    }
    gather_end(g);
}

const struct rpc_method lodged_vm_methods[] = {
    {"vm.start", live_vm_start},
    {"vm.stop", live_vm_stop},
    {"vm.list", live_vm_list},
    {"vm.where", live_vm_where},
    {"cluster.start", live_cluster_start},
    {"cluster.stop", live_vm_stop},
    {NULL, NULL},
};
