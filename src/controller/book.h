/* SPDX-License-Identifier: Apache-2.0 */
/* lodged's book of events: what nodes, machines and operations did. Written down together,
 * a moment later, then told to who listens: thousands of machines may start at once. */
#pragma once
#include "proto/server.h"
#include "store/nodes.h"

struct book;
int book_new(sd_event *event, struct store *store, struct book **out, struct err *err);
/* Writes what is still open. */
void book_free(struct book *b);
OWN_DEFINE(book)
/* Tell these clients as well, from now on; NULL: none. */
void book_tell(struct book *b, struct rpc_server *server);

/* Steals data. Strings are copied; node, vm, job may be NULL. */
void book_add(struct book *b, uid_t who, const char *node, const char *vm,
              const char *job, const char *what, json_t *data);
