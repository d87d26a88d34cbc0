/* SPDX-License-Identifier: Apache-2.0 */
/* The log of events, and the claims of tickets; see nodes.h. */
#include "base/clock.h"
#include "store/nodes.h"
#include "store/sql.h"

OWN_CLEANUP(json_t, json_decref)

int store_event_add(struct store *s, int64_t at_ms, uid_t who, const char *node,
                    const char *vm, const char *job, const char *what,
                    const json_t *data, struct err *err)
{
    return store_sql(s, NULL, err,
                     "INSERT INTO event (at_ms, who, node, vm, job, what, data) "
                     "VALUES (?, ?, ?, ?, ?, ?, ?)",
                     "iissssj", at_ms ? at_ms : (int64_t)clock_wall_ms(), (int64_t)who,
                     node, vm, job, what, data);
}

int store_event_list(struct store *s, const struct store_event_query *q, json_t **out,
                     struct err *err)
{
    static const char *const json[] = {"data", NULL};
    AUTO_T(json_t) rows = NULL;
    if (store_sql(
            s, &rows, err,
            "SELECT * FROM (SELECT id, at_ms AS at, who, node, vm, job, what, data "
            "FROM event WHERE id > ?1 AND at_ms >= ?2 AND (?3 IS NULL OR vm = ?3) "
            "AND (?4 IS NULL OR node = ?4) AND (?5 IS NULL OR job = ?5) "
            "AND (?6 IS NULL OR what = ?6 OR what LIKE ?6 || '.%') "
            "AND (?7 = 0 OR json_extract(data, '$.op') = ?7) "
            "AND (?8 = 0 OR what IN ('node.up', 'node.down') "
            "OR json_extract(data, '$.uid') = ?8) "
            "ORDER BY id DESC LIMIT ?9) ORDER BY id",
            "iissssiii", q->after, q->since_ms, q->vm, q->node, q->job, q->what, q->op,
            (int64_t)q->uid, (int64_t)q->limit) < 0 ||
        store_json_columns(rows, json, err) < 0)
        return -1;
    *out = move(rows);
    return 0;
}

int store_event_forget(struct store *s, int64_t before_ms, struct err *err)
{
    return store_sql(s, NULL, err, "DELETE FROM event WHERE at_ms < ?", "i", before_ms);
}

int store_claim(struct store *s, const char *ticket, const char *job, uid_t uid,
                const char *node, int64_t expires, json_t **first, struct err *err)
{
    AUTO_T(json_t) rows = NULL;
    if (store_sql(
            s, NULL, err,
            "INSERT OR IGNORE INTO claim (ticket, job, uid, node, at_ms, expires) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            "ssisii", ticket, job, (int64_t)uid, node, (int64_t)clock_wall_ms(),
            expires) < 0 ||
        store_sql(s, &rows, err, "SELECT job, uid, node FROM claim WHERE ticket = ?",
                  "s", ticket) < 0)
        return -1;
    *first = json_incref(json_array_get(rows, 0));
    return *first ? 0 : err_set(err, E_IO, "a claim was not written");
}

int store_claims_forget(struct store *s, int64_t now, struct err *err)
{
    return store_sql(s, NULL, err, "DELETE FROM claim WHERE expires < ?", "i", now);
}
