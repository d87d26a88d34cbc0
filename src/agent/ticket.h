/* SPDX-License-Identifier: Apache-2.0 */
/* Tickets at the agent: proto/ticket.h checks them, this says what they give. */
#pragma once
#include "agent/agent.h"

/* The profile that the ticket grants uid for this job (NULL: not known). member: which
 * machine of a virtual cluster, -1 for a ticket of one profile. *own: what it names is
 * opened as the user. */
int agent_ticket(struct agent *a, const char *text, uid_t uid, const char *job,
                 int64_t member, struct profile **out, bool *own, struct err *err);

/* Which machines of the ticket's virtual cluster belong on node number `node` of the
 * job's `nodes`: {"machines": [{"member", "name", "vcpus", "memory_bytes"}]}. */
int agent_ticket_plan(const char *text, uid_t uid, const char *job, uint32_t node,
                      uint32_t nodes, json_t **out, struct err *err);

/* The claims of this node, for the controller. */
int agent_ticket_claims(json_t **out, struct err *err);
/* Is this job of that submission? "42_7" is of "42". */
bool agent_ticket_is_of(const char *job, const char *submission);

/* The machine's size from the job's: its share of the job's memory less what the
 * hypervisor takes (stated in lodge-slurm(8)), and all its CPUs. E_INPUT when the profile
 * needs more than that. 0: not told, the profile's own. */
int agent_fit(struct profile *p, uint64_t memory_bytes, uint32_t vcpus,
              struct err *err);
