/* SPDX-License-Identifier: Apache-2.0 */
/* Inside src/store: statements with their parameters. */
#pragma once
#include "store/store.h"

#include <sqlite3.h>
#include <stdarg.h>

struct store {
    sqlite3 *db;
    char *path;
    bool in_transaction;
};

/* Run sql. Each letter of `binds` is one parameter: s text (NULL is null), i int64_t,
 * j const json_t * as compact text (NULL is null). *rows (may be NULL) gets an array of
 * objects. */
int store_sql(struct store *s, json_t **rows, struct err *err, const char *sql,
              const char *binds, ...);
/* sqlite's last error as ours. */
int store_sql_error(struct store *s, const char *what, struct err *err);
/* As store_begin/store_end, but part of one under way when there is one: *own tells. */
int store_join(struct store *s, bool *own, struct err *err);
int store_leave(struct store *s, bool own, bool ok, struct err *err);
/* In each row, turn the text of these columns (list ends with NULL) into the JSON it is. */
int store_json_columns(json_t *rows, const char *const *names, struct err *err);
