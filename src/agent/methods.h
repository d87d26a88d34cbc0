/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's methods: what their files share. */
#pragma once
#include "agent/agent.h"
#include "agent/life.h"
#include "agent/work.h"

/* The VM that params name by "vm" or "job"; NULL with err. */
struct vm *agent_vm_of(struct agent *a, struct rpc_call *call, json_t *params,
                       struct err *err);
/* Only root may act for somebody else. */
int agent_may_act_for(struct rpc_call *call, json_int_t uid, json_int_t gid,
                      struct err *err);
/* Only whose agent it is may say that a VM belongs to a job, and to its cgroups. */
int agent_may_name_job(struct rpc_call *call, const char *job, const json_t *cgroups,
                       struct err *err);
/* Answer with the VM when it has come so far, or why it will not. holds: it goes when
 * the caller goes. */
void agent_answer_when(struct rpc_call *call, struct vm *vm, enum life_until until,
                       bool holds);
/* Answer with what a worker comes to; the agent does not end before. The spec says what, run,
 * arg and timeout_ms. */
void agent_answer_by_worker(struct rpc_call *call, struct agent *a,
                            struct work_spec spec);
/* This very user's VM of that name; NULL: none. */
struct vm *agent_find_own(struct agent *a, uid_t uid, const char *name);
void agent_new_id(const struct agent *a, char id[VM_ID_LEN + 1]);
/* May the new VM be: its type decided, its profile checked, its room found. memory and
 * vcpus: a job's own size, 0: the profile's. */
int agent_admit(struct agent *a, struct vm *vm, json_int_t memory_bytes,
                json_int_t vcpus, struct err *err);

/* Whoever comes with a profile of their own: only bridges that the site gives to users,
 * and only so many machines. */
int agent_may_start(struct agent *a, const struct vm *vm, struct err *err);

void method_deploy(struct rpc_call *call, json_t *params, void *agent);
void method_exec(struct rpc_call *call, json_t *params, void *agent);
void method_cp(struct rpc_call *call, json_t *params, void *agent);
void method_load(struct rpc_call *call, json_t *params, void *agent);
void method_job_begin(struct rpc_call *call, json_t *params, void *agent);
void method_node_check(struct rpc_call *call, json_t *params, void *arg);
void method_ticket_claims(struct rpc_call *call, json_t *params, void *arg);
void method_ticket_refuse(struct rpc_call *call, json_t *params, void *arg);
void method_ticket_plan(struct rpc_call *call, json_t *params, void *agent);
void method_job_end(struct rpc_call *call, json_t *params, void *agent);
