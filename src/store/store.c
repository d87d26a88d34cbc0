/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, migrating, transactions, and the one function that runs statements. */
#include "store/store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/dirs.h"
#include "base/fd.h"
#include "base/str.h"
#include "store/migrations.h"
#include "store/sql.h"

OWN_CLEANUP(json_t, json_decref)
OWN_CLEANUP(sqlite3_stmt, sqlite3_finalize)

int store_sql_error(struct store *s, const char *what, struct err *err)
{
    int rc = sqlite3_extended_errcode(s->db);
    enum err_code code = E_IO;
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(err, E_BUSY,
                       "store '%s': another process holds it since %d s; %s", s->path,
                       STORE_BUSY_MS / 1000, what);
    case SQLITE_CONSTRAINT:
        code = E_INPUT;
        break;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
        code = E_PERM;
        break;
    case SQLITE_NOMEM:
        return err_oom(err);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return err_set(err, E_IO,
                       "store '%s': %s: %s; restore a backup (lodge store backup)",
                       s->path, what, sqlite3_errmsg(s->db));
    }
    int sys = (rc & 0xff) == SQLITE_CANTOPEN ? sqlite3_system_errno(s->db) : 0;
    /* Where sqlite cannot make the file it tries to read it, and tells only of that. */
    const char *slash = strrchr(s->path, '/');
    AUTO_STR folder =
        sys == ENOENT && slash ? strndup(s->path, slash - s->path + 1) : NULL;
    if (folder && access(folder, W_OK) < 0)
        sys = errno;
    if (sys) {
        errno = sys;
        return err_sys(err, "store '%s'", s->path);
    }
    return err_set(err, code, "store '%s': %s: %s", s->path, what,
                   sqlite3_errmsg(s->db));
}

static int bind_all(struct store *s, sqlite3_stmt *stmt, const char *binds, va_list ap)
{
    int rc = SQLITE_OK;
    for (int i = 1; binds && *binds && rc == SQLITE_OK; i++, binds++) {
        if (*binds == 'i') {
            rc = sqlite3_bind_int64(stmt, i, va_arg(ap, int64_t));
        } else if (*binds == 's') {
            rc = sqlite3_bind_text(stmt, i, va_arg(ap, const char *), -1,
                                   SQLITE_TRANSIENT);
        } else {
            const json_t *json = va_arg(ap, const json_t *);
            char *text = json ? json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
            if (json && !text)
                return SQLITE_NOMEM;
            rc = sqlite3_bind_text(stmt, i, text, -1, free);
        }
    }
    return rc;
}

static json_t *row_to_json(sqlite3_stmt *stmt)
{
    json_t *row = json_object();
    for (int i = 0; row && i < sqlite3_column_count(stmt); i++) {
        json_t *value;
        switch (sqlite3_column_type(stmt, i)) {
        case SQLITE_INTEGER:
            value = json_integer(sqlite3_column_int64(stmt, i));
            break;
        case SQLITE_TEXT:
            value = json_stringn((const char *)sqlite3_column_text(stmt, i),
                                 (size_t)sqlite3_column_bytes(stmt, i));
            break;
        default:
            value = json_null();
        }
        if (json_object_set_new(row, sqlite3_column_name(stmt, i), value) < 0) {
            json_decref(row);
            return NULL;
        }
    }
    return row;
}

int store_sql(struct store *s, json_t **rows, struct err *err, const char *sql,
              const char *binds, ...)
{
    AUTO_T(sqlite3_stmt) stmt = NULL;
    AUTO_T(json_t) got = rows ? json_array() : NULL;
    if (rows && !got)
        return err_oom(err);
    if (sqlite3_prepare_v2(s->db, sql, -1, &stmt, NULL) != SQLITE_OK)
        return store_sql_error(s, "prepare", err);
    va_list ap;
    va_start(ap, binds);
    int rc = bind_all(s, stmt, binds, ap);
    va_end(ap);
    if (rc != SQLITE_OK)
        return store_sql_error(s, "bind", err);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
        if (got && json_array_append_new(got, row_to_json(stmt)) < 0)
            return err_oom(err);
    if (rc != SQLITE_DONE)
        return store_sql_error(s, "statement", err);
    if (rows)
        *rows = move(got);
    return 0;
}

static int run_script(struct store *s, const char *sql, const char *what,
                      struct err *err)
{
    if (sqlite3_exec(s->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return store_sql_error(s, what, err);
    return 0;
}

static int read_pragma(struct store *s, const char *sql, const char *key,
                       json_t **value, struct err *err)
{
    AUTO_T(json_t) rows = NULL;
    if (store_sql(s, &rows, err, sql, NULL) < 0)
        return -1;
    *value = json_incref(json_object_get(json_array_get(rows, 0), key));
    return *value ? 0 : err_set(err, E_BUG, "store '%s': no %s", s->path, key);
}

static int user_version(struct store *s, int *out, struct err *err)
{
    AUTO_T(json_t) v = NULL;
    if (read_pragma(s, "PRAGMA user_version", "user_version", &v, err) < 0)
        return -1;
    *out = (int)json_integer_value(v);
    return 0;
}

int store_schema_version(void)
{
    int n = 0;
    while (store_migrations[n])
        n++;
    return n;
}

/* Each step in its own transaction; another process may have been quicker. */
static int migrate(struct store *s, struct err *err)
{
    int have;
    if (user_version(s, &have, err) < 0)
        return -1;
    while (have < store_schema_version()) {
        if (store_begin(s, err) < 0)
            return -1;
        char pragma[64];
        int r = user_version(s, &have, err);
        if (r == 0 && have < store_schema_version()) {
            snprintf(pragma, sizeof pragma, "PRAGMA user_version = %d", have + 1);
            r = run_script(s, store_migrations[have], "migration", err);
            if (r == 0)
                r = run_script(s, pragma, "migration", err);
        }
        if (store_end(s, r == 0, err) < 0)
            return -1;
        if (user_version(s, &have, err) < 0)
            return -1;
    }
    if (have > store_schema_version())
        return err_set(
            err, E_CONFIG,
            "store '%s': made by a newer lodge (schema %d, this one knows %d)", s->path,
            have, store_schema_version());
    return 0;
}

/* WAL stays with the file; changing to it does not wait for others by itself. */
static int use_wal(struct store *s, struct err *err)
{
    uint64_t start = clock_ms();
    for (;;) {
        AUTO_T(json_t) mode = NULL;
        if (read_pragma(s, "PRAGMA journal_mode", "journal_mode", &mode, err) == 0 &&
            !strcmp(json_string_value(mode), "wal"))
            return 0;
        if (run_script(s, "PRAGMA journal_mode = WAL", "journal", err) < 0 &&
            (sqlite3_errcode(s->db) != SQLITE_BUSY ||
             clock_ms() - start > STORE_BUSY_MS))
            return -1;
        if (clock_ms() - start > STORE_BUSY_MS)
            return err_set(err, E_CONFIG, "store '%s': its file system cannot do WAL",
                           s->path);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
}

static int make_folder(const char *path, struct err *err)
{
    AUTO_STR folder = strdup(path);
    if (!folder)
        return err_oom(err);
    char *slash = strrchr(folder, '/');
    if (!slash || slash == folder)
        return 0;
    *slash = '\0';
    if (access(folder, F_OK) == 0)
        return 0;
    AUTO_STR usual = dirs_path(DIRS_STATE, NULL);
    if (usual && !strcmp(usual, folder))
        return dirs_make(DIRS_STATE, err);
    return fd_mkdirs(folder, 0700, err);
}

static int open_file(struct store *s, struct err *err)
{
    mode_t old = umask(077);
    int rc = sqlite3_open_v2(s->path, &s->db,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
                                 SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW,
                             NULL);
    umask(old);
    if (!s->db)
        return err_oom(err);
    if (rc != SQLITE_OK)
        return store_sql_error(s, "open", err);
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_busy_timeout(s->db, STORE_BUSY_MS);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    return run_script(s,
                      "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL;"
                      "PRAGMA trusted_schema = OFF",
                      "open", err);
}

int store_open(const char *path, struct store **out, struct err *err)
{
    AUTO(store) s = calloc(1, sizeof *s);
    if (!s || !(s->path = path ? strdup(path) : dirs_path(DIRS_STATE, "lodge.db")))
        return err_oom(err);
    if (make_folder(s->path, err) < 0 || open_file(s, err) < 0 || use_wal(s, err) < 0 ||
        migrate(s, err) < 0)
        return -1;
    *out = move(s);
    return 0;
}

void store_free(struct store *s)
{
    if (!s)
        return;
    sqlite3_close(s->db);
    free(s->path);
    free(s);
}

const char *store_path(const struct store *s)
{
    return s->path;
}

int store_begin(struct store *s, struct err *err)
{
    if (run_script(s, "BEGIN IMMEDIATE", "begin", err) < 0)
        return -1;
    s->in_transaction = true;
    return 0;
}

int store_end(struct store *s, bool ok, struct err *err)
{
    s->in_transaction = false;
    if (ok && run_script(s, "COMMIT", "commit", err) == 0)
        return 0;
    if (!sqlite3_get_autocommit(s->db))
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return -1;
}

int store_join(struct store *s, bool *own, struct err *err)
{
    *own = !s->in_transaction;
    return *own ? store_begin(s, err) : 0;
}

int store_leave(struct store *s, bool own, bool ok, struct err *err)
{
    if (own)
        return store_end(s, ok, err);
    return ok ? 0 : -1;
}
