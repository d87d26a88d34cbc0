/* SPDX-License-Identifier: Apache-2.0 */
/* Documents for the nouns profile and cluster: getting, checking, listing, showing. */
#include "cli/document.h"

#include <assert.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hostlist.h"
#include "base/own.h"
#include "base/str.h"
#include "image/store.h"
#include "profile/cluster.h"
#include "profile/document.h"
#include "profile/fields.h"

OWN_CLEANUP(json_t, json_decref)

struct document_options document_input;

enum { KEY_RESOLVED = 0x2000, KEY_REPLACE, KEY_OFFLINE, KEY_V3M };

const struct argp_option document_list_options[] = {
    {"all", 'a', 0, 0, "also those that others or your own ones hide"},
    {"type", 't', "TYPE", 0, "only this virtualization"},
    {0},
};
const struct argp_option document_show_options[] = {
    {"resolved", KEY_RESOLVED, 0, 0, "every field, with its default"},
    {"xml", 'x', 0, 0, "the document as it was written"},
    {"version", 'V', "NUMBER", 0, "an earlier version"},
    {0},
};
const struct argp_option document_add_options[] = {
    {"replace", KEY_REPLACE, 0, 0, "make a new version of one that exists"},
    {0},
};
const struct argp_option document_check_options[] = {
    {"offline", KEY_OFFLINE, 0, 0, "do not look for images and files on this machine"},
    {0},
};
const struct argp_option document_export_options[] = {
    {"v3m", KEY_V3M, 0, 0, "in V3M's own language, for its tools"},
    {"dir", 'd', "DIR", 0, "a file NAME.xml for each, in this folder"},
    {"version", 'V', "NUMBER", 0, "an earlier version"},
    {0},
};

error_t document_parse_option(int key, char *arg, struct argp_state *state)
{
    struct document_options *o = state->input;
    switch (key) {
    case 'a':
        o->all = true;
        return 0;
    case 't':
        o->type = arg;
        return 0;
    case 'V':
        o->version = arg;
        return 0;
    case 'd':
        o->dir = arg;
        return 0;
    case KEY_RESOLVED:
        o->resolved = true;
        return 0;
    case 'x':
        o->xml = true;
        return 0;
    case KEY_REPLACE:
        o->replace = true;
        return 0;
    case KEY_OFFLINE:
        o->offline = true;
        return 0;
    case KEY_V3M:
        o->v3m = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

bool document_is_file(const char *ref)
{
    return !strcmp(ref, "-") || strchr(ref, '/') || str_ends(ref, ".xml");
}

void document_done(struct document *d)
{
    free(d->label);
    free(d->name);
    free(d->text);
    json_decref(d->row);
    *d = (struct document){0};
}

static int get_file(const char *ref, struct document *out, struct err *err)
{
    bool in = !strcmp(ref, "-");
    size_t len;
    if (in ? fd_slurp(STDIN_FILENO, "standard input", DOCUMENT_MAX, &out->text, &len,
                      err)
           : fd_read_file(ref, DOCUMENT_MAX, &out->text, &len, err))
        return -1;
    if (strlen(out->text) != len)
        return err_set(err, E_INPUT, "%s: contains a NUL; is it XML at all?", ref);
    out->label = strdup(in ? "standard input" : ref);
    return out->label ? 0 : err_oom(err);
}

static int get_named(struct cli *cli, const char *ref, struct document *out,
                     struct err *err)
{
    const char *version = document_input.version, *at = strchr(ref, '@');
    uint64_t number = 0;
    out->name = at ? strndup(ref, (size_t)(at - ref)) : strdup(ref);
    out->label = strdup(ref);
    if (!out->name || !out->label)
        return err_oom(err);
    if (at)
        version = at + 1;
    if (version && (!str_to_u64(version, &number) || !number || number > UINT32_MAX))
        return err_set(err, E_USAGE,
                       "'%s' is not the number of a version; see 'lodge %s "
                       "history %s'",
                       version, cli->noun->name, out->name);
    AUTO_STR method = str_printf("%s.show", cli->noun->name);
    if (!method || cli_call(cli, method,
                            json_pack("{s:s, s:I, s:b}", "name", out->name, "version",
                                      (json_int_t)number, "raw", 1),
                            &out->row, err) < 0)
        return -1;
    out->text = strdup(json_string_value(json_object_get(out->row, "document")));
    return out->text ? 0 : err_oom(err);
}

int document_get(struct cli *cli, const char *ref, struct document *out,
                 struct err *err)
{
    struct document got = {0};
    int r = document_is_file(ref) ? get_file(ref, &got, err)
                                  : get_named(cli, ref, &got, err);
    if (r < 0) {
        document_done(&got);
        return -1;
    }
    *out = got;
    return 0;
}

static int lookup(void *arg, const char *name, struct profile **out, struct err *err)
{
    AUTO_T(json_t) row = NULL;
    if (cli_call(arg, "profile.show", json_pack("{s:s}", "name", name), &row, err) < 0)
        return -1;
    return profile_from_json(json_object_get(row, "profile"), out, err);
}

int document_parse(struct cli *cli, const char *text, json_t **resolved, char **name,
                   struct profile_problems *problems)
{
    AUTO(profile) p = NULL;
    AUTO(cluster) c = NULL;
    bool is_profile = strcmp(cli->noun->name, "cluster") != 0;
    int r = is_profile ? profile_parse(text, strlen(text), &p, problems)
                       : cluster_parse(text, strlen(text), lookup, cli, &c, problems);
    if (r < 0)
        return -1;
    assert(p || c);
    if (resolved)
        *resolved = p ? profile_to_json(p) : cluster_to_json(c);
    if (name)
        *name = strdup(p ? p->name : c->name);
    return 0;
}

static void check_file(const json_t *from, const char *key, struct profile_problems *p)
{
    const char *path = json_string_value(json_object_get(from, key));
    if (path && access(path, R_OK) < 0)
        profile_problem(p, 0, key,
                        "'%s' is not on this machine, or you may not read it", path);
}

static void check_list(const json_t *from, const char *list, const char *key,
                       struct profile_problems *p)
{
    size_t i;
    json_t *item;
    json_array_foreach (json_object_get(from, list), i, item)
        check_file(item, key, p);
}

static void check_profile_host(const json_t *profile, struct profile_problems *problems)
{
    AUTO(image) image = NULL;
    struct err err = {0};
    const char *ref = json_string_value(json_object_get(profile, "image"));
    bool made = json_integer_value(json_object_get(profile, "image_size_bytes")) > 0;
    if (ref && *ref == '/' && !made)
        check_file(profile, "image", problems);
    else if (ref && *ref != '/' && image_find(ref, &image, &err) < 0)
        profile_problem(problems, 0, "image", "%s", err.text);
    check_file(profile, "kernel", problems);
    check_file(profile, "initrd", problems);
    check_file(profile, "cdrom", problems);
    check_list(profile, "disks", "path", problems);
    check_list(profile, "shares", "source", problems);
}

void document_check_host(const json_t *resolved, struct profile_problems *problems)
{
    const json_t *members = json_object_get(resolved, "members");
    size_t i;
    json_t *m;
    if (!members)
        check_profile_host(resolved, problems);
    json_array_foreach (members, i, m)
        check_profile_host(json_object_get(m, "resolved"), problems);
}

void document_tell(const char *label, const struct profile_problems *problems)
{
    AUTO_STR text = profile_problems_text(problems, label);
    fflush(stdout);
    fputs(text ? text : "", stderr);
}

/* --- list ---------------------------------------------------------------------------- */

static const struct cli_column profile_columns[] = {
    {"name", CLI_TEXT, .help = "name"},
    {"type", CLI_TEXT, .help = "virtualization"},
    {"vcpus", CLI_NUM, .help = "virtual CPUs"},
    {"memory_bytes", CLI_BYTES, .help = "memory"},
    {"image", CLI_TEXT, .help = "image"},
    {"origin", CLI_TEXT, .help = "own, site or shipped"},
    {"version", CLI_NUM, .help = "number of its version; 0 for shipped ones"},
    {"at", CLI_TIME, true, "when this version was made"},
    {"owner", CLI_NUM, true, "user number"},
    {"who", CLI_NUM, true, "user number of who made this version"},
    {"description", CLI_TEXT, true, "what it is for"},
    {0},
};
static const struct cli_column cluster_columns[] = {
    {"name", CLI_TEXT, .help = "name"},
    {"members", CLI_NUM, .help = "kinds of machines"},
    {"vms", CLI_NUM, .help = "machines in all"},
    {"origin", CLI_TEXT, .help = "own, site or shipped"},
    {"version", CLI_NUM, .help = "number of its version; 0 for shipped ones"},
    {"at", CLI_TIME, true, "when this version was made"},
    {"owner", CLI_NUM, true, "user number"},
    {"who", CLI_NUM, true, "user number of who made this version"},
    {"description", CLI_TEXT, true, "what it is for"},
    {0},
};

static const struct cli_column *columns_of(const struct cli *cli)
{
    return strcmp(cli->noun->name, "cluster") ? profile_columns : cluster_columns;
}

int document_type(const char *word, struct err *err)
{
    int type = profile_word(profile_type_names, word);
    const char *near = str_nearest(word, profile_type_names);
    if (type >= 0)
        return type;
    return err_set(err, E_USAGE,
                   near ? "--type: '%s' is unknown; did you mean '%s'?"
                        : "--type: '%s' is unknown; see 'lodge node check'",
                   word, near);
}

static bool is_wanted(const json_t *row, const struct hostlist *names, const char *type)
{
    const char *name = json_string_value(json_object_get(row, "name"));
    const char *has = json_string_value(json_object_get(row, "type"));
    if (type && (!has || strcasecmp(has, type)))
        return false;
    for (size_t i = 0; names && i < names->count; i++)
        if (!strcmp(names->names[i], name))
            return true;
    return !names;
}

int document_list(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO(hostlist) names = NULL;
    AUTO_T(json_t) rows = NULL;
    AUTO_T(json_t) wanted = json_array();
    AUTO_STR method = str_printf("%s.list", cli->noun->name);
    size_t i;
    json_t *row;
    if (!method || !wanted)
        return err_oom(err);
    if (document_input.type && document_type(document_input.type, err) < 0)
        return -1;
    if ((nargs && cli_names(nargs, args, &names, err) < 0) ||
        cli_call(cli, method, json_pack("{s:b}", "all", document_input.all), &rows,
                 err) < 0)
        return -1;
    json_array_foreach (rows, i, row)
        if (is_wanted(row, names, document_input.type))
            json_array_append(wanted, row);
    if (names && !json_array_size(wanted)) {
        AUTO_STR all = hostlist_format((const char *const *)names->names, names->count);
        AUTO_STR type = document_input.type
                            ? str_printf(" of type '%s'", document_input.type)
                            : strdup("");
        if (!all || !type)
            return err_oom(err);
        return err_set(err, E_NOENT, "no %s '%s'%s; see 'lodge %s list'",
                       cli->noun->name, all, type, cli->noun->name);
    }
    return cli_table(cli, columns_of(cli), wanted, err);
}

/* --- show ---------------------------------------------------------------------------- */

json_t *document_field_rows(const json_t *profile)
{
    AUTO_T(json_t) rows = json_array();
    AUTO(profile) p = NULL;
    AUTO(profile) def = profile_new();
    if (!rows || !def || profile_from_json(profile, &p, NULL) < 0)
        return NULL;
    for (const struct profile_field *f = profile_fields; f->name; f++) {
        AUTO_STR value = profile_field_text(f, p);
        AUTO_STR usual = profile_field_text(f, def);
        if (f->kind == FIELD_LIST) {
            const json_t *list = json_object_get(profile, f->name);
            value = list ? json_dumps(list, JSON_COMPACT) : str_printf("%s", "");
            usual = str_printf("%s", "");
        }
        if (!value || !usual)
            return NULL;
        json_array_append_new(rows,
                              json_pack("{s:s, s:s, s:s, s:b, s:s}", "field", f->name,
                                        "value", value, "default", usual, "given",
                                        strcmp(value, usual) != 0, "help", f->help));
    }
    return move(rows);
}

static const struct cli_column field_columns[] = {
    {"field", CLI_TEXT, .help = "name of the field"},
    {"value", CLI_TEXT, .help = "its value"},
    {"default", CLI_TEXT, .help = "what it is when it is not given"},
    {"given", CLI_BOOL, true, "whether it is another than the default"},
    {"help", CLI_TEXT, true, "what it means"},
    {0},
};

static const struct cli_column member_columns[] = {
    {"name", CLI_TEXT, .help = "of the machines, a number is added"},
    {"count", CLI_NUM, .help = "how many"},
    {"profile", CLI_TEXT, .help = "their profile"},
    {"order", CLI_NUM, .help = "lower ones boot first"},
    {"type", CLI_TEXT, .help = "virtualization"},
    {"vcpus", CLI_NUM, .help = "virtual CPUs of each"},
    {"memory_bytes", CLI_BYTES, .help = "memory of each"},
    {"image", CLI_TEXT, .help = "image"},
    {0},
};

/* Only what was given, unless all is asked for. */
static int show_profile(struct cli *cli, const json_t *row, struct err *err)
{
    AUTO_T(json_t) rows = document_field_rows(json_object_get(row, "profile"));
    size_t i = 0;
    if (!rows)
        return err_oom(err);
    if (!document_input.resolved) {
        while (i < json_array_size(rows))
            if (json_is_true(json_object_get(json_array_get(rows, i), "given")))
                i++;
            else
                json_array_remove(rows, i);
        cli->columns = cli->columns ? cli->columns : "field,value";
    }
    return cli_table(cli, field_columns, rows, err);
}

static int show_cluster(struct cli *cli, const json_t *row, struct err *err)
{
    const json_t *cluster = json_object_get(row, "cluster");
    AUTO_T(json_t) rows = json_array();
    size_t i;
    json_t *m;
    json_array_foreach (json_object_get(cluster, "members"), i, m) {
        AUTO_T(json_t) r = json_copy(json_object_get(m, "resolved"));
        json_object_update(r, m);
        json_array_append(rows, r);
    }
    if (cli_table(cli, member_columns, rows, err) < 0)
        return -1;
    json_array_foreach (json_object_get(cluster, "networks"), i, m)
        cli_say(cli, "network %s %s", json_string_value(json_object_get(m, "name")),
                json_string_value(json_object_get(m, "subnet"))
                    ? json_string_value(json_object_get(m, "subnet"))
                    : "");
    json_array_foreach (json_object_get(cluster, "disks"), i, m)
        cli_say(cli, "shared disk %s %s", json_string_value(json_object_get(m, "id")),
                json_string_value(json_object_get(m, "path")));
    cli_say(cli, "placement %s",
            json_string_value(json_object_get(cluster, "placement")));
    return 0;
}

static int show_one(struct cli *cli, const char *ref, struct err *err)
{
    AUTO_T(json_t) row = NULL;
    AUTO_STR method = str_printf("%s.show", cli->noun->name);
    struct document d = {0};
    if (document_is_file(ref))
        return err_set(err, E_USAGE,
                       "'%s' is a file; use 'lodge %s check' or 'lodge "
                       "explain' for files",
                       ref, cli->noun->name);
    if (document_get(cli, ref, &d, err) < 0)
        return -1;
    if (document_input.xml && !cli->json) {
        fputs(d.text, stdout);
        document_done(&d);
        return 0;
    }
    json_t *params = json_pack("{s:s, s:O}", "name", d.name, "version",
                               json_object_get(d.row, "version"));
    document_done(&d);
    if (!method || cli_call(cli, method, params, &row, err) < 0)
        return -1;
    if (cli->json)
        return cli_show(cli, columns_of(cli), row, err);
    return json_object_get(row, "profile") ? show_profile(cli, row, err)
                                           : show_cluster(cli, row, err);
}

int document_show(struct cli *cli, int nargs, char **args, struct err *err)
{
    for (int i = 0; i < nargs; i++) {
        const char *columns = cli->columns;
        if (nargs > 1 && !cli->json && !document_input.xml)
            cli_say(cli, "%s%s:", i ? "\n" : "", args[i]);
        if (show_one(cli, args[i], err) < 0) {
            if (nargs == 1)
                return -1;
            cli_error(cli, err);
        }
        cli->columns = columns;
    }
    return 0;
}

static const struct cli_column history_columns[] = {
    {"version", CLI_NUM, .help = "its number"},
    {"at", CLI_TIME, .help = "when"},
    {"who", CLI_NUM, .help = "user number of who made it"},
    {"action", CLI_TEXT, .help = "add, change or remove"},
    {0},
};

int document_history(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO_T(json_t) rows = NULL;
    AUTO_STR method = str_printf("%s.history", cli->noun->name);
    if (!method ||
        cli_call(cli, method, json_pack("{s:s}", "name", args[0]), &rows, err) < 0)
        return -1;
    return cli_table(cli, history_columns, rows, err);
}
