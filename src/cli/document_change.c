/* SPDX-License-Identifier: Apache-2.0 */
/* Documents that change: add, edit, copy, remove; and check, diff, export. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hostlist.h"
#include "base/own.h"
#include "base/proc.h"
#include "base/str.h"
#include "cli/document.h"
#include "profile/document.h"

OWN_CLEANUP(json_t, json_decref)

static void done_document(struct document *d)
{
    document_done(d);
}
#define AUTO_DOCUMENT __attribute__((cleanup(done_document))) struct document

static void done_problems(struct profile_problems *p)
{
    profile_problems_done(p);
}
#define AUTO_PROBLEMS __attribute__((cleanup(done_problems))) struct profile_problems

static const struct cli_column changed_columns[] = {
    {"name", CLI_TEXT, .help = "name"},
    {"version", CLI_NUM, .help = "number of its new version"},
    {0},
};

/* Check text here, with all that is wrong told; then hand it in. */
static int save(struct cli *cli, const char *label, const char *text, bool replace,
                struct err *err)
{
    const char *kind = cli->noun->name;
    AUTO_STR name = NULL;
    AUTO_STR method = str_printf("%s.add", kind);
    AUTO_T(json_t) row = NULL;
    AUTO_T(json_t) resolved = NULL;
    AUTO_PROBLEMS problems = {0}, host = {0};
    if (!method)
        return err_oom(err);
    if (document_parse(cli, text, &resolved, &name, &problems) < 0) {
        document_tell(label, &problems);
        return err_set(err, E_INPUT, "%s: not taken, %zu error%s; see lodge-%s(5)",
                       label, problems.errors, problems.errors == 1 ? "" : "s", kind);
    }
    document_check_host(resolved, &host);
    for (size_t i = 0; i < host.count; i++)
        host.at[i].warning = true;
    document_tell(label, &problems);
    document_tell(label, &host);
    if (cli->dry_run) {
        cli_say(cli, "%s '%s' would be %s", kind, name, replace ? "saved" : "added");
        return 0;
    }
    if (cli_call(cli, method,
                 json_pack("{s:s, s:s, s:b}", "name", name, "document", text, "replace",
                           replace),
                 &row, err) < 0)
        return -1;
    if (cli->json)
        return cli_show(cli, changed_columns, row, err);
    cli_say(cli, "%s '%s' is version %" JSON_INTEGER_FORMAT, kind, name,
            json_integer_value(json_object_get(row, "version")));
    return 0;
}

int document_add(struct cli *cli, int nargs, char **args, struct err *err)
{
    for (int i = 0; i < nargs; i++) {
        AUTO_DOCUMENT d = {0};
        /* A bare name here is a file in this folder, if there is one. */
        bool bare = !document_is_file(args[i]);
        AUTO_STR path = str_printf("%s%s", bare ? "./" : "", args[i]);
        if (!path)
            return err_oom(err);
        int r = document_get(cli, path, &d, err);
        if (r == 0)
            r = save(cli, d.label, d.text, document_input.replace, err);
        if (r < 0 && nargs == 1)
            return -1;
        if (r < 0)
            cli_error(cli, err);
    }
    return 0;
}

char *document_rename(const char *text, const char *name)
{
    const char *at = text, *comment, *tag;
    while ((tag = strstr(at, "<name>")) && (comment = strstr(at, "<!--")) &&
           comment < tag) {
        const char *end = strstr(comment, "-->");
        if (!end)
            return NULL;
        at = end + 3;
    }
    const char *end = tag ? strstr(tag, "</name>") : NULL;
    return end ? str_printf("%.*s%s%s", (int)(tag + 6 - text), text, name, end) : NULL;
}

int document_copy(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO_DOCUMENT d = {0};
    if (!str_is_name(args[1]))
        return err_set(
            err, E_USAGE,
            "'%.80s' is not a name (at most 63 letters, digits, '.', '_', '-')",
            args[1]);
    if (document_get(cli, args[0], &d, err) < 0)
        return -1;
    AUTO_STR text = document_rename(d.text, args[1]);
    if (!text)
        return err_set(err, E_INPUT, "%s: has no <name> to change", args[0]);
    return save(cli, args[1], text, document_input.replace, err);
}

/* --- edit ---------------------------------------------------------------------------- */

/* $EDITOR may hold options; it is a list of words, never a shell's string. */
static int run_editor(const char *path, struct err *err)
{
    enum { WORDS_MAX = 16 };
    const char *editor = getenv("VISUAL"), *words[WORDS_MAX + 2] = {NULL};
    if (str_empty(editor))
        editor = getenv("EDITOR");
    if (str_empty(editor))
        editor = access("/usr/bin/editor", X_OK) == 0 ? "/usr/bin/editor" : "vi";
    AUTO_STR copy = strdup(editor);
    AUTO_FD pidfd = -1;
    size_t n = 0;
    char *save_ptr = NULL;
    if (!copy)
        return err_oom(err);
    for (char *w = strtok_r(copy, " ", &save_ptr); w && n < WORDS_MAX;
         w = strtok_r(NULL, " ", &save_ptr))
        words[n++] = w;
    words[n] = path;
    struct proc_spec spec = {.argv = words};
    int status;
    if (proc_spawn(&spec, &pidfd, NULL, err) < 0)
        return err_at(err, "editor (set EDITOR)");
    if (proc_wait(pidfd, -1, &status, err) < 0)
        return -1;
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        return err_set(err, E_CANCELLED, "the editor '%s' failed; nothing is changed",
                       editor);
    return 0;
}

static bool edit_again(struct cli *cli)
{
    return isatty(STDIN_FILENO) && isatty(STDERR_FILENO) && !cli->force &&
           cli_confirm(cli, "edit again?");
}

/* Until it is right, or given up: then the copy stays. */
static int edit_loop(struct cli *cli, const char *path, const char *old,
                     struct err *err)
{
    for (;;) {
        AUTO_STR text = NULL;
        AUTO_STR name = NULL;
        AUTO_PROBLEMS problems = {0};
        size_t len;
        if (run_editor(path, err) < 0 ||
            fd_read_file(path, DOCUMENT_MAX, &text, &len, err) < 0)
            return -1;
        if (!strcmp(text, old)) {
            cli_say(cli, "nothing is changed");
            return 0;
        }
        if (document_parse(cli, text, NULL, &name, &problems) == 0)
            return save(cli, name, text, true, err);
        document_tell(path, &problems);
        if (!edit_again(cli))
            return err_set(
                err, E_INPUT,
                "nothing is saved; what you wrote is in %s, go on with: lodge "
                "%s add --replace %s",
                path, cli->noun->name, path);
    }
}

int document_edit(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO_DOCUMENT d = {0};
    char path[] = "/tmp/lodge-XXXXXX.xml";
    if (document_is_file(args[0]))
        return err_set(err, E_USAGE, "'%s' is a file; edit it, then 'lodge %s add' it",
                       args[0], cli->noun->name);
    if (document_get(cli, args[0], &d, err) < 0)
        return -1;
    AUTO_FD fd = mkostemps(path, 4, O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, "%s", path);
    if (fd_write_all(fd, d.text, strlen(d.text), err) < 0)
        return -1;
    int r = edit_loop(cli, path, d.text, err);
    if (r == 0 || (err && err->code != E_INPUT))
        unlink(path);
    return r;
}

/* --- check, diff --------------------------------------------------------------------- */

static int check_one(struct cli *cli, const char *ref, size_t *errors, struct err *err)
{
    AUTO_DOCUMENT d = {0};
    AUTO_T(json_t) resolved = NULL;
    AUTO_STR name = NULL;
    AUTO_PROBLEMS problems = {0}, host = {0};
    if (document_get(cli, ref, &d, err) < 0)
        return -1;
    if (document_parse(cli, d.text, &resolved, &name, &problems) == 0 &&
        !document_input.offline)
        document_check_host(resolved, &host);
    document_tell(d.label, &problems);
    document_tell(d.label, &host);
    *errors += problems.errors + host.errors;
    if (!problems.errors && !host.errors)
        cli_say(cli, "%s: %s '%s' is fine", d.label, cli->noun->name, name);
    return 0;
}

int document_check(struct cli *cli, int nargs, char **args, struct err *err)
{
    size_t errors = 0;
    for (int i = 0; i < nargs; i++)
        if (check_one(cli, args[i], &errors, err) < 0) {
            if (nargs == 1)
                return -1;
            cli_error(cli, err);
        }
    if (errors)
        return err_set(err, E_INPUT, "%zu error%s; see lodge-%s(5)", errors,
                       errors == 1 ? "" : "s", cli->noun->name);
    return 0;
}

static const struct cli_column diff_columns[] = {
    {"field", CLI_TEXT, .help = "name of the field"},
    {"left", CLI_TEXT, .help = "its value in the first"},
    {"right", CLI_TEXT, .help = "its value in the second"},
    {0},
};

static int resolve(struct cli *cli, const char *ref, json_t **out, struct err *err)
{
    AUTO_DOCUMENT d = {0};
    AUTO_PROBLEMS problems = {0};
    if (document_get(cli, ref, &d, err) < 0)
        return -1;
    AUTO_T(json_t) all = NULL;
    if (document_parse(cli, d.text, &all, NULL, &problems) < 0)
        return profile_problems_err(&problems, d.label, err);
    if (strcmp(cli->noun->name, "profile")) {
        *out = move(all);
        return 0;
    }
    /* As 'show' tells them. */
    AUTO_T(json_t) rows = document_field_rows(all);
    AUTO_T(json_t) texts = json_object();
    size_t i;
    json_t *row;
    json_array_foreach (rows, i, row)
        if (json_object_set(texts, json_string_value(json_object_get(row, "field")),
                            json_object_get(row, "value")) < 0)
            return err_oom(err);
    *out = rows ? move(texts) : NULL;
    return *out ? 0 : err_oom(err);
}

/* One argument: the version before the current one against it. */
static int diff_sides(struct cli *cli, int nargs, char **args, json_t **left,
                      json_t **right, struct err *err)
{
    AUTO_STR before = NULL;
    AUTO_DOCUMENT d = {0};
    if (nargs == 1) {
        if (document_get(cli, args[0], &d, err) < 0)
            return -1;
        json_int_t version = json_integer_value(json_object_get(d.row, "version"));
        if (version < 2)
            return err_set(err, E_USAGE,
                           "'%s' has no earlier version; name two to compare", args[0]);
        before = str_printf("%s@%" JSON_INTEGER_FORMAT, d.name, version - 1);
        if (!before)
            return err_oom(err);
    }
    return resolve(cli, before ? before : args[0], left, err) < 0 ||
                   resolve(cli, nargs == 1 ? args[0] : args[1], right, err) < 0
               ? -1
               : 0;
}

static void put_value(json_t *row, const char *key, const json_t *value)
{
    AUTO_STR text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    json_object_set_new(row, key,
                        json_is_string(value) ? json_incref((json_t *)value)
                                              : json_string(text ? text : ""));
}

static void diff_objects(const json_t *left, const json_t *right, bool both,
                         json_t *rows)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)left, key, value) {
        const json_t *other = json_object_get(right, key);
        if (!strcmp(key, "name") || (other && (!both || json_equal(value, other))))
            continue;
        json_t *row = json_pack("{s:s}", "field", key);
        put_value(row, both ? "left" : "right", value);
        put_value(row, both ? "right" : "left", other);
        json_array_append_new(rows, row);
    }
}

int document_diff(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO_T(json_t) left = NULL;
    AUTO_T(json_t) right = NULL;
    AUTO_T(json_t) rows = json_array();
    if (diff_sides(cli, nargs, args, &left, &right, err) < 0)
        return -1;
    diff_objects(left, right, true, rows);
    diff_objects(right, left, false, rows);
    if (!json_array_size(rows)) {
        cli_say(cli, "they mean the same");
        return 0;
    }
    return cli_table(cli, diff_columns, rows, err) < 0 ? -1 : 1;
}

/* --- remove, export ------------------------------------------------------------------ */

int document_remove(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO(hostlist) names = NULL;
    AUTO_STR method = str_printf("%s.remove", cli->noun->name);
    if (!method)
        return err_oom(err);
    if (cli_names(nargs, args, &names, err) < 0)
        return -1;
    if (!cli->dry_run && !cli_confirm(cli, "remove %zu %s%s?", names->count,
                                      cli->noun->name, names->count == 1 ? "" : "s"))
        return err_set(err, E_CANCELLED, "nothing is removed");
    for (size_t i = 0; i < names->count; i++) {
        const char *name = names->names[i];
        if (cli->dry_run) {
            AUTO_DOCUMENT d = {0};
            if (document_get(cli, name, &d, err) < 0)
                cli_error(cli, err);
            else
                cli_say(cli, "%s '%s' would be removed", cli->noun->name, name);
        } else if (cli_call(cli, method, json_pack("{s:s}", "name", name), NULL, err) <
                   0) {
            cli_error(cli, err);
        } else {
            cli_say(cli,
                    "%s '%s' is removed; its versions are kept, see 'lodge %s "
                    "history %s'",
                    cli->noun->name, name, cli->noun->name, name);
        }
    }
    return 0;
}

static int to_v3m(struct cli *cli, const struct document *d, char **out,
                  struct err *err)
{
    struct profile *p = NULL;
    AUTO_PROBLEMS problems = {0};
    if (strcmp(cli->noun->name, "profile"))
        return err_set(err, E_USAGE, "V3M had no clusters; leave out --v3m");
    if (profile_parse(d->text, strlen(d->text), &p, &problems) < 0)
        return profile_problems_err(&problems, d->label, err);
    int r = profile_to_v3m(p, out, err);
    profile_free(p);
    return r;
}

static int export_one(struct cli *cli, const char *ref, struct err *err)
{
    AUTO_DOCUMENT d = {0};
    AUTO_STR v3m = NULL;
    if (document_get(cli, ref, &d, err) < 0 ||
        (document_input.v3m && to_v3m(cli, &d, &v3m, err) < 0))
        return -1;
    const char *text = v3m ? v3m : d.text;
    if (!document_input.dir) {
        fputs(text, stdout);
        return 0;
    }
    AUTO_STR path =
        str_printf("%s/%s.xml", document_input.dir, d.name ? d.name : "out");
    if (!path)
        return err_oom(err);
    if (access(path, F_OK) == 0 && !cli->force)
        return err_set(err, E_EXISTS, "'%s' exists; use -f to replace it", path);
    if (cli->dry_run) {
        cli_say(cli, "%s would be written", path);
        return 0;
    }
    return fd_replace_file(path, text, strlen(text), 0644, err);
}

int document_export(struct cli *cli, int nargs, char **args, struct err *err)
{
    if (document_input.dir && fd_mkdirs(document_input.dir, 0755, err) < 0)
        return -1;
    for (int i = 0; i < nargs; i++)
        if (export_one(cli, args[i], err) < 0) {
            if (nargs == 1)
                return -1;
            cli_error(cli, err);
        }
    return 0;
}
