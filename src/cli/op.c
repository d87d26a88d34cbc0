/* SPDX-License-Identifier: Apache-2.0 */
/* lodge op: operations. */
#include "cli/nouns.h"

#include <string.h>

#include "base/own.h"
#include "base/str.h"

OWN_CLEANUP(json_t, json_decref)

static const struct cli_column columns[] = {
    {"id", CLI_NUM, .help = "number"},
    {"method", CLI_TEXT, .help = "what was asked for"},
    {"target", CLI_TEXT, .help = "of what"},
    {"state", CLI_STATE, .help = "running, done, failed, cancelled"},
    {"started", CLI_TIME, .help = "when it began"},
    {"ended", CLI_TIME, true, "when it ended"},
    {"who", CLI_NUM, true, "user number of who asked"},
    {"request", CLI_TEXT, true, "the request's own id"},
    {"result", CLI_TEXT, true, "what came out"},
    {"error", CLI_TEXT, .help = "why it failed"},
    {0},
};

static struct list_options {
    bool all;
    const char *limit;
} list_input;

static const struct argp_option list_options[] = {
    {"all", 'a', 0, 0, "those of all users (root)"},
    {"limit", 'n', "COUNT", 0, "at most so many; 100 if not given"},
    {0},
};

static error_t list_parse(int key, char *arg, struct argp_state *state)
{
    struct list_options *o = state->input;
    if (key == 'a')
        o->all = true;
    else if (key == 'n')
        o->limit = arg;
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

static int run_list(struct cli *cli, int nargs, char **args, struct err *err)
{
    const struct list_options *o = cli->verb->input;
    uint64_t limit = 100;
    AUTO_T(json_t) rows = NULL;
    if (o->limit && (!str_to_u64(o->limit, &limit) || limit > 100000))
        return err_set(err, E_USAGE, "--limit: '%s' is not a number up to 100000",
                       o->limit);
    if (cli_call(cli, "op.list",
                 json_pack("{s:b, s:I}", "all", o->all, "limit", (json_int_t)limit),
                 &rows, err) < 0)
        return -1;
    return cli_table(cli, columns, rows, err);
}

static int run_show(struct cli *cli, int nargs, char **args, struct err *err)
{
    uint64_t id;
    AUTO_T(json_t) row = NULL;
    if (!str_to_u64(args[0], &id))
        return err_set(err, E_USAGE, "'%s' is not the number of an operation", args[0]);
    if (cli_call(cli, "op.show", json_pack("{s:I}", "id", (json_int_t)id), &row, err) <
        0)
        return -1;
    cli->columns = cli->columns ? cli->columns : "+ended,who,request,result";
    return cli_show(cli, columns, row, err);
}

static const struct cli_verb verbs[] = {
    {"list", "", "list operations, newest first", 0, 0, list_options, list_parse,
     &list_input, run_list},
    {"show", "OP", "show one operation", 1, 1, .run = run_show},
    {0},
};

const struct cli_noun cli_noun_op = {"op", "operations: who asked for which change",
                                     verbs};
