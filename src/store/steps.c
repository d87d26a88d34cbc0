/* SPDX-License-Identifier: Apache-2.0 */
/* Steps of operations; see nodes.h. */
#include "base/clock.h"
#include "store/nodes.h"
#include "store/sql.h"

OWN_CLEANUP(json_t, json_decref)

int store_step_add(struct store *s, int64_t operation, int n, int phase,
                   const char *node, const char *vm, const json_t *request,
                   const json_t *undo, struct err *err)
{
    return store_sql(
        s, NULL, err,
        "INSERT INTO step (operation, n, phase, node, vm, request, undo, state) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, 'planned')",
        "iiissjj", operation, (int64_t)n, (int64_t)phase, node, vm, request, undo);
}

int store_step_state(struct store *s, int64_t operation, int n, const char *state,
                     const char *detail, struct err *err)
{
    return store_sql(
        s, NULL, err,
        "UPDATE step SET state = ?, detail = ? WHERE operation = ? AND n = ?", "ssii",
        state, detail, operation, (int64_t)n);
}

int store_steps(struct store *s, int64_t operation, json_t **out, struct err *err)
{
    static const char *const json[] = {"request", "undo", NULL};
    AUTO_T(json_t) rows = NULL;
    if (store_sql(s, &rows, err,
                  "SELECT operation, n, phase, node, vm, request, undo, state, detail "
                  "FROM step WHERE operation = ? ORDER BY n",
                  "i", operation) < 0 ||
        store_json_columns(rows, json, err) < 0)
        return -1;
    *out = move(rows);
    return 0;
}

int store_steps_left(struct store *s, const char *node, json_t **out, struct err *err)
{
    return store_sql(
        s, out, err,
        "SELECT DISTINCT operation FROM step WHERE node = ? AND state = 'left'", "s",
        node);
}

int store_op_unfinished(struct store *s, json_t **out, struct err *err)
{
    return store_sql(
        s, out, err,
        "SELECT id, method, target, who, state FROM operation o WHERE "
        "state = 'running' AND EXISTS (SELECT 1 FROM step WHERE operation = "
        "o.id) ORDER BY id",
        NULL);
}

int store_op_end(struct store *s, int64_t id, const char *state, const char *error,
                 struct err *err)
{
    return store_sql(s, NULL, err,
                     "UPDATE operation SET state = ?, ended_ms = ?, error = ? "
                     "WHERE id = ? AND state = 'running'",
                     "sisi", state, (int64_t)clock_wall_ms(), error, id);
}
