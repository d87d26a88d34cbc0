/* SPDX-License-Identifier: Apache-2.0 */
/* lodge cluster start, stop, status: machines on the site's nodes, by lodged. */
#include "cli/cluster_run.h"

#include <string.h>

#include "base/own.h"
#include "base/str.h"

OWN_CLEANUP(json_t, json_decref)

struct cluster_run_options cluster_run_input;
const struct argp_option cluster_run_options[] = {
    {"node", 'N', "NODE", 0, "put all machines on this node"},
    {"no-wait", 'n', 0, 0, "come back at once; 'lodge op wait' waits"},
    {0},
};

error_t cluster_run_parse(int key, char *arg, struct argp_state *state)
{
    struct cluster_run_options *o = state->input;
    if (key == 'N')
        o->node = arg;
    else if (key == 'n')
        o->no_wait = true;
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

/* Without lodged there is nobody who knows nodes. */
static int call(struct cli *cli, const char *method, json_t *params, json_t **result,
                struct err *err)
{
    if (cli_call(cli, method, params, result, err) == 0)
        return 0;
    if (err->code == E_PROTO && !cli->lodged)
        return err_set(err, E_UNAVAIL,
                       "clusters are started by lodged, which does not run here; one "
                       "machine by itself: 'lodge run' or 'lodge vm start'");
    return -1;
}

static int change(struct cli *cli, char **args, const char *method, const char *done,
                  struct err *err)
{
    const struct cluster_run_options *o = &cluster_run_input;
    AUTO_T(json_t) result = NULL;
    json_t *params = json_pack("{s:s, s:b}", "cluster", args[0], "wait", !o->no_wait);
    if (o->node)
        json_object_set_new(params, "node", json_string(o->node));
    if (cli->dry_run) {
        json_decref(params);
        return err_set(err, E_USAGE, "what would be done is shown by 'lodge explain'");
    }
    if (call(cli, method, params, &result, err) < 0)
        return -1;
    cli_say(cli, "cluster '%s' %s (operation %" JSON_INTEGER_FORMAT ")", args[0],
            o->no_wait ? "is being worked on" : done,
            json_integer_value(json_object_get(result, "op")));
    return 0;
}

int cluster_run_start(struct cli *cli, int nargs, char **args, struct err *err)
{
    return change(cli, args, "cluster.start", "started", err);
}

int cluster_run_stop(struct cli *cli, int nargs, char **args, struct err *err)
{
    return change(cli, args, "cluster.stop", "stopped", err);
}

static const struct cli_column columns[] = {
    {"vm", CLI_TEXT, .help = "the machine"},
    {"cluster", CLI_TEXT, .help = "its cluster"},
    {"node", CLI_TEXT, .help = "where it is"},
    {"state", CLI_STATE, .help = "what the node says; unknown when it does not answer"},
    {"type", CLI_TEXT, true, "type of machine"},
    {"operation", CLI_NUM, true, "the operation that put it there"},
    {0},
};

/* What the node says of it beside what the books say. */
static void add_state(json_t *row, json_t *vms)
{
    json_t *vm;
    size_t i;
    json_object_set_new(row, "state", json_string("unknown"));
    json_array_foreach (vms, i, vm)
        if (json_equal(json_object_get(vm, "name"), json_object_get(row, "vm")) &&
            json_equal(json_object_get(vm, "node"), json_object_get(row, "node"))) {
            json_object_set(row, "state", json_object_get(vm, "state"));
            json_object_set(row, "type", json_object_get(vm, "type"));
        }
}

int cluster_run_status(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO_T(json_t) rows = NULL;
    AUTO_T(json_t) live = NULL;
    AUTO_T(json_t) shown = json_array();
    json_t *row;
    size_t i;
    json_t *params = nargs ? json_pack("{s:s}", "cluster", args[0]) : json_object();
    if (call(cli, "vm.where", params, &rows, err) < 0 ||
        call(cli, "vm.list", NULL, &live, err) < 0)
        return -1;
    json_array_foreach (rows, i, row) {
        if (json_is_null(json_object_get(row, "cluster")))
            continue;
        add_state(row, json_object_get(live, "vms"));
        json_array_append(shown, row);
    }
    if (nargs && !json_array_size(shown))
        return err_set(err, E_NOENT, "no machines of cluster '%s' are started",
                       args[0]);
    return cli_table(cli, columns, shown, err);
}
