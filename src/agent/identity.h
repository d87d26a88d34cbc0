/* SPDX-License-Identifier: Apache-2.0 */
/* The requests that go to lodge-guest: who it is, and what clients ask of it. */
#pragma once
#include "agent/vt.h"

/* In the worker, at boot: users and groups of the owner, names, mounts, interfaces;
 * into r->vt's "identity" (sent) and "groups" (what the owner may be). */
int identity_make(struct vt_run *r, struct err *err);
/* The identity request: what boot made, and the clock and entropy of now. NULL without
 * memory. */
json_t *identity_request(const struct vm *vm);
/* What it answered: 0, or its refusal. */
int identity_answer(const json_t *message, struct err *err);
json_t *identity_shutdown(void);
/* After a pause: what time it is. NULL for types whose clock is the host's. */
json_t *identity_clock(const struct vm *vm);
/* A client's exec, attach, put or get: the request, with the ids that this caller may
 * have. */
int identity_exec(const struct vm *vm, uid_t caller, const char *op, json_t *params,
                  json_t **request, struct err *err);
