/* SPDX-License-Identifier: Apache-2.0 */
/* The store as a whole: check, online backup, dump and load of all tables. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "store/sql.h"

OWN_CLEANUP(json_t, json_decref)
OWN_CLEANUP(sqlite3_stmt, sqlite3_finalize)

enum { DUMP_MAX = 256 << 20 };

/* Each gives a text for each thing that is wrong. */
static const char *const checks[] = {
    "SELECT 'sqlite: ' || integrity_check AS text FROM pragma_integrity_check "
    "WHERE integrity_check <> 'ok'",
    "SELECT 'table ' || \"table\" || ': a row refers to a missing one in ' || parent "
    "AS "
    "text FROM pragma_foreign_key_check",
    "SELECT d.kind || ' ' || d.name || ': versions are missing' AS text FROM document "
    "d "
    "WHERE d.version <> (SELECT count(*) FROM revision r WHERE r.document = d.id) "
    "OR d.version <> (SELECT max(version) FROM revision r WHERE r.document = d.id)",
    "SELECT d.kind || ' ' || d.name || ': removed and not removed' AS text FROM "
    "document d "
    "JOIN revision r ON r.document = d.id AND r.version = d.version "
    "WHERE d.removed <> (r.action = 'remove')",
    "SELECT d.kind || ' ' || d.name || ': version ' || r.version || ': summary is not "
    "JSON' AS text FROM document d JOIN revision r ON r.document = d.id "
    "WHERE NOT json_valid(r.summary)",
    "SELECT 'operation ' || id || ': ' || state || ' with an end that disagrees' AS "
    "text "
    "FROM operation WHERE (state = 'running') <> (ended_ms IS NULL)",
};

int store_check(struct store *s, json_t **problems, struct err *err)
{
    AUTO_T(json_t) all = json_array();
    if (!all)
        return err_oom(err);
    for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
        AUTO_T(json_t) rows = NULL;
        size_t k;
        json_t *row;
        if (store_sql(s, &rows, err, checks[i], NULL) < 0)
            return -1;
        json_array_foreach (rows, k, row)
            json_array_append(all, json_object_get(row, "text"));
    }
    *problems = move(all);
    return 0;
}

int store_backup(struct store *s, const char *path, struct err *err)
{
    AUTO_FD fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, "backup '%s'", path);
    if (store_sql(s, NULL, err, "VACUUM INTO ?", "s", path) < 0) {
        unlink(path);
        return err_at(err, "backup '%s'", path);
    }
    if (fsync(fd) < 0)
        return err_sys(err, "backup '%s'", path);
    return 0;
}

/* In the order in which they can be put back. */
static const struct {
    const char *name, *select, *insert;
    const char *const *columns;
} tables[] = {
    {"document", "SELECT * FROM document ORDER BY id",
     "INSERT INTO document (id, kind, owner, name, version, removed) "
     "VALUES (?, ?, ?, ?, ?, ?)",
     (const char *const[]){"id", "kind", "owner", "name", "version", "removed", NULL}},
    {"revision", "SELECT * FROM revision ORDER BY document, version",
     "INSERT INTO revision (document, version, at_ms, who, action, body, summary) "
     "VALUES (?, ?, ?, ?, ?, ?, ?)",
     (const char *const[]){"document", "version", "at_ms", "who", "action", "body",
                           "summary", NULL}},
    {"operation", "SELECT * FROM operation ORDER BY id",
     "INSERT INTO operation (id, method, target, who, request, state, started_ms, "
     "ended_ms, result, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
     (const char *const[]){"id", "method", "target", "who", "request", "state",
                           "started_ms", "ended_ms", "result", "error", NULL}},
    {"node", "SELECT * FROM node ORDER BY name",
     "INSERT INTO node (name, spec, drained, who, added_ms, changed_ms) "
     "VALUES (?, ?, ?, ?, ?, ?)",
     (const char *const[]){"name", "spec", "drained", "who", "added_ms", "changed_ms",
                           NULL}},
    {"placement", "SELECT * FROM placement ORDER BY vm, owner",
     "INSERT INTO placement (vm, owner, node, cluster, operation) "
     "VALUES (?, ?, ?, ?, ?)",
     (const char *const[]){"vm", "owner", "node", "cluster", "operation", NULL}},
    {"step", "SELECT * FROM step ORDER BY operation, n",
     "INSERT INTO step (operation, n, phase, node, vm, request, undo, state, detail) "
     "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
     (const char *const[]){"operation", "n", "phase", "node", "vm", "request", "undo",
                           "state", "detail", NULL}},
    {"event", "SELECT * FROM event ORDER BY id",
     "INSERT INTO event (id, at_ms, who, node, vm, job, what, data) "
     "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
     (const char *const[]){"id", "at_ms", "who", "node", "vm", "job", "what", "data",
                           NULL}},
    {"allowed", "SELECT * FROM allowed ORDER BY profile, kind, id",
     "INSERT INTO allowed (profile, kind, id) "
     "VALUES (?, ?, ?)",
     (const char *const[]){"profile", "kind", "id", NULL}},
};

int store_dump(struct store *s, const char *path, struct err *err)
{
    AUTO_BUF b = {0};
    str_buf_printf(&b, "{\"lodge-store\":%d}\n", store_schema_version());
    if (store_begin(s, err) < 0) /* all tables as of one moment */
        return -1;
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(tables) && r == 0; i++) {
        AUTO_T(json_t) rows = NULL;
        size_t k;
        json_t *row;
        if ((r = store_sql(s, &rows, err, tables[i].select, NULL)) < 0)
            break;
        json_array_foreach (rows, k, row) {
            AUTO_STR text = json_dumps(row, JSON_COMPACT);
            str_buf_printf(&b, "{\"%s\":%s}\n", tables[i].name, text ? text : "");
        }
    }
    if (store_end(s, r == 0, err) < 0)
        return -1;
    size_t len = b.len;
    AUTO_STR text = str_buf_take(&b);
    if (!text)
        return err_oom(err);
    return fd_replace_file(path, text, len, 0600, err);
}

/* One row by its table's statement. Missing and null are null; what else does not fit,
 * the STRICT tables refuse. */
static int load_row(struct store *s, size_t t, const json_t *row, struct err *err)
{
    AUTO_T(sqlite3_stmt) stmt = NULL;
    if (sqlite3_prepare_v2(s->db, tables[t].insert, -1, &stmt, NULL) != SQLITE_OK)
        return store_sql_error(s, "load", err);
    for (int i = 0; tables[t].columns[i]; i++) {
        const json_t *v = json_object_get(row, tables[t].columns[i]);
        if (json_is_integer(v))
            sqlite3_bind_int64(stmt, i + 1, json_integer_value(v));
        else if (json_is_string(v))
            sqlite3_bind_text(stmt, i + 1, json_string_value(v), -1, SQLITE_TRANSIENT);
    }
    if (sqlite3_step(stmt) != SQLITE_DONE)
        return store_sql_error(s, "load", err);
    return 0;
}

static int load_line(struct store *s, const char *path, unsigned number,
                     const char *text, size_t len, struct err *err)
{
    AUTO_T(json_t) line = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    const json_t *version = json_object_get(line, "lodge-store");
    if (!json_is_object(line) || (number == 1) != !!version)
        return err_set(err, E_INPUT, "%s:%u: is not a line of a lodge store", path,
                       number);
    if (version && json_integer_value(version) > store_schema_version())
        return err_set(err, E_INPUT, "%s: was written by a newer lodge", path);
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        const json_t *row = json_object_get(line, tables[i].name);
        if (row && load_row(s, i, row, err) < 0)
            return err_at(err, "%s:%u", path, number);
    }
    return 0;
}

int store_load(struct store *s, const char *path, struct err *err)
{
    AUTO_STR text = NULL;
    AUTO_T(json_t) rows = NULL;
    if (fd_read_file(path, DUMP_MAX, &text, NULL, err) < 0)
        return -1;
    if (store_begin(s, err) < 0)
        return -1;
    int r = store_sql(
        s, &rows, err,
        "SELECT 1 FROM document UNION ALL SELECT 1 FROM operation LIMIT 1", NULL);
    if (r == 0 && json_array_size(rows))
        r = err_set(err, E_EXISTS,
                    "store '%s' is not empty; load into a new one (set "
                    "LODGE_STATE_DIR)",
                    s->path);
    unsigned number = 0;
    for (const char *at = text; r == 0 && *at; number++) {
        size_t len = strcspn(at, "\n");
        r = load_line(s, path, number + 1, at, len, err);
        at += len + (at[len] == '\n');
    }
    if (r == 0 && !number)
        r = err_set(err, E_INPUT, "%s: is empty", path);
    return store_end(s, r == 0, err);
}
