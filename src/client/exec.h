/* SPDX-License-Identifier: Apache-2.0 */
/* A command in a guest, with our standard input, output and error as its own. */
#pragma once
#include "base/err.h"
#include "proto/client.h"
#include "proto/command.h"

struct client_exec {
    const char *vm;  /* its name; or */
    const char *job; /* the job whose VM it is */
    /* Its token, if it has one, makes it outlive the agent's restart. With pty our
     * terminal is made raw meanwhile. Borrowed. */
    const struct command *command;
    const char *method; /* NULL: "vm.exec" */
    const char *op;     /* member "op" of the request; NULL: none */
    int fds[3];         /* of flows 0, 1, 2: usually 0, 1, 2 */
    /* Connect to the agent; NULL: client_agent_find(). */
    int (*connect)(struct rpc_client **out, struct err *err);
    /* A message that is not about the command's life (progress). May be NULL. */
    void (*message)(const json_t *what, void *arg);
    void *arg;
};

/* Run it to its end. *status is waitpid's. While it runs our signals are the command's:
 * TERM, INT, HUP, QUIT, USR1, USR2, WINCH go there; on TSTP the command stops and then
 * we do, until CONT. A command that could not be started gives status 127 or 126, and
 * the reason in err (whose text is empty otherwise). */
int client_exec(const struct client_exec *x, int *status, struct err *err);

/* 0 to 255 as a shell gives it: 128 + n for signal n. */
int client_exec_exit(int status);
/* End this process as the command ended: the same status, or by the same signal. */
void client_exec_end(int status) __attribute__((noreturn));
