/* SPDX-License-Identifier: Apache-2.0 */
/* A container's root: the image's file system, read-only, with a writable layer in
 * memory (or in the scratch disk's file system) above it, at DIR/root. Needs root. */
#pragma once
#include "agent/plan.h"
#include "agent/vt.h"

int rootfs_mount(struct vt_run *r, const struct plan *plan, struct err *err);
/* Fine when nothing is mounted. */
int rootfs_unmount(struct vt_run *r, struct err *err);
