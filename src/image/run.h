/* SPDX-License-Identifier: Apache-2.0 */
/* Running a tool of a build: its output goes to the build's log, and an error tells the
 * command and the end of what it wrote. */
#pragma once
#include "base/err.h"

#include <stddef.h>

struct run {
    int log;                /* descriptor, opened for reading and appending */
    const char *const *env; /* NULL: inherit */
};

/* argv ends in NULL. out is a descriptor for standard output, -1: the log; in one for
 * standard input, -1: /dev/null. */
int run_tool(const struct run *run, int in, int out, const char *const *argv,
             struct err *err);
/* The same, and give what it prints, at most max bytes. *out is the caller's. */
int run_capture(const struct run *run, const char *const *argv, size_t max, char **out,
                struct err *err);
#define RUN(run, err, ...)                                                             \
    run_tool(run, -1, -1, (const char *[]){__VA_ARGS__, NULL}, err)
/* A line of our own in the log. */
void run_note(const struct run *run, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
