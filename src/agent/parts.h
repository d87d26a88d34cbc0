/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of staging (stage.c lists them): each makes what the profile asks for, and
 * clears what may be there from now or from before a crash. */
#pragma once
#include "agent/vt.h"

int cgroup_make(struct vt_run *r, struct err *err);
int cgroup_clear(struct vt_run *r, struct err *err);
/* Move this worker, and so what it starts from now on, to the VM's groups. */
int cgroup_enter(struct vt_run *r, struct err *err);

int scratch_make(struct vt_run *r, struct err *err);
int scratch_clear(struct vt_run *r, struct err *err);
/* The scratch disk's path; the caller's. */
char *scratch_path(const struct vm *vm);

int net_make(struct vt_run *r, struct err *err);
int net_clear(struct vt_run *r, struct err *err);

int share_make(struct vt_run *r, struct err *err);
int share_clear(struct vt_run *r, struct err *err);
