/* SPDX-License-Identifier: Apache-2.0 */
/* A ticket is good for one job. Each node keeps to that by itself (proto/ticket.h); that
 * the same ticket is not used for two jobs on two nodes is seen here. A node tells after it
 * has begun, and is told to end the second job's machines: no start waits for lodged. What
 * nodes did while lodged was away is asked when they come back. */
#pragma once
#include "controller/lodged.h"

/* The event "ticket.claim" of a node. */
void claims_take(struct lodged *l, const char *node, const json_t *claim);
/* The node's link came up. */
void claims_node_up(struct lodged *l, const char *node);
/* Those of tickets that have expired go. */
int claims_forget(struct lodged *l, struct err *err);
