/* SPDX-License-Identifier: Apache-2.0 */
/* Operations: who asked for which change, and what became of it. */
#include <inttypes.h>

#include "base/clock.h"
#include "store/sql.h"

OWN_CLEANUP(json_t, json_decref)

#define COLUMNS                                                                        \
    "id, method, target, who, request, state, started_ms AS started, ended_ms AS "     \
    "ended, result, error"

int store_op_start(struct store *s, const char *method, const char *target, uid_t who,
                   const char *request, int64_t *id, struct err *err)
{
    if (store_sql(
            s, NULL, err,
            "INSERT INTO operation (method, target, who, request, state, started_ms) "
            "VALUES (?, ?, ?, ?, 'running', ?)",
            "ssisi", method, target, (int64_t)who, request,
            (int64_t)clock_wall_ms()) < 0)
        return -1;
    *id = sqlite3_last_insert_rowid(s->db);
    return 0;
}

int store_op_finish(struct store *s, int64_t id, const json_t *result,
                    const struct err *error, struct err *err)
{
    return store_sql(
        s, NULL, err,
        "UPDATE operation SET state = ?, ended_ms = ?, result = ?, error = ? "
        "WHERE id = ? AND state = 'running'",
        "sijsi", error ? "failed" : "done", (int64_t)clock_wall_ms(), result,
        error ? error->text : NULL, id);
}

int store_op_find(struct store *s, uid_t who, const char *request, json_t **out,
                  struct err *err)
{
    AUTO_T(json_t) rows = NULL;
    if (store_sql(s, &rows, err,
                  "SELECT " COLUMNS " FROM operation WHERE who = ? AND request = ?",
                  "is", (int64_t)who, request) < 0)
        return -1;
    *out = json_incref(json_array_get(rows, 0));
    return 0;
}

int store_op_list(struct store *s, uid_t who, bool all, uint32_t limit, json_t **out,
                  struct err *err)
{
    return store_sql(s, out, err,
                     "SELECT " COLUMNS " FROM operation WHERE who = ?1 OR ?2 "
                     "ORDER BY id DESC LIMIT CASE ?3 WHEN 0 THEN -1 ELSE ?3 END",
                     "iii", (int64_t)who, (int64_t)all, (int64_t)limit);
}

int store_op_get(struct store *s, int64_t id, json_t **out, struct err *err)
{
    AUTO_T(json_t) rows = NULL;
    if (store_sql(s, &rows, err, "SELECT " COLUMNS " FROM operation WHERE id = ?", "i",
                  id) < 0)
        return -1;
    if (!json_array_size(rows))
        return err_set(err, E_NOENT, "no operation %" PRId64 "; see 'lodge op list'",
                       id);
    *out = json_incref(json_array_get(rows, 0));
    return 0;
}
