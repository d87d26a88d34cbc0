/* SPDX-License-Identifier: Apache-2.0 */
/* lodge vm: machines of this node (or of --node), asked of its agent. */
#include "cli/vm.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hostlist.h"
#include "base/str.h"
#include "cli/ckpt.h"
#include "cli/nouns.h"
#include "client/agent.h"

static const struct cli_column columns[] = {
    {"name", CLI_TEXT, .help = "its name"},
    {"state", CLI_STATE, .help = "defined, staging, booting, running, paused, ..."},
    {"type", CLI_TEXT, .help = "virtualization"},
    {"image", CLI_TEXT, .help = "what it boots"},
    {"vcpus", CLI_NUM, .help = "virtual CPUs"},
    {"memory_bytes", CLI_BYTES, .help = "memory"},
    {"job", CLI_TEXT, .help = "batch job"},
    {"uid", CLI_NUM, .help = "owner"},
    {"error", CLI_TEXT, .help = "why it failed"},
    {"node", CLI_TEXT, true, "where it is, in a list of several nodes"},
    {"id", CLI_TEXT, true, "names what belongs to it on the node"},
    {"pid", CLI_NUM, true, "process of the hypervisor"},
    {"created", CLI_TIME, true, "when it was defined"},
    {"ready_ms", CLI_MS, true, "from definition to ready"},
    {"address", CLI_TEXT, true, "its network addresses"},
    {"reason", CLI_TEXT, true, "why type auto chose this type"},
    {"start", CLI_TEXT, true, "how it came up: thawed, restored, why not thawed"},
    {"stages", CLI_TEXT, true, "the time line of its start"},
    {0},
};

/* --- the agent --------------------------------------------------------------------- */

int vm_agent(const char *node, struct rpc_client **out, struct err *err)
{
    return client_agent_open_node(node, out, err);
}

/* client_exec connects again by itself, through a function without an argument. */
static const char *again_node;

void vm_agent_node(const char *node)
{
    again_node = node;
}

int vm_agent_again(struct rpc_client **out, struct err *err)
{
    return again_node ? client_agent_open_node(again_node, out, err)
                      : client_agent_again(out, err);
}

/* --- showing --------------------------------------------------------------------------- */

static json_int_t stage_at(const json_t *vm, const char *stage)
{
    return json_integer_value(json_object_get(json_object_get(vm, "stages"), stage));
}

static char *stages_text(const json_t *vm)
{
    static const char *const order[] = {"staged", "started", "ready", "ended"};
    AUTO_BUF b = {0};
    json_int_t from = stage_at(vm, "defined");
    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        json_int_t at = stage_at(vm, order[i]);
        if (at)
            str_buf_printf(&b, "%s%s +%lld ms", b.len ? ", " : "", order[i],
                           (long long)(at - from));
    }
    return str_buf_take(&b);
}

void vm_print_stages(FILE *to, const json_t *vm)
{
    AUTO_STR text = stages_text(vm);
    fprintf(to, "lodge: %s: %s\n", json_string_value(json_object_get(vm, "name")),
            text ? text : "");
}

/* Add what is shown but not told as such. */
static json_t *dress(json_t *vm)
{
    json_t *why = json_object_get(vm, "why");
    AUTO_STR stages = stages_text(vm);
    json_int_t ready = stage_at(vm, "ready");
    if (why)
        json_object_set(vm, "error", json_object_get(why, "text"));
    json_object_set_new(vm, "created", json_integer(stage_at(vm, "defined")));
    if (ready)
        json_object_set_new(vm, "ready_ms",
                            json_integer(ready - stage_at(vm, "defined")));
    AUTO_BUF b = {0};
    size_t i;
    json_t *one;
    json_array_foreach (json_object_get(vm, "addresses"), i, one)
        str_buf_printf(&b, "%s%s", i ? "," : "", json_string_value(one));
    if (b.len)
        json_object_set_new(vm, "address", json_string(b.data));
    json_object_set_new(vm, "stages", json_string(stages ? stages : ""));
    return vm;
}

struct common {
    const char *node, *job, *timeout;
    bool no_wait, all;
};

enum { KEY_C_NODE = 0x2100, KEY_C_NO_WAIT };
static const struct argp_option node_options[] = {
    {"node", KEY_C_NODE, "NODE", 0, "of this node of the cluster"},
    {0},
};
static const struct argp_option list_options[] = {
    {"node", KEY_C_NODE, "NODE", 0,
     "of these nodes of the cluster, a list like n[1-8]"},
    {"all-nodes", 'a', 0, 0, "of all nodes of the cluster that answer"},
    {"job", 'j', "JOB", 0, "only those of this job"},
    {0},
};
static const struct argp_option end_options[] = {
    {"node", KEY_C_NODE, "NODE", 0, "of this node of the cluster"},
    {"no-wait", KEY_C_NO_WAIT, 0, 0, "do not wait until it is done"},
    {0},
};
static struct common common_input;

static error_t parse_common(int key, char *arg, struct argp_state *state)
{
    struct common *c = state->input;
    switch (key) {
    case KEY_C_NODE:
        c->node = arg;
        return 0;
    case 'j':
        c->job = arg;
        return 0;
    case 'a':
        c->all = true;
        return 0;
    case KEY_C_NO_WAIT:
        c->no_wait = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Without an agent there are no machines: nothing is started to say so. */
static int find_agent(const struct common *c, struct rpc_client **out, struct err *err)
{
    return c->node ? client_agent_open_node(c->node, out, err)
                   : client_agent_again(out, err);
}

/* For people a dozen digits of a digest are enough. */
static void shorten(json_t *vm)
{
    enum { DIGITS = 12 };
    const char *image = json_string_value(json_object_get(vm, "image"));
    const char *at = image ? strstr(image, "@sha256:") : NULL;
    size_t n = at ? (size_t)(at - image) + strlen("@sha256:") + DIGITS : 0;
    if (at && strlen(image) > n)
        json_object_set_new(vm, "image", json_stringn(image, n));
}

/* Add the machines of one node (NULL: this one) to rows. */
static int list_one(const struct common *c, const char *node, json_t *rows,
                    struct err *err)
{
    const struct common one = {.node = node};
    AUTO(rpc_client) agent = NULL;
    AUTO_JSON answer = NULL;
    struct err why = {0};
    if (find_agent(&one, &agent, &why) < 0) {
        if (why.code == E_UNAVAIL && !node)
            return 0;
        *err = why;
        return -1;
    }
    json_t *params = c->job ? json_pack("{s:s}", "job", c->job) : NULL;
    if (rpc_client_call(agent, "vm.list", params, NULL, &answer, err) < 0)
        return -1;
    size_t i;
    json_t *vm;
    json_array_foreach (json_object_get(answer, "vms"), i, vm) {
        if (node)
            json_object_set_new(vm, "node", json_string(node));
        json_array_append(rows, dress(vm));
    }
    return 0;
}

/* Of several: one that does not answer is told, and does not keep the others. */
static void list_nodes(struct cli *cli, const struct common *c,
                       const struct hostlist *nodes, json_t *rows)
{
    for (size_t i = 0; i < nodes->count; i++) {
        struct err why = {0};
        if (list_one(c, nodes->names[i], rows, &why) < 0)
            cli_error(cli, &why);
    }
}

static int all_nodes(struct cli *cli, struct hostlist **out, struct err *err)
{
    AUTO_JSON nodes = NULL;
    AUTO_BUF b = {0};
    size_t i;
    json_t *n;
    if (cli_call(cli, "node.list", NULL, &nodes, err) < 0)
        return -1;
    json_array_foreach (nodes, i, n)
        str_buf_printf(&b, "%s%s", i ? "," : "",
                       json_string_value(json_object_get(n, "name")));
    if (!b.len)
        return err_set(err, E_NOENT, "no node was added yet; see 'lodge node add'");
    return hostlist_parse(b.data, out, err);
}

static int run_list(struct cli *cli, int nargs, char **args, struct err *err)
{
    const struct common *c = cli->verb->input;
    AUTO(hostlist) nodes = NULL;
    AUTO_JSON rows = json_array();
    if (c->node && c->all)
        return err_set(err, E_USAGE, "--node and --all-nodes exclude each other");
    if ((c->node && hostlist_parse(c->node, &nodes, err) < 0) ||
        (c->all && all_nodes(cli, &nodes, err) < 0))
        return -1;
    if (nodes && (c->all || nodes->count > 1)) {
        list_nodes(cli, c, nodes, rows);
        cli->columns = cli->columns ? cli->columns : "+node";
    } else if (list_one(c, nodes ? nodes->names[0] : NULL, rows, err) < 0) {
        return -1;
    }
    size_t i;
    json_t *vm;
    json_array_foreach (rows, i, vm)
        if (!cli->json)
            shorten(vm);
    return cli_table(cli, columns, rows, err);
}

static int run_show(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO(rpc_client) agent = NULL;
    AUTO_JSON vm = NULL;
    if (find_agent(cli->verb->input, &agent, err) < 0 ||
        rpc_client_call(agent, "vm.status", json_pack("{s:s}", "vm", args[0]), NULL,
                        &vm, err) < 0)
        return -1;
    return cli_show(cli, columns, dress(vm), err);
}

/* One method for each machine named; a failure does not keep the others. */
static int for_each(struct cli *cli, int nargs, char **args, const char *method,
                    const char *done, struct err *err)
{
    const struct common *c = cli->verb->input;
    AUTO(hostlist) names = NULL;
    AUTO(rpc_client) agent = NULL;
    if (cli_names(nargs, args, &names, err) < 0 || find_agent(c, &agent, err) < 0)
        return -1;
    for (size_t i = 0; i < names->count; i++) {
        const char *name = names->names[i];
        struct err why = {0};
        json_t *params =
            json_pack("{s:s, s:b}", "vm", name, "wait", c->no_wait ? 0 : 1);
        if (cli->dry_run)
            cli_say(cli, "would: %s '%s'", method, name), json_decref(params);
        else if (rpc_client_call(agent, method, params, NULL, NULL, &why) < 0)
            cli_error(cli, &why);
        else
            cli_say(cli, "vm '%s' %s", name, c->no_wait ? "asked" : done);
    }
    return 0;
}

static int run_stop(struct cli *cli, int nargs, char **args, struct err *err)
{
    return for_each(cli, nargs, args, "vm.stop", "stopped", err);
}

static int run_kill(struct cli *cli, int nargs, char **args, struct err *err)
{
    return for_each(cli, nargs, args, "vm.kill", "killed", err);
}

static int run_destroy(struct cli *cli, int nargs, char **args, struct err *err)
{
    if (!cli->dry_run &&
        !(nargs == 1 ? cli_confirm(cli, "destroy '%s'?", args[0])
                     : cli_confirm(cli, "destroy %d machines?", nargs)))
        return err_set(err, E_CANCELLED, "nothing was destroyed");
    return for_each(cli, nargs, args, "vm.destroy", "destroyed", err);
}

static int run_pause(struct cli *cli, int nargs, char **args, struct err *err)
{
    return for_each(cli, nargs, args, "vm.pause", "paused", err);
}

static int run_resume(struct cli *cli, int nargs, char **args, struct err *err)
{
    return for_each(cli, nargs, args, "vm.resume", "resumed", err);
}

/* --- start ------------------------------------------------------------------------------- */

static struct start_input {
    struct vm_make make;
    bool no_wait;
} start_input;

static error_t start_parse(int key, char *arg, struct argp_state *state)
{
    struct start_input *s = state->input;
    if (key != KEY_C_NO_WAIT)
        return vm_make_parse(&s->make, key, arg, state);
    s->no_wait = true;
    return 0;
}

static const struct argp_option start_options[] = {
    VM_MAKE_OPTIONS,
    {"no-wait", KEY_C_NO_WAIT, 0, 0, "do not wait until it is ready"},
    {0},
};

/* The machine of that name, if there is one: booted again if it has ended. 1 if there was,
 * 0 if not. */
static int start_again(struct cli *cli, const struct start_input *s,
                       struct rpc_client *agent, const char *name, struct err *err)
{
    const struct vm_make *m = &s->make;
    struct err why = {0};
    AUTO_JSON is = NULL;
    if (rpc_client_call(agent, "vm.status", json_pack("{s:s}", "vm", name), NULL, &is,
                        &why) < 0) {
        if (why.code == E_NOENT)
            return 0;
        *err = why;
        return -1;
    }
    const char *state = json_string_value(json_object_get(is, "state"));
    if (m->type || m->memory || m->vcpus || m->append)
        return err_set(err, E_EXISTS,
                       "there is a VM '%s' already (%s), which stays what it is; name "
                       "the new one with --name, or destroy that one",
                       name, state);
    json_t *params = json_pack("{s:s, s:b}", "vm", name, "wait", !s->no_wait);
    if (rpc_client_call(agent, "vm.boot", params, NULL, NULL, err) < 0)
        return -1;
    cli_say(cli, "vm '%s' %s", name,
            state && !strcmp(state, "running") ? "runs already"
            : s->no_wait                       ? "is starting"
                                               : "started");
    return 1;
}

/* One that has ended is booted again; else the argument is a profile. */
static int run_start(struct cli *cli, int nargs, char **args, struct err *err)
{
    const struct start_input *s = cli->verb->input;
    AUTO(rpc_client) agent = NULL;
    AUTO(profile) p = NULL;
    AUTO_JSON vm = NULL;
    if (vm_agent(s->make.node, &agent, err) < 0)
        return -1;
    int there =
        s->make.name || cli->dry_run ? 0 : start_again(cli, s, agent, args[0], err);
    if (there != 0)
        return there < 0 ? -1 : 0;
    if (vm_make_profile(cli, &s->make, args[0], &p, err) < 0)
        return -1;
    AUTO_JSON deploy = json_pack("{s:o, s:s*, s:b, s:b}", "profile", profile_to_json(p),
                                 "name", s->make.name, "boot", 1, "wait", !s->no_wait);
    if (cli->dry_run) {
        cli_say(cli, "would start a machine of profile '%s', type %s", p->name,
                profile_type_names[p->type]);
        return 0;
    }
    if (client_agent_bring(s->make.node, p->image, err) < 0 ||
        rpc_client_call(agent, "vm.deploy", json_incref(deploy), NULL, &vm, err) < 0)
        return -1;
    cli_say(cli, "vm '%s' %s (%s)", json_string_value(json_object_get(vm, "name")),
            s->no_wait ? "is starting" : "started",
            json_string_value(json_object_get(vm, "type")));
    return 0;
}

/* --- wait, stats ------------------------------------------------------------------------- */

static struct wait_input {
    const char *node, *timeout;
    bool ended;
} wait_input;

enum { KEY_W_NODE = 0x2200, KEY_W_ENDED, KEY_W_TIMEOUT };
static const struct argp_option wait_options[] = {
    {"node", KEY_W_NODE, "NODE", 0, "of this node of the cluster"},
    {"ended", KEY_W_ENDED, 0, 0, "until it has ended; else until it is ready"},
    {"timeout", KEY_W_TIMEOUT, "TIME", 0, "at most so long"},
    {0},
};

static error_t wait_parse(int key, char *arg, struct argp_state *state)
{
    struct wait_input *w = state->input;
    if (key == KEY_W_NODE)
        w->node = arg;
    else if (key == KEY_W_ENDED)
        w->ended = true;
    else if (key == KEY_W_TIMEOUT)
        w->timeout = arg;
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

static int run_wait(struct cli *cli, int nargs, char **args, struct err *err)
{
    const struct wait_input *w = cli->verb->input;
    const struct common c = {.node = w->node};
    struct rpc_client_opts opts = {0};
    AUTO(hostlist) names = NULL;
    AUTO(rpc_client) agent = NULL;
    uint64_t ms = 0;
    if (w->timeout && (!str_to_ms(w->timeout, &ms) || !ms || ms > 86400000ull * 20))
        return err_set(err, E_USAGE, "--timeout: '%s' is not a time like 90s",
                       w->timeout);
    if (cli_names(nargs, args, &names, err) < 0 || find_agent(&c, &agent, err) < 0)
        return -1;
    opts.timeout_ms = ms;
    const char *until = w->ended ? "ended" : "ready";
    for (size_t i = 0; i < names->count; i++) {
        const char *name = names->names[i];
        struct err why = {0};
        if (rpc_client_call(agent, "vm.wait",
                            json_pack("{s:s, s:s}", "vm", name, "until", until), &opts,
                            NULL, &why) == 0)
            continue;
        if (w->timeout && why.code == E_TIMEOUT)
            return err_set(err, E_TIMEOUT, "vm '%s' %s after %s", name,
                           w->ended ? "has not ended" : "is not ready", w->timeout);
        *err = why;
        return -1;
    }
    return 0;
}

static const struct cli_column stats_columns[] = {
    {"name", CLI_TEXT, .help = "its name"},
    {"cpu_ms", CLI_MS, .help = "CPU time used"},
    {"memory_bytes", CLI_BYTES, .help = "memory"},
    {"vcpus", CLI_NUM, .help = "virtual CPUs"},
    {0},
};

static int run_stats(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO(hostlist) names = NULL;
    AUTO(rpc_client) agent = NULL;
    AUTO_JSON rows = json_array();
    if (cli_names(nargs, args, &names, err) < 0 ||
        find_agent(cli->verb->input, &agent, err) < 0)
        return -1;
    for (size_t i = 0; i < names->count; i++) {
        const char *name = names->names[i];
        json_t *one = NULL;
        struct err why = {0};
        if (rpc_client_call(agent, "vm.stats", json_pack("{s:s}", "vm", name), NULL,
                            &one, &why) < 0) {
            cli_error(cli, &why);
            continue;
        }
        json_object_set_new(one, "name", json_string(name));
        json_array_append_new(rows, one);
    }
    return cli_table(cli, stats_columns, rows, err);
}

static struct vm_exec_input exec_input = {.pty = -1};
static struct vm_console_input console_input, cp_input;
static struct ckpt_make make_input;
static struct ckpt_restore restore_input;

static const struct cli_verb verbs[] = {
    {"list", NULL, "list machines", 0, 0, list_options, parse_common, &common_input,
     run_list},
    {"show", "VM", "show one machine", 1, 1, node_options, parse_common, &common_input,
     run_show},
    {"start", "PROFILE", "start a machine of a profile, or one that has ended", 1, 1,
     start_options, start_parse, &start_input, run_start},
    {"stop", "VM...", "shut machines down in order", 1, CLI_ANY, end_options,
     parse_common, &common_input, run_stop},
    {"kill", "VM...", "switch machines off", 1, CLI_ANY, end_options, parse_common,
     &common_input, run_kill},
    {"pause", "VM...", "stop the machines' CPUs", 1, CLI_ANY, node_options,
     parse_common, &common_input, run_pause},
    {"resume", "VM...", "let paused machines go on", 1, CLI_ANY, node_options,
     parse_common, &common_input, run_resume},
    {"console", "[VM]", "watch a machine's console and type on it", 0, 1,
     vm_console_options, vm_console_parse, &console_input, vm_run_console},
    {"exec", "[VM] COMMAND [ARG...]", "run a command in a machine", 1, CLI_COMMAND,
     vm_exec_options, vm_exec_parse, &exec_input, vm_run_exec},
    {"cp", "FROM TO", "copy files into (VM:PATH) or out of a machine", 2, 2,
     vm_cp_options, vm_console_parse, &cp_input, vm_run_cp},
    {"wait", "VM...", "wait until machines are ready, or have ended", 1, CLI_ANY,
     wait_options, wait_parse, &wait_input, run_wait},
    {"stats", "VM...", "show what machines have used", 1, CLI_ANY, node_options,
     parse_common, &common_input, run_stats},
    {"top", "", "show machines of this node and what they use, again and again", 0, 0,
     NULL, NULL, NULL, vm_run_top},
    {"checkpoint", "VM", "keep memory, devices and disks of one instant", 1, 1,
     ckpt_make_options, ckpt_make_parse, &make_input, ckpt_run_make},
    {"restore", "CKPT", "start a machine from a checkpoint, where it was", 1, 1,
     ckpt_restore_options, ckpt_restore_parse, &restore_input, ckpt_run_restore},
    {"destroy", "VM...", "end machines and forget them with all they have", 1, CLI_ANY,
     end_options, parse_common, &common_input, run_destroy},
    {0},
};

const struct cli_noun cli_noun_vm = {"vm", "virtual machines", verbs};
