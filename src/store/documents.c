/* SPDX-License-Identifier: Apache-2.0 */
/* Profiles and clusters: the current version of each, and all there were. */
#include <string.h>

#include "base/clock.h"
#include "store/sql.h"

OWN_CLEANUP(json_t, json_decref)

/* The row of a name also when it is removed; *out NULL if it never was. */
static int find(struct store *s, const char *kind, uid_t owner, const char *name,
                json_t **out, struct err *err)
{
    AUTO_T(json_t) rows = NULL;
    if (store_sql(s, &rows, err,
                  "SELECT d.id, d.version, d.removed, r.body FROM document d "
                  "JOIN revision r ON r.document = d.id AND r.version = d.version "
                  "WHERE d.kind = ? AND d.owner = ? AND d.name = ?",
                  "sis", kind, (int64_t)owner, name) < 0)
        return -1;
    *out = json_incref(json_array_get(rows, 0));
    return 0;
}

static int missing(const char *kind, const char *name, struct err *err)
{
    return err_set(err, E_NOENT, "no %s '%s'; see 'lodge %s list'", kind, name, kind);
}

static json_int_t number_of(const json_t *row, const char *key)
{
    return json_integer_value(json_object_get(row, key));
}

static int add_revision(struct store *s, int64_t id, int64_t version, uid_t who,
                        const char *action, const char *body, const json_t *summary,
                        struct err *err)
{
    return store_sql(
        s, NULL, err,
        "INSERT INTO revision (document, version, at_ms, who, action, body, "
        "summary) VALUES (?, ?, ?, ?, ?, ?, ?)",
        "iiiissj", id, version, (int64_t)clock_wall_ms(), (int64_t)who, action, body,
        summary);
}

static int put(struct store *s, const char *kind, uid_t owner, const char *name,
               uid_t who, const char *body, const json_t *summary, uint32_t *version,
               struct err *err)
{
    AUTO_T(json_t) row = NULL;
    if (find(s, kind, owner, name, &row, err) < 0)
        return -1;
    if (!row) {
        *version = 1;
        if (store_sql(s, NULL, err,
                      "INSERT INTO document (kind, owner, name, version) "
                      "VALUES (?, ?, ?, 1)",
                      "sis", kind, (int64_t)owner, name) < 0)
            return -1;
        return add_revision(s, sqlite3_last_insert_rowid(s->db), 1, who, "add", body,
                            summary, err);
    }
    const char *old = json_string_value(json_object_get(row, "body"));
    *version = (uint32_t)number_of(row, "version");
    if (old && !strcmp(old, body))
        return 0;
    bool back = number_of(row, "removed");
    *version += 1;
    if (store_sql(s, NULL, err,
                  "UPDATE document SET version = ?, removed = 0 WHERE id = ?", "ii",
                  (int64_t)*version, (int64_t)number_of(row, "id")) < 0)
        return -1;
    return add_revision(s, number_of(row, "id"), *version, who, back ? "add" : "change",
                        body, summary, err);
}

int store_doc_put(struct store *s, const char *kind, uid_t owner, const char *name,
                  uid_t who, const char *body, const json_t *summary, uint32_t *version,
                  struct err *err)
{
    bool own;
    if (store_join(s, &own, err) < 0)
        return -1;
    int r = put(s, kind, owner, name, who, body, summary, version, err);
    return store_leave(s, own, r == 0, err);
}

static int take_away(struct store *s, const char *kind, uid_t owner, const char *name,
                     uid_t who, struct err *err)
{
    AUTO_T(json_t) row = NULL;
    AUTO_T(json_t) empty = json_object();
    if (find(s, kind, owner, name, &row, err) < 0)
        return -1;
    if (!row || number_of(row, "removed"))
        return missing(kind, name, err);
    int64_t id = number_of(row, "id"), version = number_of(row, "version") + 1;
    if (store_sql(s, NULL, err,
                  "UPDATE document SET version = ?, removed = 1 WHERE id = ?", "ii",
                  version, id) < 0)
        return -1;
    return add_revision(s, id, version, who, "remove", NULL, empty, err);
}

int store_doc_remove(struct store *s, const char *kind, uid_t owner, const char *name,
                     uid_t who, struct err *err)
{
    bool own;
    if (store_join(s, &own, err) < 0)
        return -1;
    int r = take_away(s, kind, owner, name, who, err);
    return store_leave(s, own, r == 0, err);
}

/* summary is kept as text; give it as what it is. */
static int open_summaries(json_t *rows, struct err *err)
{
    size_t i;
    json_t *row;
    json_array_foreach (rows, i, row) {
        const char *text = json_string_value(json_object_get(row, "summary"));
        json_t *summary = text ? json_loads(text, 0, NULL) : NULL;
        if (!summary)
            return err_set(err, E_IO,
                           "a summary in the store is not JSON; see 'lodge "
                           "store check'");
        json_object_set_new(row, "summary", summary);
    }
    return 0;
}

int store_doc_get(struct store *s, const char *kind, uid_t owner, const char *name,
                  uint32_t version, json_t **out, struct err *err)
{
    AUTO_T(json_t) rows = NULL;
    if (store_sql(s, &rows, err,
                  "SELECT d.name, d.owner, r.version, r.at_ms AS at, r.who, r.action, "
                  "r.body, "
                  "r.summary FROM document d JOIN revision r ON r.document = d.id "
                  "WHERE d.kind = ?1 AND d.owner = ?2 AND d.name = ?3 AND r.version = "
                  "CASE ?4 WHEN 0 THEN d.version ELSE ?4 END AND r.body IS NOT NULL",
                  "sisi", kind, (int64_t)owner, name, (int64_t)version) < 0 ||
        open_summaries(rows, err) < 0)
        return -1;
    if (!json_array_size(rows) && version)
        return err_set(err, E_NOENT,
                       "no version %u of %s '%s'; see 'lodge %s history %s'", version,
                       kind, name, kind, name);
    if (!json_array_size(rows))
        return missing(kind, name, err);
    *out = json_incref(json_array_get(rows, 0));
    return 0;
}

int store_doc_list(struct store *s, const char *kind, uid_t owner, bool all,
                   json_t **out, struct err *err)
{
    AUTO_T(json_t) rows = NULL;
    if (store_sql(s, &rows, err,
                  "SELECT d.name, d.owner, r.version, r.at_ms AS at, r.who, r.summary "
                  "FROM document d JOIN revision r "
                  "ON r.document = d.id AND r.version = d.version "
                  "WHERE d.kind = ?1 AND NOT d.removed AND (d.owner IN (?2, 0) OR ?3) "
                  "ORDER BY d.name, d.owner",
                  "sii", kind, (int64_t)owner, (int64_t)all) < 0 ||
        open_summaries(rows, err) < 0)
        return -1;
    *out = move(rows);
    return 0;
}

int store_doc_history(struct store *s, const char *kind, uid_t owner, const char *name,
                      json_t **out, struct err *err)
{
    AUTO_T(json_t) rows = NULL;
    if (store_sql(
            s, &rows, err,
            "SELECT d.name, r.version, r.at_ms AS at, r.who, r.action FROM document d "
            "JOIN revision r ON r.document = d.id WHERE d.kind = ? AND d.owner = ? "
            "AND d.name = ? ORDER BY r.version DESC",
            "sis", kind, (int64_t)owner, name) < 0)
        return -1;
    if (!json_array_size(rows))
        return missing(kind, name, err);
    *out = move(rows);
    return 0;
}
