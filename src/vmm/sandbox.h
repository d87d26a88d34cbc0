/* SPDX-License-Identifier: Apache-2.0 */
/* The sandbox: what a guest that broke out of its devices would still not have. */
#pragma once
#include "base/err.h"

struct config;
struct vm;

/* First of all: a new user (unless root) and pid namespace, entered by forking. The
 * parent stays, passes signals on, and exits with the child's status: it never returns
 * from here. The child returns 0 and dies with the parent. */
int sandbox_enter(const struct config *c, struct err *err);
/* When everything is open: the other namespaces, an empty root, own ids, no capability,
 * no new privileges, limits. */
int sandbox_close(struct vm *vm, struct err *err);
/* When all threads run: the control thread's own filter. */
int sandbox_filters(struct vm *vm, struct err *err);
void sandbox_free(struct vm *vm);
