/* SPDX-License-Identifier: Apache-2.0 */
/* Tickets at the agent: proto/ticket.h checks them, this says what they give. */
#pragma once
#include "agent/agent.h"

/* The profile that the ticket grants uid for this job (NULL: not known). */
int agent_ticket(struct agent *a, const char *text, uid_t uid, const char *job,
                 struct profile **out, struct err *err);
