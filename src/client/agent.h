/* SPDX-License-Identifier: Apache-2.0 */
/* The way to lodge-agent, for the command line and the plugins. */
#pragma once
#include "proto/client.h"

/* The agent of this machine: $LODGE_AGENT_SOCKET, else the one in our run directory,
 * else the system's, else one of our own is started in the background; it ends by
 * itself when it has been idle for a while. */
int client_agent_open(struct rpc_client **out, struct err *err);
/* The same without starting one: E_UNAVAIL when none answers. */
int client_agent_find(struct rpc_client **out, struct err *err);
/* Before a machine is started on a node of the cluster: see that its image is there, if
 * the controller has it. Nothing without a node. */
int client_agent_bring(const char *node, const char *image, struct err *err);
/* The same, but an agent that ended while it had machines is started again. */
int client_agent_again(struct rpc_client **out, struct err *err);
/* The agent of a node of the cluster, by the controller. NULL: of this machine. */
int client_agent_open_node(const char *node, struct rpc_client **out, struct err *err);
