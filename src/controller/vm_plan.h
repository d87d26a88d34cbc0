/* SPDX-License-Identifier: Apache-2.0 */
/* From a request to start or stop machines to a plan of steps. Reads the store and what the
 * links know; changes nothing. */
#pragma once
#include "controller/lodged.h"

struct vm_caller {
    uid_t uid;
    gid_t gid;
};
struct vm_plan {
    struct plan plan; /* its strings and steps belong to the members below */
    bool wait;
    json_t *keep; /* everything borrowed from JSON */
};
void vm_plan_done(struct vm_plan *p);

/* {"profile": NAME | "resolved": {...}, "name"?, "node"?, "wait"?, "request"?} */
int vm_plan_start(struct lodged *l, const struct vm_caller *who, json_t *params,
                  struct vm_plan *out, struct err *err);
/* {"cluster", "node"?, "wait"?, "request"?}: all its machines, or none. Its machines are
 * named CLUSTER-MEMBERn. One with networks of its own must fit on one node. */
int vm_plan_cluster(struct lodged *l, const struct vm_caller *who, json_t *params,
                    struct vm_plan *out, struct err *err);
/* {"name" | "cluster", "wait"?, "request"?} */
int vm_plan_stop(struct lodged *l, const struct vm_caller *who, json_t *params,
                 struct vm_plan *out, struct err *err);

void lodged_run_plan(struct lodged *l, struct rpc_call *call, const struct plan *plan,
                     bool wait);
