/* SPDX-License-Identifier: Apache-2.0 */
/* Whose fault is a failure? The node's is what another node might not have; all else is
 * the job's. A guest must not be able to drain nodes: what it says wrongly (E_PROTO) or
 * too late (E_TIMEOUT) counts only where no guest can be its cause. */
#pragma once
#include "base/err.h"

#include <stdbool.h>

/* Of a request to the agent, before there is a guest. */
static inline bool fault_of_request(enum err_code code)
{
    return code == E_UNAVAIL || code == E_SYS || code == E_IO || code == E_TIMEOUT ||
           code == E_BUG || code == E_HOST || code == E_PROTO;
}

/* Of a machine that did not come up. */
static inline bool fault_of_machine(enum err_code code)
{
    return code == E_UNAVAIL || code == E_SYS || code == E_HOST;
}
