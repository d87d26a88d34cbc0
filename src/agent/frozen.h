/* SPDX-License-Identifier: Apache-2.0 */
/* Frozen images: a checkpoint of a machine that was ready and had done nothing yet, kept
 * beside the images. A deploy of the same image with the same shape thaws it. */
#pragma once
#include "agent/snap.h"

/* Where the frozen image of this profile, with the image it boots, is or would be: its
 * name is a hash of the image's digest and of all that shapes the machine. NULL without
 * memory. In a worker or not. */
char *frozen_path(const struct profile *p, const char *digest);
/* May it be frozen? Only what belongs to no user. */
int frozen_may(const struct vm *vm, struct err *err);
/* In the worker of a boot: is there one that fits? Then r->snap and r->from are set.
 * Else, where there is one, r->vt's "start" says why it is not taken. */
void frozen_look(struct vt_run *r);
/* It could not be thawed: forget it for this start, and say why. */
void frozen_drop(struct vt_run *r, const struct err *why);
/* After the save: everybody's machines may start from it. */
int frozen_open_to_all(struct snap *c, struct err *err);
