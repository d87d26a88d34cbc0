/* SPDX-License-Identifier: Apache-2.0 */
/* Building an image from its definition. */
#pragma once
#include "base/err.h"

#include "image/def.h"

#include <stdbool.h>
#include <stdint.h>

struct build_options {
    bool offline;     /* nothing from the network */
    bool update_lock; /* resolve anew and write DEFINITION.lock */
    bool no_cache;    /* do not use what an earlier build left (packages excepted) */
    bool rootless;    /* in a user namespace; always so without root */
    bool check;       /* build twice, compare */
    /* Told at the begin (end false) and the end of each step, then with what it took and
     * the size of what it made (0: nothing to weigh); may be NULL. */
    void (*progress)(void *arg, const char *step, bool end, uint64_t ms,
                     uint64_t bytes);
    void *arg;
};

/* What came out. */
struct build_result {
    char *version, *digest;
    bool same; /* the store had it already */
    uint64_t root_bytes, initramfs_bytes;
};

/* Build and put into the store. Errors name the step. *out needs build_result_done().
 */
int image_build(const struct image_def *def, const struct build_options *opt,
                struct build_result *out, struct err *err);
void build_result_done(struct build_result *r);

/* The steps a build would take, a line each; the caller's. Pure. */
int image_plan(const struct image_def *def, char **out, struct err *err);
