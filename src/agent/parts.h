/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of staging (stage.c lists them): each makes what the profile asks for, and
 * clears what may be there from now or from before a crash. */
#pragma once
#include "agent/agent.h"
#include "agent/vt.h"

/* Control groups: the caller's (a job's) or one of our own per VM when root has them. */
int cgroup_make(struct vt_run *r, struct err *err);
int cgroup_clear(struct vt_run *r, struct err *err);
/* Empty groups of VMs whose agent is no more, of whatever agent: those that nobody has
 * touched for far longer than any start takes. */
void cgroup_sweep(void);
/* Does the VM belong into groups that somebody must move it to? */
bool cgroup_wanted(const struct vt_run *r);
/* Move a process, with all its threads. */
int cgroup_move(const struct vt_run *r, pid_t pid, struct err *err);

/* The calling process goes where `whom` is, in all hierarchies. */
void cgroup_follow(pid_t whom);

/* Disks that are made for it: scratch, and those without a path. */
int scratch_make(struct vt_run *r, struct err *err);
int scratch_clear(struct vt_run *r, struct err *err);

/* Taps and bridges; what the guest must know goes into r->vt. */
int net_make(struct vt_run *r, struct err *err);
int net_clear(struct vt_run *r, struct err *err);

/* Bridges of this agent's isolated networks that no VM with a row has; those without
 * ports are removed. How many there were. */
size_t net_sweep(const struct agent *a, bool remove);

/* virtiofsd for each share, as the owner. */
int share_make(struct vt_run *r, struct err *err);
int share_clear(struct vt_run *r, struct err *err);
/* A container's: each below DIR, for libvirt to bind. rootfs_unmount() takes them away. */
struct plan;
int share_mount(struct vt_run *r, const struct plan *plan, struct err *err);

/* What a profile of this owner names on the host must be theirs to open. */
int access_check(struct vt_run *r, struct err *err);
