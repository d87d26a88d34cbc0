/* SPDX-License-Identifier: Apache-2.0 */
/* What lodged is made of, for its own files. */
#pragma once
#include "base/conf.h"
#include "controller/book.h"
#include "controller/dispatch.h"
#include "controller/hub.h"
#include "controller/runner.h"
#include "proto/server.h"

struct lodged {
    sd_event *event;
    struct conf *conf;
    struct dispatch *dispatch;
    struct store *store; /* the dispatch's */
    struct hub *hub;
    struct book *book;
    struct runner *runner;
    struct rpc_server *server;
    json_t *wanted;        /* {"NODE IMAGE": operation that sends it} */
    const char *path;      /* of its socket */
    sd_event_source *gate; /* the process that serves submit hosts; NULL: none */
};

/* Connect to the nodes of the store, take up unfinished operations. */
int lodged_start(struct lodged *l, struct err *err);
void lodged_stop(struct lodged *l);
/* The hub follows the rows; after each change of nodes. */
void lodged_sync_nodes(struct lodged *l);

/* A node's job has not its image there: send it, if it is one of ours, and once. */
void lodged_image_wanted(struct lodged *l, const char *node, json_t *data);
void lodged_image_came(struct lodged *l, int64_t op);

/* Methods that need the nodes: only lodged has them (live.c, live_vm.c). They come before
 * those of the dispatch tables with the same name. arg is the struct lodged. */
extern const struct rpc_method lodged_node_methods[], lodged_vm_methods[],
    lodged_image_methods[];
