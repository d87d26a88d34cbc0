/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes, and what was put on them; see nodes.h. */
#include "store/nodes.h"

#include <string.h>

#include "base/clock.h"
#include "store/sql.h"

OWN_CLEANUP(json_t, json_decref)

/* Columns that hold JSON text become what they say. */
int store_json_columns(json_t *rows, const char *const *names, struct err *err)
{
    size_t i;
    json_t *row;
    json_array_foreach (rows, i, row)
        for (const char *const *n = names; *n; n++) {
            const char *text = json_string_value(json_object_get(row, *n));
            json_t *value = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
            if (text && !value)
                return err_set(err, E_IO, "store: column %s is not JSON", *n);
            if (value)
                json_object_set_new(row, *n, value);
        }
    return 0;
}

int store_node_put(struct store *s, const char *name, const json_t *spec, uid_t who,
                   struct err *err)
{
    int64_t now = (int64_t)clock_wall_ms();
    return store_sql(s, NULL, err,
                     "INSERT INTO node (name, spec, who, added_ms, changed_ms) "
                     "VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
                     "spec = excluded.spec, who = excluded.who, "
                     "changed_ms = excluded.changed_ms",
                     "sjiii", name, spec, (int64_t)who, now, now);
}

int store_node_drain(struct store *s, const char *name, const char *why, uid_t who,
                     struct err *err)
{
    AUTO_T(json_t) row = NULL;
    if (store_node_get(s, name, &row, err) < 0)
        return -1;
    return store_sql(
        s, NULL, err,
        "UPDATE node SET drained = ?, who = ?, changed_ms = ? WHERE name = ?", "siis",
        why, (int64_t)who, (int64_t)clock_wall_ms(), name);
}

int store_node_remove(struct store *s, const char *name, struct err *err)
{
    AUTO_T(json_t) row = NULL;
    AUTO_T(json_t) placed = NULL;
    if (store_node_get(s, name, &row, err) < 0 ||
        store_sql(s, &placed, err, "SELECT vm FROM placement WHERE node = ? LIMIT 1",
                  "s", name) < 0)
        return -1;
    if (json_array_size(placed))
        return err_set(
            err, E_BUSY, "node '%s' still has machines ('%s'); drain it and stop them",
            name, json_string_value(json_object_get(json_array_get(placed, 0), "vm")));
    return store_sql(s, NULL, err, "DELETE FROM node WHERE name = ?", "s", name);
}

#define NODE_COLUMNS                                                                   \
    "name, spec, drained, who, added_ms AS added, changed_ms AS changed"
static const char *const node_json[] = {"spec", NULL};

int store_node_get(struct store *s, const char *name, json_t **out, struct err *err)
{
    AUTO_T(json_t) rows = NULL;
    if (store_sql(s, &rows, err, "SELECT " NODE_COLUMNS " FROM node WHERE name = ?",
                  "s", name) < 0 ||
        store_json_columns(rows, node_json, err) < 0)
        return -1;
    if (!json_array_size(rows))
        return err_set(err, E_NOENT, "no node '%s'; see 'lodge node list'", name);
    *out = json_incref(json_array_get(rows, 0));
    return 0;
}

int store_node_list(struct store *s, json_t **out, struct err *err)
{
    AUTO_T(json_t) rows = NULL;
    if (store_sql(s, &rows, err, "SELECT " NODE_COLUMNS " FROM node ORDER BY name",
                  NULL) < 0 ||
        store_json_columns(rows, node_json, err) < 0)
        return -1;
    *out = move(rows);
    return 0;
}

int store_place(struct store *s, const char *vm, uid_t owner, const char *node,
                const char *cluster, int64_t operation, struct err *err)
{
    AUTO_T(json_t) rows = NULL;
    if (store_sql(s, &rows, err,
                  "SELECT node FROM placement WHERE vm = ? AND owner = ?", "si", vm,
                  (int64_t)owner) < 0)
        return -1;
    if (json_array_size(rows))
        return err_set(
            err, E_EXISTS, "machine '%s' exists already, on node '%s'", vm,
            json_string_value(json_object_get(json_array_get(rows, 0), "node")));
    return store_sql(s, NULL, err,
                     "INSERT INTO placement (vm, owner, node, cluster, operation) "
                     "VALUES (?, ?, ?, ?, ?)",
                     "sissi", vm, (int64_t)owner, node, cluster, operation);
}

int store_unplace(struct store *s, const char *vm, uid_t owner, struct err *err)
{
    return store_sql(s, NULL, err, "DELETE FROM placement WHERE vm = ? AND owner = ?",
                     "si", vm, (int64_t)owner);
}

int store_placed_by(struct store *s, const char *vm, uid_t owner, int64_t *operation,
                    struct err *err)
{
    AUTO_T(json_t) rows = NULL;
    if (store_sql(s, &rows, err,
                  "SELECT operation FROM placement WHERE vm = ? AND owner = ?", "si",
                  vm, (int64_t)owner) < 0)
        return -1;
    *operation =
        json_integer_value(json_object_get(json_array_get(rows, 0), "operation"));
    return 0;
}

int store_placements(struct store *s, uid_t owner, const char *cluster, json_t **out,
                     struct err *err)
{
    int64_t all = owner == (uid_t)-1;
    return store_sql(s, out, err,
                     "SELECT vm, owner, node, cluster, operation FROM placement "
                     "WHERE (?1 OR owner = ?2) AND (?3 IS NULL OR cluster = ?3) "
                     "ORDER BY vm, owner",
                     "iis", all, (int64_t)owner, cluster);
}

int store_allow(struct store *s, const char *profile, const char *kind, uint32_t id,
                bool allow, struct err *err)
{
    return store_sql(
        s, NULL, err,
        allow ? "INSERT OR IGNORE INTO allowed (profile, kind, id) VALUES (?, ?, ?)"
              : "DELETE FROM allowed WHERE profile = ? AND kind = ? AND id = ?",
        "ssi", profile, kind, (int64_t)id);
}

int store_allowed(struct store *s, const char *profile, json_t **out, struct err *err)
{
    return store_sql(s, out, err,
                     "SELECT profile, kind, id FROM allowed WHERE profile = ? "
                     "ORDER BY kind, id",
                     "s", profile);
}
