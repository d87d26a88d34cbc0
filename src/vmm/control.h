/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket's own structures: control.c serves, control_ckpt.c is its methods
 * about checkpoints. */
#pragma once
#include "vmm/vm.h"

#include "base/fd.h"
#include "proto/rpc.h"

enum { CONTROL_CLIENTS_MAX = 16 };

struct client {
    int fd;
    uint64_t serial; /* no other client ever had it */
    struct rpc_lines in;
    char *out; /* not yet sent */
    size_t out_len, out_done;
    bool events;
    int fds[FD_PASS_MAX]; /* came with the line that is being read */
    size_t nfds;
};

struct control {
    struct vm *vm;
    int epoll, listen, signals, timer;
    int cut_timer; /* how long the machine waits for its disks to be cut */
    struct client clients[CONTROL_CLIENTS_MAX];
    uint64_t next_serial;
    char *path; /* to unlink at the end */

    /* Who waits for the checkpoint being made; serial 0: nobody does. */
    uint64_t saver;
    char *saver_id;
    bool hook; /* who cuts the disks wants to be told when it stands still */
    const char *request_id; /* of the request being answered */
};

/* Each gives a new result, or NULL with err; NULL without err: the answer comes later.
 * params is an object. */
typedef json_t *(*method_f)(struct control *c, struct client *k, json_t *params,
                            struct err *err);

/* Steals line. The client may be gone afterwards. */
void control_send(struct control *c, struct client *k, json_t *line);

json_t *control_checkpoint(struct control *c, struct client *k, json_t *params,
                           struct err *err);
json_t *control_cut(struct control *c, struct client *k, json_t *params,
                    struct err *err);
json_t *control_cancel(struct control *c, struct client *k, json_t *params,
                       struct err *err);
/* The worker got further, or ended. */
void control_ckpt_told(struct control *c);
void control_cut_late(struct control *c);
/* What "status" says: a new object or null. */
json_t *control_ckpt_status(const struct vm *vm);
/* Is one being written, so that the process should not end yet? */
bool control_ckpt_busy(const struct vm *vm);
