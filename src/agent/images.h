/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's part of images: taking them from the controller, holding those that its
 * machines run from. */
#pragma once
#include "agent/agent.h"

void images_offer(struct rpc_call *call, json_t *params, void *agent);
void images_part(struct rpc_call *call, json_t *params, void *agent);
void images_commit(struct rpc_call *call, json_t *params, void *agent);

/* Ask the controller for an image (NAME@sha256:...) of its store; false: nobody heard. */
bool images_want(struct agent *a, const char *ref);
enum { IMAGES_AWAIT_MS = 600000 };
/* In a worker: wait for what was asked for so, at most that long; nothing for a machine
 * that is no job's. */
int images_await(const struct vm *vm, struct err *err);

/* Keep the image of vm from being removed until images_release(). Twice is once; nothing
 * if it names none, or if it is not there (the boot tells). */
void images_hold(struct vm *vm);
void images_release(struct vm *vm);
