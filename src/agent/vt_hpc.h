/* SPDX-License-Identifier: Apache-2.0 */
/* Between vt_hpc.c and vt_hpc_snap.c: a lodge-vmm's checkpoint. In workers only. */
#pragma once
#include "agent/snap.h"
#include "proto/client.h"

/* Ask the VM's lodge-vmm; params stolen; opts may be NULL: a short time. */
int vt_hpc_call(struct vt_run *r, const char *method, json_t *params,
                const struct rpc_client_opts *opts, json_t **result, struct err *err);

int vt_hpc_checkpoint(struct vt_run *r, struct snap *c, struct err *err);
int vt_hpc_recover(struct vt_run *r, struct err *err);
/* For its configuration: where it comes back from. NULL without memory. */
json_t *vt_hpc_restore_json(const struct vt_run *r);
/* Until it has come back whole, or why it did not. */
int vt_hpc_await(struct vt_run *r, const char *control, struct err *err);
