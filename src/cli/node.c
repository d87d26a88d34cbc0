/* SPDX-License-Identifier: Apache-2.0 */
/* lodge node: what a machine is and can do. */
#include "cli/node_site.h"
#include "cli/nouns.h"

#include <string.h>

#include "base/hostlist.h"
#include "base/own.h"
#include "node/node.h"

OWN_CLEANUP(json_t, json_decref)

static const struct cli_column columns[] = {
    {"fact", CLI_TEXT, .help = "what was looked at"},
    {"grade", CLI_STATE, .help = "ok, warn, fail"},
    {"text", CLI_TEXT, .help = "what is"},
    {"advice", CLI_TEXT, .help = "the way out"},
    {0},
};

static json_t *to_rows(const struct node_line *lines, int count)
{
    json_t *rows = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(
            rows, json_pack("{s:s, s:s, s:s, s:s}", "fact", lines[i].fact, "grade",
                            node_grade_name(lines[i].grade), "text", lines[i].text,
                            "advice", lines[i].advice));
    return rows;
}

/* For people: the advice below its line. */
static void print_lines(const struct node_line *lines, int count)
{
    static const char *const colours[] = {"32", "33", "31"};
    bool colour = cli_colour(stdout);
    for (int i = 0; i < count; i++) {
        const struct node_line *l = &lines[i];
        if (colour)
            printf("\033[%sm%-4s\033[0m", colours[l->grade], node_grade_name(l->grade));
        else
            printf("%-4s", node_grade_name(l->grade));
        printf("  %-13s  ", l->fact);
        cli_text(stdout, 21, l->text);
        if (*l->advice) {
            printf("%19s  -> ", "");
            cli_text(stdout, 24, l->advice);
        }
    }
}

/* Nodes of the site, asked by lodged. */
static int check_nodes(struct cli *cli, int nargs, char **args, struct err *err)
{
    static const struct cli_column far_columns[] = {
        {"node", CLI_TEXT, .help = "which node"},
        {"fact", CLI_TEXT, .help = "what was looked at"},
        {"grade", CLI_STATE, .help = "ok, warn, fail"},
        {"text", CLI_TEXT, .help = "what is"},
        {"advice", CLI_TEXT, true, "the way out"},
        {0}};
    AUTO(hostlist) names = NULL;
    AUTO_T(json_t) rows = json_array();
    bool fails = false;
    if (cli_names(nargs, args, &names, err) < 0)
        return -1;
    for (size_t n = 0; n < names->count; n++) {
        AUTO_T(json_t) answer = NULL;
        json_t *line;
        size_t i;
        if (cli_call(cli, "node.call",
                     json_pack("{s:s, s:s}", "node", names->names[n], "method",
                               "node.check"),
                     &answer, err) < 0) {
            if (err->code == E_PROTO && !cli->lodged)
                return err_set(err, E_UNAVAIL,
                               "lodged does not run here: it asks the nodes");
            fails = true;
            cli_error(cli, err);
            continue;
        }
        json_array_foreach (json_object_get(answer, "lines"), i, line) {
            const char *grade = json_string_value(json_object_get(line, "grade"));
            fails |= grade && !strcmp(grade, node_grade_name(NODE_FAIL));
            json_object_set_new(line, "node", json_string(names->names[n]));
            json_array_append(rows, line);
        }
    }
    return cli_table(cli, far_columns, rows, err) < 0 ? -1 : fails;
}

static int run_check(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO(node_facts) facts = NULL;
    struct node_line lines[NODE_LINES_MAX];
    if (nargs)
        return check_nodes(cli, nargs, args, err);
    if (node_facts_probe(NODE_PROBE_MS, &facts, err) < 0)
        return -1;
    int count = node_judge(facts, lines, NODE_LINES_MAX);
    if (cli->json || cli->parsable || cli->columns) {
        AUTO_T(json_t) rows = to_rows(lines, count);
        if (cli_table(cli, columns, rows, err) < 0)
            return -1;
    } else {
        print_lines(lines, count);
    }
    for (int i = 0; i < count; i++)
        if (lines[i].grade == NODE_FAIL)
            return 1;
    return 0;
}

static int run_facts(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO(node_facts) facts = NULL;
    if (node_facts_probe(NODE_PROBE_MS, &facts, err) < 0)
        return -1;
    AUTO_T(json_t) all = node_facts_to_json(facts);
    if (!all)
        return err_oom(err);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    return 0;
}

static const struct cli_verb verbs[] = {
    {"list", "[NODES]", "the site's nodes and what is known of them", 0, CLI_ANY,
     .run = node_site_list},
    {"show", "NODES", "all about these nodes", 1, CLI_ANY, .run = node_site_show},
    {"add", "NODES", "add nodes, or change how they are reached", 1, CLI_ANY,
     node_site_add_options, node_site_add_parse, &node_site_add_input, node_site_add},
    {"enrol", "", "add the node that tells of itself on standard input, by its key", 0,
     0, .run = node_enrol},
    {"drain", "NODES", "no new machines on these nodes", 1, CLI_ANY,
     node_site_drain_options, node_site_drain_parse, &node_site_drain_input,
     node_site_drain},
    {"resume", "NODES", "new machines again", 1, CLI_ANY, .run = node_site_resume},
    {"remove", "NODES", "forget nodes that have no machines", 1, CLI_ANY,
     .run = node_site_remove},
    {"check", "[NODES]", "what this machine or nodes can do, and what is in the way", 0,
     CLI_ANY, .run = run_check},
    {"facts", "", "everything known about this machine, as JSON", 0, 0,
     .run = run_facts},
    {0},
};

const struct cli_noun cli_noun_node = {"node", "the machines that run virtual machines",
                                       verbs};
