/* SPDX-License-Identifier: Apache-2.0 */
/* Who this machine is: told by the agent at each hello, applied before any command. */
#pragma once
#include "base/err.h"

#include <jansson.h>

/* Apply request "identity" (docs/protocol-guest.md). What could not be done becomes a
 * sentence in warnings; only a request that makes no sense is an error. */
int identity_apply(const json_t *request, json_t *warnings, struct err *err);
/* Unmount "mounts" of an identity, the last first; one that is not mounted is no error. If
 * one cannot be, all are mounted as before. */
int identity_unmount(const json_t *mounts, struct err *err);
void identity_warn(json_t *warnings, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* The loopback interface up: a machine without networks has it, too. */
void net_loopback(json_t *warnings);
/* Addresses and routes by netlink; part of the above. */
void net_apply(const json_t *interfaces, const json_t *routes, json_t *warnings);
