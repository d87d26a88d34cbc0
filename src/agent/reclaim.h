/* SPDX-License-Identifier: Apache-2.0 */
/* The sweep: what carries the id of a VM of ours (processes, run directories, taps,
 * disks, groups, mounts) but has no row any more, is taken back. */
#pragma once
#include "agent/agent.h"

/* For `lodge-agent --reclaim`: prints a line for each thing. */
int reclaim_print(struct agent *a, struct err *err);
