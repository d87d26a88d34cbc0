/* SPDX-License-Identifier: Apache-2.0 */
/* One small process a command, its monitor: it starts the command, adopts what the
 * command leaves behind (it is a subreaper, so nothing escapes), tells the exit, and
 * kills the whole tree when asked or when lodge-guest itself dies. */
#pragma once
#include "base/err.h"
#include "proto/command.h"

#include <stdbool.h>
#include <stdint.h>

enum monitor_kind {
    /* from the monitor */
    MONITOR_STARTED,  /* a: pid */
    MONITOR_FAILED,   /* a: errno; text: what could not be done. MONITOR_EXIT follows */
    MONITOR_PROGRESS, /* a: files, b: bytes; from `inside` */
    MONITOR_EXIT,     /* a: waitpid's status */
    /* to the monitor; if the socket closes without a word, lodge-guest died: the tree
     * is killed */
    MONITOR_SIGNAL, /* a: number, b: process group; 0: the command's own */
    MONITOR_KILL,   /* the tree, now */
    MONITOR_LET_GO  /* the command goes on alone */
};

struct monitor_note {
    uint32_t kind;
    int64_t a, b;
    char text[200];
};

struct monitor_start {
    const struct command *command;
    int fds[3]; /* the command's 0, 1, 2; stay the caller's */
    /* Run this in the command's place, as the user, and exit with what it gives. */
    int (*inside)(int control, const struct command *command);
};

/* Once, before the first command: what lodge-guest needs for itself (many descriptors,
 * safety from the out-of-memory killer) and commands do not inherit. */
void monitor_prepare(bool machine);

/* Signal all descendants of the calling process. */
void monitor_kill_tree(int sig);

/* *control: a seqpacket socket of struct monitor_note, the caller's. */
int monitor_start(const struct monitor_start *start, int *control, struct err *err);
/* A note over the socket; from `inside` too. Never blocks. */
void monitor_tell(int control, enum monitor_kind kind, int64_t a, int64_t b,
                  const char *text);
