/* SPDX-License-Identifier: Apache-2.0 */
/* The store: one sqlite file. All SQL of Lodge is in this room.
 *
 * Any number of processes may have it open; a writer waits for another (up to
 * STORE_BUSY_MS). What a call acknowledged with 0 is on disk. Rows come as JSON objects
 * whose keys are the columns. Not for use by several threads. */
#pragma once
#include "base/err.h"
#include "base/own.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { STORE_BUSY_MS = 30000 };

struct store;

/* Open the database at path, made with its folder if it is missing, and brought to the
 * newest schema. NULL: the usual place, "lodge.db" below DIRS_STATE. */
int store_open(const char *path, struct store **out, struct err *err);
void store_free(struct store *s);
OWN_DEFINE(store)
const char *store_path(const struct store *s);
int store_schema_version(void); /* the newest one this program knows */

/* A transaction that may write; the calls below that change something join it, or make
 * their own. It takes the write lock at once. store_end() with ok false undoes all. */
int store_begin(struct store *s, struct err *err);
int store_end(struct store *s, bool ok, struct err *err);

/* --- documents (documents.c): kind is "profile" or "cluster" -------------------------
 */

/* A new version of the document, made if it is missing. *version gets its number. A
 * body that is the current one already makes no new version. summary is borrowed. */
int store_doc_put(struct store *s, const char *kind, uid_t owner, const char *name,
                  uid_t who, const char *body, const json_t *summary, uint32_t *version,
                  struct err *err);
int store_doc_remove(struct store *s, const char *kind, uid_t owner, const char *name,
                     uid_t who, struct err *err);
/* {name, owner, version, at, who, action, body, summary}; version 0: the current
 * one, not if it is removed. E_NOENT if there is none. */
int store_doc_get(struct store *s, const char *kind, uid_t owner, const char *name,
                  uint32_t version, json_t **out, struct err *err);
/* Current ones by name, without bodies: of `owner` and of root; with all, everybody's.
 */
int store_doc_list(struct store *s, const char *kind, uid_t owner, bool all,
                   json_t **out, struct err *err);
/* All versions of one, newest first, without bodies. */
int store_doc_history(struct store *s, const char *kind, uid_t owner, const char *name,
                      json_t **out, struct err *err);

/* --- operations (operations.c) -------------------------------------------------------
 */

int store_op_start(struct store *s, const char *method, const char *target, uid_t who,
                   const char *request, int64_t *id, struct err *err);
/* error NULL: done with result (borrowed, may be NULL); else failed. */
int store_op_finish(struct store *s, int64_t id, const json_t *result,
                    const struct err *error, struct err *err);
/* The operation of an earlier copy of this request, or NULL in *out. */
int store_op_find(struct store *s, uid_t who, const char *request, json_t **out,
                  struct err *err);
/* Newest first; who is ignored with all. limit 0: all. */
int store_op_list(struct store *s, uid_t who, bool all, uint32_t limit, json_t **out,
                  struct err *err);
int store_op_get(struct store *s, int64_t id, json_t **out, struct err *err);

/* --- the whole (whole.c) -------------------------------------------------------------
 */

/* *problems: an array of texts, empty when all is well. */
int store_check(struct store *s, json_t **problems, struct err *err);
/* A whole and consistent copy at path, which must not exist, while others read and
 * write. */
int store_backup(struct store *s, const char *path, struct err *err);
/* All tables row by row as JSON lines into a file, and back into an empty store. */
int store_dump(struct store *s, const char *path, struct err *err);
int store_load(struct store *s, const char *path, struct err *err);
