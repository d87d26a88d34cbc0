/* SPDX-License-Identifier: Apache-2.0 */
/* The sweep: what carries the id of a VM of ours (processes, run directories, taps,
 * bridges, disks, groups) but has no row any more, is taken back. */
#pragma once
#include "agent/agent.h"

/* At each start, after the rows are read; the work is a worker's. */
void reclaim_start(struct agent *a);
/* For `lodge-agent --reclaim`: reads the rows, sweeps, prints a line for each VM. */
int reclaim_print(struct agent *a, struct err *err);
