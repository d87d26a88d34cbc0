/* SPDX-License-Identifier: Apache-2.0 */
/* The controller's methods, "profile.add", "image.list" and so on, as functions. lodged
 * serves them over its socket; `lodge` without a lodged runs the very same in its own
 * process on the user's own store. Handlers live one file a noun (profile.c, op.c ...),
 * each with its table; dispatch.c lists the tables. */
#pragma once
#include "base/err.h"
#include "base/own.h"

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

struct dispatch; /* one a process: holds the store, opened when first needed */
struct store;

/* One call. params is an object, never NULL, borrowed. */
struct dispatch_call {
    struct dispatch *dispatch;
    uid_t uid;     /* the caller's, sure */
    bool embedded; /* the caller is this process: paths it names are its own to open */
    const json_t *params;
};

/* *result is a new reference. */
typedef int (*dispatch_f)(const struct dispatch_call *c, json_t **result,
                          struct err *err);
struct dispatch_method {
    const char *name;
    dispatch_f run;
    /* It changes the store: runs in one transaction with its row among the operations,
     * and a request of the same caller with the same "request" id is answered with the
     * first one's result. The parameter "name" is the operation's target. */
    bool changes;
    const char *help;
};
extern const struct dispatch_method *const dispatch_tables[]; /* ends with NULL; each
                                                                 with a NULL name */

/* path: of the database; NULL: the usual one. Nothing is opened yet. */
int dispatch_new(const char *path, struct dispatch **out, struct err *err);
void dispatch_free(struct dispatch *d);
OWN_DEFINE(dispatch)

int dispatch_call(struct dispatch *d, uid_t uid, bool embedded, const char *method,
                  const json_t *params, json_t **result, struct err *err);

/* For handlers. */
int dispatch_store(const struct dispatch_call *c, struct store **out, struct err *err);
/* The text (or number) parameter; with `needed` its absence is E_USAGE. Strict: wrong
 * kinds are E_INPUT. */
int dispatch_text(const struct dispatch_call *c, const char *name, bool needed,
                  const char **out, struct err *err);
int dispatch_number(const struct dispatch_call *c, const char *name, int64_t def,
                    int64_t max, int64_t *out, struct err *err);
int dispatch_flag(const struct dispatch_call *c, const char *name, bool *out,
                  struct err *err);
/* Only these parameters (and "request") are taken; ends with NULL. */
int dispatch_only(const struct dispatch_call *c, const char *const *names,
                  struct err *err);
