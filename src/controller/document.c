/* SPDX-License-Identifier: Apache-2.0 */
/* profile.* and cluster.*: documents by name, added, shown, removed. */
#include "controller/document.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/dirs.h"
#include "base/fd.h"
#include "base/str.h"
#include "controller/handlers.h"
#include "profile/document.h"
#include "store/store.h"

OWN_CLEANUP(json_t, json_decref)

enum { DOCUMENT_MAX = 256 << 10 }; /* with its JSON form it must fit into a message */

static int lookup(void *arg, const char *name, struct profile **out, struct err *err)
{
    return document_profile(arg, name, 0, out, err);
}

/* What lists show, kept beside the document. */
static json_t *profile_summary(const struct profile *p)
{
    return json_pack("{s:s, s:i, s:I, s:s*, s:s*}", "type", profile_type_names[p->type],
                     "vcpus", (int)p->vcpus, "memory_bytes",
                     (json_int_t)p->memory_bytes, "image", p->image, "description",
                     p->description);
}

static json_t *cluster_summary(const struct cluster *c)
{
    return json_pack("{s:i, s:i, s:s*}", "members", (int)c->member_count, "vms",
                     (int)cluster_vms(c), "description", c->description);
}

/* The document's name and summary, after all checks; warnings in *warnings. */
static int read_document(const struct dispatch_call *c, const char *kind,
                         const char *text, char **name, json_t **summary,
                         json_t *warnings, struct err *err)
{
    AUTO(profile) p = NULL;
    AUTO(cluster) k = NULL;
    struct profile_problems problems = {0};
    int r = !strcmp(kind, "profile")
                ? profile_parse(text, strlen(text), &p, &problems)
                : cluster_parse(text, strlen(text), lookup, (void *)c, &k, &problems);
    if (r < 0)
        profile_problems_err(&problems, kind, err);
    for (size_t i = 0; i < problems.count; i++)
        if (problems.at[i].warning)
            json_array_append_new(warnings, json_string(problems.at[i].text));
    profile_problems_done(&problems);
    if (r < 0)
        return -1;
    *name = strdup(p ? p->name : k->name);
    *summary = p ? profile_summary(p) : cluster_summary(k);
    return *name && *summary ? 0 : err_oom(err);
}

static json_t *shipped_row(const char *kind, const char *name, char *text)
{
    return json_pack("{s:s, s:i, s:i, s:n, s:n, s:s, s:s, s:s}", "name", name, "owner",
                     0, "version", 0, "at", "who", "origin", "shipped", "kind", kind,
                     "body", text);
}

/* The file of a document that comes with Lodge; *out NULL if there is none. */
static int find_shipped(const char *kind, const char *name, json_t **out,
                        struct err *err)
{
    AUTO_STR path = dirs_path(DIRS_DATA, "profiles/%s.xml", name);
    AUTO_STR text = NULL;
    size_t len;
    if (!path)
        return err_oom(err);
    *out = NULL;
    if (!str_is_name(name) || access(path, R_OK) < 0)
        return 0;
    if (fd_read_file(path, DOCUMENT_MAX, &text, &len, err) < 0)
        return -1;
    if (profile_is_cluster(text, len) != !strcmp(kind, "cluster"))
        return 0;
    *out = shipped_row(kind, name, text);
    return *out ? 0 : err_oom(err);
}

static int find_in(const struct dispatch_call *c, const char *kind, uid_t owner,
                   const char *name, uint32_t version, json_t **out, struct err *err)
{
    struct store *s;
    if (dispatch_store(c, &s, err) < 0 ||
        store_doc_get(s, kind, owner, name, version, out, err) < 0)
        return -1;
    json_object_set_new(*out, "origin", json_string(owner == c->uid ? "own" : "site"));
    return 0;
}

/* All names the caller could have meant. */
static int no_such(const struct dispatch_call *c, const char *kind, const char *name,
                   struct err *err);

int document_find(const struct dispatch_call *c, const char *kind, const char *name,
                  uint32_t version, json_t **out, struct err *err)
{
    struct err why = {0};
    if (find_in(c, kind, c->uid, name, version, out, &why) == 0)
        return 0;
    if (why.code == E_NOENT && c->uid &&
        find_in(c, kind, 0, name, version, out, &why) == 0)
        return 0;
    if (why.code != E_NOENT)
        return err_set(err, why.code, "%s", why.text);
    if (!version && find_shipped(kind, name, out, err) < 0)
        return -1;
    if (!version && *out)
        return 0;
    return version ? err_set(err, why.code, "%s", why.text)
                   : no_such(c, kind, name, err);
}

int document_profile(const struct dispatch_call *c, const char *name, uint32_t version,
                     struct profile **out, struct err *err)
{
    AUTO_T(json_t) row = NULL;
    struct profile_problems problems = {0};
    if (document_find(c, "profile", name, version, &row, err) < 0)
        return -1;
    const char *body = json_string_value(json_object_get(row, "body"));
    int r = profile_parse_stored(body, strlen(body), out, &problems);
    if (r < 0)
        profile_problems_err(&problems, name, err);
    else
        (*out)->version = (uint32_t)json_integer_value(json_object_get(row, "version"));
    profile_problems_done(&problems);
    return r;
}

/* --- list ----------------------------------------------------------------------------
 */

static int has_name(const json_t *rows, const char *name)
{
    size_t i;
    json_t *row;
    json_array_foreach (rows, i, row)
        if (!strcmp(json_string_value(json_object_get(row, "name")), name))
            return true;
    return false;
}

static int list_shipped_file(const struct dispatch_call *c, const char *kind,
                             const char *file, json_t *rows, struct err *err)
{
    AUTO_STR name = strndup(file, strlen(file) - 4);
    AUTO_STR own = NULL;
    AUTO_T(json_t) row = NULL;
    AUTO_T(json_t) summary = NULL;
    AUTO_T(json_t) warnings = json_array();
    if (!name)
        return err_oom(err);
    if (has_name(rows, name) || find_shipped(kind, name, &row, NULL) < 0 || !row)
        return 0;
    /* One that is broken must not hide the others. */
    if (read_document(c, kind, json_string_value(json_object_get(row, "body")), &own,
                      &summary, warnings, NULL) < 0)
        return 0;
    json_object_del(row, "body");
    json_object_update(row, summary);
    return json_array_append(rows, row) < 0 ? err_oom(err) : 0;
}

static int xml_files(const struct dirent *d)
{
    return *d->d_name != '.' && str_ends(d->d_name, ".xml");
}

static int list_shipped(const struct dispatch_call *c, const char *kind, json_t *rows,
                        struct err *err)
{
    AUTO_STR dir = dirs_path(DIRS_DATA, "profiles");
    struct dirent **entries = NULL;
    int n = dir ? scandir(dir, &entries, xml_files, alphasort) : -1, r = 0;
    for (int i = 0; i < n; i++) {
        if (r == 0)
            r = list_shipped_file(c, kind, entries[i]->d_name, rows, err);
        free(entries[i]);
    }
    free(entries);
    return r;
}

/* The caller's own hides the site's of the same name, unless all are asked for. */
static int list_rows(const struct dispatch_call *c, const char *kind, bool all,
                     json_t **out, struct err *err)
{
    AUTO_T(json_t) stored = NULL;
    AUTO_T(json_t) rows = json_array();
    struct store *s;
    size_t i;
    json_t *row;
    if (!rows)
        return err_oom(err);
    if (dispatch_store(c, &s, err) < 0 ||
        store_doc_list(s, kind, c->uid, all, &stored, err) < 0)
        return -1;
    const char *last = "";
    json_array_foreach (stored, i, row) {
        const char *name = json_string_value(json_object_get(row, "name"));
        json_int_t owner = json_integer_value(json_object_get(row, "owner"));
        json_t *summary = json_object_get(row, "summary");
        json_object_update(row, summary);
        json_object_del(row, "summary");
        json_object_set_new(row, "origin",
                            json_string(owner == (json_int_t)c->uid ? "own"
                                        : owner                     ? "other"
                                                                    : "site"));
        /* Sorted by name, then owner: root's comes first. */
        if (!all && !strcmp(last, name))
            json_array_remove(rows, json_array_size(rows) - 1);
        json_array_append(rows, row);
        last = name;
    }
    if (list_shipped(c, kind, rows, err) < 0)
        return -1;
    *out = move(rows);
    return 0;
}

static int no_such(const struct dispatch_call *c, const char *kind, const char *name,
                   struct err *err)
{
    enum { NAMES_MAX = 4096 };
    AUTO_T(json_t) rows = NULL;
    size_t i, n = 0;
    json_t *row;
    if (list_rows(c, kind, false, &rows, err) < 0)
        return -1;
    const char **names = calloc(NAMES_MAX + 1, sizeof *names);
    json_array_foreach (rows, i, row)
        if (names && n < NAMES_MAX)
            names[n++] = json_string_value(json_object_get(row, "name"));
    const char *near = names ? str_nearest(name, names) : NULL;
    if (near)
        err_set(err, E_NOENT, "no %s '%s'; did you mean '%s'?", kind, name, near);
    else
        err_set(err, E_NOENT, "no %s '%s'; see 'lodge %s list'", kind, name, kind);
    free(names);
    return -1;
}

static int do_list(const struct dispatch_call *c, const char *kind, json_t **result,
                   struct err *err)
{
    static const char *const names[] = {"all", NULL};
    bool all;
    if (dispatch_only(c, names, err) < 0 || dispatch_flag(c, "all", &all, err) < 0)
        return -1;
    if (all && c->uid && !c->embedded)
        return err_set(err, E_PERM, "only root may list everybody's");
    return list_rows(c, kind, all, result, err);
}

/* --- show, history, add, remove ------------------------------------------------------
 */

static int need_name(const struct dispatch_call *c, const char **name, struct err *err)
{
    if (dispatch_text(c, "name", true, name, err) < 0)
        return -1;
    if (!str_is_name(*name))
        return err_set(
            err, E_INPUT,
            "'%.80s' is not a name (at most 63 letters, digits, '.', '_', '-')", *name);
    return 0;
}

static int show_resolved(const struct dispatch_call *c, const char *kind, json_t *row,
                         struct err *err)
{
    const char *body = json_string_value(json_object_get(row, "body"));
    AUTO(profile) p = NULL;
    AUTO(cluster) k = NULL;
    struct profile_problems problems = {0};
    bool is_profile = !strcmp(kind, "profile");
    int r = is_profile ? profile_parse_stored(body, strlen(body), &p, &problems)
                       : cluster_parse_stored(body, strlen(body), lookup, (void *)c, &k,
                                              &problems);
    if (r < 0)
        profile_problems_err(&problems, json_string_value(json_object_get(row, "name")),
                             err);
    profile_problems_done(&problems);
    if (r < 0)
        return -1;
    if (p)
        p->version = (uint32_t)json_integer_value(json_object_get(row, "version"));
    return json_object_set_new(row, kind, p ? profile_to_json(p) : cluster_to_json(k)) <
                   0
               ? err_oom(err)
               : 0;
}

/* With "raw" only the document, also when its profiles are gone. */
static int do_show(const struct dispatch_call *c, const char *kind, json_t **result,
                   struct err *err)
{
    static const char *const names[] = {"name", "version", "raw", NULL};
    AUTO_T(json_t) row = NULL;
    const char *name;
    int64_t version;
    bool raw;
    if (dispatch_only(c, names, err) < 0 || need_name(c, &name, err) < 0 ||
        dispatch_number(c, "version", 0, UINT32_MAX, &version, err) < 0 ||
        dispatch_flag(c, "raw", &raw, err) < 0 ||
        document_find(c, kind, name, (uint32_t)version, &row, err) < 0)
        return -1;
    if (!raw && show_resolved(c, kind, row, err) < 0)
        return -1;
    json_object_set(row, "document", json_object_get(row, "body"));
    json_object_del(row, "body");
    json_object_del(row, "summary");
    *result = move(row);
    return 0;
}

static int do_history(const struct dispatch_call *c, const char *kind, json_t **result,
                      struct err *err)
{
    static const char *const names[] = {"name", NULL};
    struct err why = {0};
    struct store *s;
    const char *name;
    if (dispatch_only(c, names, err) < 0 || need_name(c, &name, err) < 0 ||
        dispatch_store(c, &s, err) < 0)
        return -1;
    if (store_doc_history(s, kind, c->uid, name, result, &why) == 0)
        return 0;
    if (why.code == E_NOENT && c->uid &&
        store_doc_history(s, kind, 0, name, result, &why) == 0)
        return 0;
    if (why.code != E_NOENT)
        return err_set(err, why.code, "%s", why.text);
    AUTO_T(json_t) shipped = NULL;
    if (find_shipped(kind, name, &shipped, err) < 0)
        return -1;
    return shipped ? err_set(err, E_NOENT,
                             "%s '%s' comes with Lodge and has no history; add your "
                             "own of the same name to change it",
                             kind, name)
                   : no_such(c, kind, name, err);
}

static int do_add(const struct dispatch_call *c, const char *kind, json_t **result,
                  struct err *err)
{
    static const char *const names[] = {"name", "document", "replace", NULL};
    AUTO_STR name = NULL;
    AUTO_T(json_t) summary = NULL;
    AUTO_T(json_t) old = NULL;
    AUTO_T(json_t) warnings = json_array();
    const char *want, *text;
    struct store *s;
    struct err why = {0};
    uint32_t version;
    bool replace;
    if (dispatch_only(c, names, err) < 0 ||
        dispatch_text(c, "document", true, &text, err) < 0 ||
        dispatch_text(c, "name", false, &want, err) < 0 ||
        dispatch_flag(c, "replace", &replace, err) < 0 ||
        dispatch_store(c, &s, err) < 0)
        return -1;
    if (strlen(text) > DOCUMENT_MAX)
        return err_set(err, E_INPUT, "%s: larger than %d KiB", kind,
                       DOCUMENT_MAX >> 10);
    if (read_document(c, kind, text, &name, &summary, warnings, err) < 0)
        return -1;
    if (want && strcmp(want, name))
        return err_set(err, E_INPUT, "the document is of %s '%s', not '%s'", kind, name,
                       want);
    if (!replace && store_doc_get(s, kind, c->uid, name, 0, &old, &why) == 0)
        return err_set(err, E_EXISTS,
                       "%s '%s' exists already (version %" JSON_INTEGER_FORMAT
                       "); use --replace for a new version",
                       kind, name, json_integer_value(json_object_get(old, "version")));
    if (store_doc_put(s, kind, c->uid, name, c->uid, text, summary, &version, err) < 0)
        return -1;
    *result = json_pack("{s:s, s:I, s:O}", "name", name, "version", (json_int_t)version,
                        "warnings", warnings);
    return *result ? 0 : err_oom(err);
}

static int do_remove(const struct dispatch_call *c, const char *kind, json_t **result,
                     struct err *err)
{
    static const char *const names[] = {"name", NULL};
    AUTO_T(json_t) row = NULL;
    struct store *s;
    const char *name;
    if (dispatch_only(c, names, err) < 0 || need_name(c, &name, err) < 0 ||
        document_find(c, kind, name, 0, &row, err) < 0 ||
        dispatch_store(c, &s, err) < 0)
        return -1;
    const char *origin = json_string_value(json_object_get(row, "origin"));
    if (!strcmp(origin, "site"))
        return err_set(err, E_PERM, "%s '%s' is the site's; only root may remove it",
                       kind, name);
    if (!strcmp(origin, "shipped"))
        return err_set(
            err, E_PERM,
            "%s '%s' comes with Lodge and is not removed; add your own of the "
            "same name to hide it",
            kind, name);
    if (store_doc_remove(s, kind, c->uid, name, c->uid, err) < 0)
        return -1;
    *result = json_pack("{s:s}", "name", name);
    return *result ? 0 : err_oom(err);
}

#define KIND(kind)                                                                     \
    static int kind##_list(const struct dispatch_call *c, json_t **r, struct err *err) \
    {                                                                                  \
        return do_list(c, #kind, r, err);                                              \
    }                                                                                  \
    static int kind##_show(const struct dispatch_call *c, json_t **r, struct err *err) \
    {                                                                                  \
        return do_show(c, #kind, r, err);                                              \
    }                                                                                  \
    static int kind##_history(const struct dispatch_call *c, json_t **r,               \
                              struct err *err)                                         \
    {                                                                                  \
        return do_history(c, #kind, r, err);                                           \
    }                                                                                  \
    static int kind##_add(const struct dispatch_call *c, json_t **r, struct err *err)  \
    {                                                                                  \
        return do_add(c, #kind, r, err);                                               \
    }                                                                                  \
    static int kind##_remove(const struct dispatch_call *c, json_t **r,                \
                             struct err *err)                                          \
    {                                                                                  \
        return do_remove(c, #kind, r, err);                                            \
    }                                                                                  \
    const struct dispatch_method dispatch_##kind[] = {                                 \
        {#kind ".list", kind##_list, .help = "those the caller may use"},              \
        {#kind ".show", kind##_show, .help = "one, as written and resolved"},          \
        {#kind ".history", kind##_history, .help = "its versions"},                    \
        {#kind ".add", kind##_add, true, "take a document in"},                        \
        {#kind ".remove", kind##_remove, true, "remove it; its versions stay"},        \
        {0},                                                                           \
    };

KIND(profile)
KIND(cluster)
