/* SPDX-License-Identifier: Apache-2.0 */
/* lodge store: the database as a whole. These verbs open the file itself, also while
 * lodged serves it: whoever may read the file may do this. */
#include "cli/nouns.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/own.h"
#include "base/str.h"
#include "cli/document.h"
#include "profile/cluster.h"
#include "profile/document.h"
#include "store/store.h"

OWN_CLEANUP(json_t, json_decref)

static struct store_options {
    const char *database;
} input;

static const struct argp_option options[] = {
    {"database", 'D', "FILE", 0, "instead of lodge.db in the state directory"},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct store_options *o = state->input;
    if (key != 'D')
        return ARGP_ERR_UNKNOWN;
    o->database = arg;
    return 0;
}

/* The store that is there; only an import makes another than lodge.db. */
static int open_store(struct store **out, struct err *err)
{
    if (input.database && access(input.database, F_OK) < 0)
        return err_sys(err, "store '%s'", input.database);
    return store_open(input.database, out, err);
}

struct kept {
    const char *kind, *name, *body;
    uid_t owner;
};

/* Everybody's profiles and clusters, each in its current version. */
static int each_document(struct store *s,
                         int (*fn)(const struct kept *d, void *arg, struct err *err),
                         void *arg, struct err *err)
{
    static const char *const kinds[] = {"profile", "cluster"};
    for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
        AUTO_T(json_t) rows = NULL;
        size_t i;
        json_t *row;
        if (store_doc_list(s, kinds[k], 0, true, &rows, err) < 0)
            return -1;
        json_array_foreach (rows, i, row) {
            AUTO_T(json_t) full = NULL;
            struct kept d = {
                .kind = kinds[k],
                .name = json_string_value(json_object_get(row, "name")),
                .owner = (uid_t)json_integer_value(json_object_get(row, "owner"))};
            if (store_doc_get(s, d.kind, d.owner, d.name, 0, &full, err) < 0)
                return -1;
            d.body = json_string_value(json_object_get(full, "body"));
            if (fn(&d, arg, err) < 0)
                return -1;
        }
    }
    return 0;
}

/* Every document must still be one: what older programs took in. */
static int check_document(const struct kept *d, void *arg, struct err *err)
{
    json_t *problems = arg;
    AUTO(profile) p = NULL;
    AUTO(cluster) c = NULL;
    struct profile_problems found = {0};
    struct err why = {0};
    int bad =
        !strcmp(d->kind, "profile")
            ? profile_parse_stored(d->body, strlen(d->body), &p, &found)
            : cluster_parse_stored(d->body, strlen(d->body), NULL, NULL, &c, &found);
    if (bad < 0 && profile_problems_err(&found, d->name, &why) < 0)
        json_array_append_new(problems, json_sprintf("%s %s", d->kind, why.text));
    profile_problems_done(&found);
    return 0;
}

static int run_check(struct cli *cli, int nargs, char **args, struct err *err)
{
    static const struct cli_column columns[] = {
        {"problem", CLI_TEXT, .help = "what is wrong"}, {0}};
    AUTO(store) s = NULL;
    AUTO_T(json_t) problems = NULL;
    AUTO_T(json_t) rows = json_array();
    size_t i;
    json_t *text;
    if (open_store(&s, err) < 0 || store_check(s, &problems, err) < 0 ||
        each_document(s, check_document, problems, err) < 0)
        return -1;
    json_array_foreach (problems, i, text)
        json_array_append_new(rows, json_pack("{s:O}", "problem", text));
    if (!json_array_size(rows)) {
        cli_say(cli, "store '%s' is clean", store_path(s));
        return 0;
    }
    if (cli_table(cli, columns, rows, err) < 0)
        return -1;
    return err_set(err, E_IO, "store '%s': %zu problem%s; restore a backup",
                   store_path(s), json_array_size(rows),
                   json_array_size(rows) == 1 ? "" : "s");
}

static int run_backup(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO(store) s = NULL;
    if (open_store(&s, err) < 0)
        return -1;
    if (!cli->dry_run && store_backup(s, args[0], err) < 0)
        return -1;
    cli_say(cli,
            cli->dry_run ? "'%s' would be copied to '%s'" : "'%s' is copied to '%s'",
            store_path(s), args[0]);
    return 0;
}

struct export
{
    const char *dir;
    size_t count;
};

/* For people and version control: the current documents as files, in profiles/UID/. */
static int export_document(const struct kept *d, void *arg, struct err *err)
{
    struct export *e = arg;
    AUTO_STR folder = str_printf("%s/%ss/%u", e->dir, d->kind, (unsigned)d->owner);
    AUTO_STR path = str_printf("%s/%s.xml", folder, d->name);
    if (!folder || !path)
        return err_oom(err);
    if (fd_mkdirs(folder, 0700, err) < 0 ||
        fd_replace_file(path, d->body, strlen(d->body), 0600, err) < 0)
        return -1;
    e->count++;
    return 0;
}

static int run_export(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO(store) s = NULL;
    AUTO_STR dump = str_printf("%s/store.jsonl", args[0]);
    struct export e = {.dir = args[0]};
    if (!dump)
        return err_oom(err);
    if (access(dump, F_OK) == 0 && !cli->force)
        return err_set(err, E_EXISTS, "'%s' exists; use -f to replace it", dump);
    if (open_store(&s, err) < 0)
        return -1;
    if (cli->dry_run) {
        cli_say(cli, "'%s' would be written to '%s'", store_path(s), args[0]);
        return 0;
    }
    if (fd_mkdirs(args[0], 0700, err) < 0 || store_dump(s, dump, err) < 0 ||
        each_document(s, export_document, &e, err) < 0)
        return -1;
    cli_say(cli, "%zu documents with all their versions are in '%s'", e.count, args[0]);
    return 0;
}

static int run_import(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO(store) s = NULL;
    struct stat st;
    AUTO_STR inside = str_printf("%s/store.jsonl", args[0]);
    if (!inside)
        return err_oom(err);
    if (stat(args[0], &st) < 0)
        return err_sys(err, "'%s'", args[0]);
    const char *path = S_ISDIR(st.st_mode) ? inside : args[0];
    if (cli->dry_run) {
        cli_say(cli, "'%s' would be read", path);
        return access(path, R_OK) < 0 ? err_sys(err, "'%s'", path) : 0;
    }
    if (store_open(input.database, &s, err) < 0 || store_load(s, path, err) < 0)
        return -1;
    cli_say(cli, "'%s' holds what '%s' held", store_path(s), path);
    return 0;
}

static const struct cli_verb verbs[] = {
    {"check", "", "look for damage", 0, 0, options, parse, &input, run_check},
    {"backup", "FILE", "copy the whole store while it is in use", 1, 1, options, parse,
     &input, run_backup},
    {"export", "DIR", "write everything as files: documents and all history", 1, 1,
     options, parse, &input, run_export},
    {"import", "DIR|FILE", "read an export back into an empty store", 1, 1, options,
     parse, &input, run_import},
    {0},
};

const struct cli_noun cli_noun_store = {
    "store", "where profiles, clusters and operations are kept", verbs};
