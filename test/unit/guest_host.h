/* SPDX-License-Identifier: Apache-2.0 */
/* The host's side of one lodge-guest on a socketpair, for test/unit/guest*.c. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/str.h"
#include "proto/chan.h"
#include "proto/rpc.h"

enum { STEP_MS = 20000 };

struct host {
    int fd;
    pid_t pid;
    struct chan *chan;
};
extern struct host host;

/* A command as its host sees it. */
struct job {
    uint32_t stream;
    bool over, gone, input_closed;
    int status, sig; /* of the exit; -1: none */
    struct str_buf out[3];
    uint64_t got[3];
    uint64_t sum; /* of output, when it is not kept */
    bool sum_only;
    bool hold; /* take nothing */
    int64_t attached, pid;
    char error[200];
};

void job_done(struct job *j);
/* The sum that a job with sum_only keeps. */
uint64_t sum_of(uint64_t sum, const char *p, size_t len);
/* One exchange, waiting at most wait_ms; false at the end of the connection. */
bool turn(int wait_ms);
#define UNTIL(cond)                                                                    \
    do {                                                                               \
        uint64_t end_ = clock_ms() + STEP_MS;                                          \
        while (!(cond)) {                                                              \
            if (clock_ms() > end_)                                                     \
                fail_msg("waited in vain for %s", #cond);                              \
            turn(50);                                                                  \
        }                                                                              \
    } while (0)

/* What is started: the worker itself, its supervisor, the worker in namespaces. */
enum how { WORKER, SUPERVISED, ENCLOSED };
void launch(enum how how);
/* Hang up; its wait status. */
int land(void);

/* Open a stream for a request (taken); as root for root, if nobody is named. */
void ask(struct job *j, json_t *request);
json_t *shell(const char *script);
/* Ask, with no input, and wait for the end. */
void run(struct job *j, json_t *request);
