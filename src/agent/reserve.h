/* SPDX-License-Identifier: Apache-2.0 */
/* What the node has, what VMs hold of it. A VM that is live, or about to be, holds what
 * its profile says: the rows are the books, nothing else is kept. */
#pragma once
#include "agent/agent.h"

/* Does vm fit beside all others? What its profile leaves open (NUMA nodes, devices of a
 * class) is chosen and written into it. E_BUSY says what is missing and who holds it. */
int reserve_check(struct agent *a, struct vm *vm, struct err *err);
/* Can this node run machines of the type at all? E_UNAVAIL says why not. */
int reserve_can_run(struct agent *a, enum profile_type type, struct err *err);
/* What a new VM could still get: {"cpus", "memory_bytes", "types": [...]}, for placement by
 * the controller. */
json_t *reserve_room(struct agent *a);
/* What there is and who holds it, by page size and NUMA node, for agent.info. */
json_t *reserve_show(struct agent *a);
