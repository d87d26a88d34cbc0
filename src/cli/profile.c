/* SPDX-License-Identifier: Apache-2.0 */
/* lodge profile: descriptions of machines. */
#include "cli/document.h"
#include "cli/explain.h"
#include "cli/nouns.h"

#include <argp.h>
#include <string.h>

/* --- allow --------------------------------------------------------------------------- */
struct allow_options {
    const char *user, *group;
    bool remove;
};
static struct allow_options allow_input;
static const struct argp_option allow_options[] = {
    {"user", 'u', "NAME", 0, "this user"},
    {"group", 'g', "NAME", 0, "the members of this group"},
    {"remove", 'r', 0, 0, "take the right back"},
    {0},
};

static error_t allow_parse(int key, char *arg, struct argp_state *state)
{
    struct allow_options *o = state->input;
    switch (key) {
    case 'u':
        o->user = arg;
        return 0;
    case 'g':
        o->group = arg;
        return 0;
    case 'r':
        o->remove = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Without a user or group: who may now. */
static int allow_run(struct cli *cli, int nargs, char **args, struct err *err)
{
    static const struct cli_column columns[] = {
        {"kind", CLI_TEXT, false, "user or group"},
        {"id", CLI_NUM, false, "its number"},
        {0}};
    const struct allow_options *o = &allow_input;
    json_t *rows = NULL;
    json_t *q =
        o->user || o->group
            ? json_pack("{s:s, s:s, s:b}", "name", args[0], o->user ? "user" : "group",
                        o->user ? o->user : o->group, "remove", o->remove)
            : json_pack("{s:s}", "name", args[0]);
    if (!q)
        return err_oom(err);
    if (cli_call(cli, o->user || o->group ? "profile.allow" : "profile.allowed", q,
                 &rows, err) < 0)
        return -1;
    if (json_array_size(rows) == 0)
        cli_say(cli, "everybody may boot profile '%s'", args[0]);
    int r = cli_table(cli, columns, rows, err);
    json_decref(rows);
    return r;
}

static const struct cli_verb verbs[] = {
    {"list", "[PROFILE...]", "list profiles you may use", 0, CLI_ANY,
     document_list_options, document_parse_option, &document_input, document_list},
    {"show", "PROFILE...", "show what is given in a profile, or all of it", 1, CLI_ANY,
     document_show_options, document_parse_option, &document_input, document_show},
    {"add", "FILE...", "take profiles in from XML files", 1, CLI_ANY,
     document_add_options, document_parse_option, &document_input, document_add},
    {"edit", "PROFILE", "change a profile in your editor", 1, 1, .run = document_edit},
    {"copy", "PROFILE NAME", "make a profile of your own from another", 2, 2,
     document_add_options, document_parse_option, &document_input, document_copy},
    {"check", "PROFILE|FILE...", "tell all that is wrong with profiles", 1, CLI_ANY,
     document_check_options, document_parse_option, &document_input, document_check},
    {"diff", "PROFILE [PROFILE]",
     "compare two profiles, or a profile and its last version", 1, 2,
     .run = document_diff},
    {"history", "PROFILE", "list the versions of a profile", 1, 1,
     .run = document_history},
    {"remove", "PROFILE...", "remove profiles; their versions are kept", 1, CLI_ANY,
     .run = document_remove},
    {"allow", "PROFILE", "say who may boot a profile; without options, show it", 1, 1,
     allow_options, allow_parse, &allow_input, allow_run},
    {"export", "PROFILE...", "write profiles as XML", 1, CLI_ANY,
     document_export_options, document_parse_option, &document_input, document_export},
    {"explain", "PROFILE|FILE", "print each stage from request to machine", 1, 1,
     explain_options, explain_parse, &explain_input, explain_run},
    {0},
};

const struct cli_noun cli_noun_profile = {"profile", "descriptions of machines", verbs};
