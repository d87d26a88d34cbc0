/* SPDX-License-Identifier: Apache-2.0 */
/* The node's network links: taps, bridges, what joins what. By rtnetlink, as root. In workers:
 * each call opens a socket of its own, and blocks until the kernel has answered. */
#pragma once
#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>

bool link_exists(const char *name);
/* A tap that outlives its maker, and that uid may open; several: with more than one queue. */
int link_make_tap(const char *name, uid_t uid, bool several, struct err *err);
/* There, and up; somebody else may have made it meanwhile. */
int link_make_bridge(const char *name, struct err *err);
int link_up(const char *name, struct err *err);
int link_join(const char *name, const char *bridge, struct err *err);
/* "10.0.3.1/24"; once more changes nothing. */
int link_give_address(const char *name, const char *address, struct err *err);
/* One that is not there is gone. */
int link_delete(const char *name, struct err *err);
