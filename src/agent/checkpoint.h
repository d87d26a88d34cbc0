/* SPDX-License-Identifier: Apache-2.0 */
/* The methods vm.checkpoint and vm.restore. */
#pragma once
#include "agent/life.h"
#include "proto/server.h"

/* {"vm", "to": absolute path, "stop": bool} (or "freeze": true, into the store of images,
 * in place of "to"): progress, then {"path", "id",
 * "downtime_us", "stored_bytes", "took_us"}. The directory is opened with the caller's
 * rights (root: those of "as_uid" and "as_gid", if given). */
void checkpoint_save(struct rpc_call *call, json_t *params, void *arg);
/* {"checkpoint": absolute path, "name"?, "wait"?}: the VM, as vm.deploy. */
void checkpoint_restore(struct rpc_call *call, json_t *params, void *arg);
