/* SPDX-License-Identifier: Apache-2.0 */
/* A VM's console: read all the time, the last 64 KiB kept (also over a restart of the
 * agent), shown to many watchers; one of them may type. */
#pragma once
#include "agent/vm.h"
#include "proto/server.h"

/* Connect (again and again) to what the type told; opens the kept text. */
void console_open(struct vm *vm);
/* The machine is over: watchers hear the end when they have read all; the text stays. */
void console_over(struct vm *vm);
/* For good. */
void console_close(struct vm *vm);
/* Answer `call` by an upgrade to raw bytes: the kept text, then what comes. Bytes from
 * the client are typed if it is the writer: `write` asks for that. */
void console_watch(struct vm *vm, struct rpc_call *call, bool write);
/* Take in what is there to read. */
void console_drain(struct vm *vm);
/* The last line with letters; "" if there is none. */
void console_last_line(struct vm *vm, char *line, size_t size);
/* Did the guest end by itself in a bad way? The text has the kernel's words. */
bool console_tells_end(struct vm *vm, struct err *why);
