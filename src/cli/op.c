/* SPDX-License-Identifier: Apache-2.0 */
/* lodge op: operations. */
#include "cli/nouns.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

/* --- operations on nodes: by lodged ---------------------------------------------------- */

static int id_of(const char *text, json_int_t *id, struct err *err)
{
    uint64_t n;
    if (!str_to_u64(text, &n) || n > INT64_MAX)
        return err_set(err, E_USAGE, "'%s' is not the number of an operation", text);
    *id = (json_int_t)n;
    return 0;
}

static int ask(struct cli *cli, const char *method, const char *arg, const char *how,
               json_t **result, struct err *err)
{
    json_int_t id = 0;
    if (id_of(arg, &id, err) < 0)
        return -1;
    json_t *params = json_pack("{s:I}", "id", id);
    if (how)
        json_object_set_new(params, "how", json_string(how));
    if (cli_call(cli, method, params, result, err) == 0)
        return 0;
    if (err->code == E_PROTO && !cli->lodged)
        err_set(err, E_UNAVAIL,
                "lodged does not run here, so no operation is under way");
    return -1;
}

static const struct cli_column step_columns[] = {
    {"n", CLI_NUM, .help = "number of the step"},
    {"phase", CLI_NUM, .help = "all steps of a phase go at once"},
    {"node", CLI_TEXT, .help = "whom it asks"},
    {"vm", CLI_TEXT, .help = "about which machine"},
    {"state", CLI_STATE, .help = "planned, sent, done, failed, undoing, undone, left"},
    {"detail", CLI_TEXT, .help = "the machine's id, or why it failed"},
    {0},
};

static int run_steps(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO_T(json_t) rows = NULL;
    return ask(cli, "op.steps", args[0], NULL, &rows, err) < 0
               ? -1
               : cli_table(cli, step_columns, rows, err);
}

static int run_wait(struct cli *cli, int nargs, char **args, struct err *err)
{
    if (ask(cli, "op.wait", args[0], NULL, NULL, err) < 0)
        return -1;
    cli_say(cli, "operation %s ended", args[0]);
    return 0;
}

static int run_cancel(struct cli *cli, int nargs, char **args, struct err *err)
{
    if (ask(cli, "op.cancel", args[0], NULL, NULL, err) < 0)
        return -1;
    cli_say(cli, "operation %s is being taken back", args[0]);
    return 0;
}

static bool recover_mark;
static const struct argp_option recover_options[] = {
    {"mark", 'm', 0, 0, "take your word that what was left is gone, ask no node"}, {0}};

static error_t recover_parse(int key, char *arg, struct argp_state *state)
{
    if (key != 'm')
        return ARGP_ERR_UNKNOWN;
    *(bool *)state->input = true;
    return 0;
}

static int run_recover(struct cli *cli, int nargs, char **args, struct err *err)
{
    const char *how = recover_mark ? "mark" : "retry";
    if (ask(cli, "op.recover", args[0], how, NULL, err) < 0)
        return -1;
    cli_say(cli, "operation %s is settled", args[0]);
    return 0;
}

static void print_step(const json_t *step)
{
    const char *vm = json_string_value(json_object_get(step, "vm"));
    const char *detail = json_string_value(json_object_get(step, "detail"));
    printf("%s%s%s: %s%s%s\n", json_string_value(json_object_get(step, "node")),
           vm ? " " : "", vm ? vm : "",
           json_string_value(json_object_get(step, "state")), detail ? ", " : "",
           detail ? detail : "");
}

/* Each step that changes, until the end. */
static int run_watch(struct cli *cli, int nargs, char **args, struct err *err)
{
    enum { LOOK_MS = 300 };
    AUTO_T(json_t) last = NULL;
    for (;;) {
        AUTO_T(json_t) op = NULL;
        AUTO_T(json_t) steps = NULL;
        json_int_t id = 0;
        size_t i;
        json_t *step;
        if (id_of(args[0], &id, err) < 0 ||
            cli_call(cli, "op.show", json_pack("{s:I}", "id", id), &op, err) < 0 ||
            ask(cli, "op.steps", args[0], NULL, &steps, err) < 0)
            return -1;
        json_array_foreach (steps, i, step)
            if (!json_equal(step, json_array_get(last, i)))
                print_step(step);
        fflush(stdout);
        const char *state = json_string_value(json_object_get(op, "state"));
        if (strcmp(state, "running")) {
            const char *why = json_string_value(json_object_get(op, "error"));
            if (!strcmp(state, "done"))
                return 0;
            return err_set(err, E_FAIL, "operation %s %s: %s", args[0], state,
                           why ? why : "");
        }
        json_decref(last);
        last = move(steps);
        usleep(LOOK_MS * 1000);
    }
}

static const struct cli_verb verbs[] = {
    {"list", "", "list operations, newest first", 0, 0, list_options, list_parse,
     &list_input, run_list},
    {"show", "OP", "show one operation", 1, 1, .run = run_show},
    {"steps", "OP", "what it asks of which node, and how far it is", 1, 1,
     .run = run_steps},
    {"watch", "OP", "tell each step until it ends", 1, 1, .run = run_watch},
    {"wait", "OP", "wait until it ends; its failure is this command's", 1, 1,
     .run = run_wait},
    {"cancel", "OP", "take back what it did", 1, 1, .run = run_cancel},
    {"recover", "OP", "settle what an ended operation left on nodes", 1, 1,
     recover_options, recover_parse, &recover_mark, run_recover},
    {0},
};

const struct cli_noun cli_noun_op = {"op", "operations: who asked for which change",
                                     verbs};
