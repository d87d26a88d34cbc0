/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's end of the channel to lodge-guest, and the relays of clients over it. The
 * guest is not trusted: chan.h checks sizes, credits and states, and what it may open,
 * which is nothing. */
#pragma once
#include "agent/vm.h"
#include "proto/server.h"

/* Connect to the socket the type told, again and again, until closed. When the guest
 * says hello it gets its identity; when it has taken that, life_guest_up(). */
void guest_open(struct vm *vm);
void guest_close(struct vm *vm);
bool guest_is_up(const struct vm *vm);
/* It is not, but we have only begun to talk to it: after a boot, or when the agent came back. */
bool guest_may_come(const struct vm *vm);
/* Ask it to shut down; false: it does not listen. */
bool guest_shutdown(struct vm *vm);
/* Ask for anything else (request is stolen); told hears the guest's refusal, NULL when it
 * did it, or that it went away. It may be NULL. -1: it was not asked, and told will not be
 * called. */
typedef void (*guest_told_f)(void *arg, const struct err *why);
int guest_ask(struct vm *vm, json_t *request, guest_told_f told, void *arg,
              struct err *err);
/* It was paused: tell it what time it is. */
void guest_set_clock(struct vm *vm);
/* Open a stream with this request (stolen) and give the client of `call` to it: the
 * call is answered by an upgrade, or refused. */
void guest_relay(struct vm *vm, struct rpc_call *call, json_t *request);
