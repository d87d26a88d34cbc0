/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that run in the guest: their pipes or terminal on one side, a stream of the
 * channel on the other. A command with a token outlives the loss of its stream for a
 * while and can be taken up again without a byte lost. */
#pragma once
#include "guest/guest.h"

/* Requests exec, put, get, attach. */
void exec_open(struct guest *g, uint32_t stream, const char *op, const json_t *request);
void exec_attach(struct guest *g, uint32_t stream, const json_t *request);
/* MSG, DATA, EOF, CREDIT, CLOSE, GONE of a command's stream. */
void exec_event(struct guest *g, const struct chan_event *ev);
/* There is room again in the channel. */
void exec_all_go_on(struct guest *g);
/* Give up what lingered too long; when to call again, in ms, -1: not. */
int exec_tick(struct guest *g, uint64_t now_ms);
void exec_drop_all(struct guest *g);
