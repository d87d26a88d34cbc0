/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong with a document: all of it, each with its line and its element. */
#pragma once
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

enum { PROFILE_PROBLEMS_MAX = 100 };

struct profile_problem {
    unsigned line; /* 0: of the whole document */
    char *where;   /* "memory", "disk@size" or NULL */
    char *text;    /* what is wrong, and what would be right */
    bool warning;  /* it can be used all the same */
};
/* {0} is valid; profile_problems_done() frees. */
struct profile_problems {
    struct profile_problem *at;
    size_t count, errors;
    bool full; /* there were more, or no memory to keep them */
};

void profile_problem(struct profile_problems *p, unsigned line, const char *where,
                     const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void profile_warning(struct profile_problems *p, unsigned line, const char *where,
                     const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* By line; those without one last. */
void profile_problems_sort(struct profile_problems *p);
/* "FILE:LINE: WHERE: TEXT", a line each; the caller's, NULL without memory. */
char *profile_problems_text(const struct profile_problems *p, const char *file);
/* The first error as E_INPUT, with how many more there are; -1. 0 if there is none. */
int profile_problems_err(const struct profile_problems *p, const char *file,
                         struct err *err);
void profile_problems_done(struct profile_problems *p);
