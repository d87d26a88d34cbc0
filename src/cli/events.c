/* SPDX-License-Identifier: Apache-2.0 */
/* lodge events: what happened, and who did it. */
#include "cli/nouns.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/own.h"
#include "base/str.h"
#include "proto/client.h"

static const struct cli_column columns[] = {
    {"id", CLI_NUM, true, "number"},
    {"at", CLI_TIME, .help = "when"},
    {"what", CLI_TEXT,
     .help = "vm.state, node.up, node.down, op.end, or what was changed"},
    {"node", CLI_TEXT, .help = "on which node"},
    {"vm", CLI_TEXT, .help = "of which machine"},
    {"job", CLI_TEXT, .help = "of which job"},
    {"op", CLI_NUM, .help = "by which operation"},
    {"who", CLI_NUM, .help = "user number of who asked for it"},
    {"detail", CLI_TEXT, .help = "the new state, what was changed, or why"},
    {0},
};

static struct input {
    bool follow;
    const char *vm, *node, *job, *op, *what, *since, *limit;
} input;

static const struct argp_option options[] = {
    {"follow", 'f', 0, 0, "go on, tell what happens from now on"},
    {"vm", 'v', "VM", 0, "only of this machine"},
    {"node", 'n', "NODE", 0, "only of this node"},
    {"job", 'j', "JOB", 0, "only of this job"},
    {"op", 'O', "OP", 0, "only of this operation"},
    {"what", 'w', "WORD", 0, "only these: vm.state, or vm for all that begin so"},
    {"since", 's', "TIME", 0, "only what is younger: 90s, 15m, 2h, 7d"},
    {"limit", 'l', "COUNT", 0, "at most so many, the newest; 100 if not given"},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct input *i = state->input;
    switch (key) {
    case 'f':
        return i->follow = true, 0;
    case 'v':
        return i->vm = arg, 0;
    case 'n':
        return i->node = arg, 0;
    case 'j':
        return i->job = arg, 0;
    case 'O':
        return i->op = arg, 0;
    case 'w':
        return i->what = arg, 0;
    case 's':
        return i->since = arg, 0;
    case 'l':
        return i->limit = arg, 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const char *text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

/* What matters of the data, as one word or sentence. */
static void dress(json_t *row)
{
    static const char *const keys[] = {"state", "target", "why", NULL};
    const json_t *data = json_object_get(row, "data");
    AUTO_BUF b = {0};
    for (const char *const *k = keys; *k; k++) {
        const json_t *v = json_object_get(data, *k);
        const char *said = json_is_object(v) ? text(v, "text") : text(data, *k);
        if (*said)
            str_buf_printf(&b, "%s%s", b.len ? ": " : "", said);
    }
    json_object_set_new(row, "detail", json_string(b.data ? b.data : ""));
    json_object_set(row, "op", json_object_get(data, "op"));
}

static int query(json_int_t after, json_t **out, struct err *err)
{
    uint64_t op = 0, since = 0, limit = 100;
    if (input.op && !str_to_u64(input.op, &op))
        return err_set(err, E_USAGE, "--op: '%s' is not the number of an operation",
                       input.op);
    if (input.since && !str_to_ms(input.since, &since))
        return err_set(err, E_USAGE, "--since: '%s' is not a time like 90s, 15m or 7d",
                       input.since);
    if (input.limit && (!str_to_u64(input.limit, &limit) || limit > 100000))
        return err_set(err, E_USAGE, "--limit: '%s' is not a number up to 100000",
                       input.limit);
    uint64_t now = clock_wall_ms();
    *out = json_pack("{s:I, s:I, s:I, s:I, s:s*, s:s*, s:s*, s:s*}", "after", after,
                     "since", (json_int_t)(since && since < now ? now - since : 0),
                     "limit", (json_int_t)limit, "op", (json_int_t)op, "vm", input.vm,
                     "node", input.node, "job", input.job, "what", input.what);
    return *out ? 0 : err_oom(err);
}

static int show(struct cli *cli, json_int_t *last, bool *header, struct err *err)
{
    json_t *params = NULL, *row;
    AUTO_T(json_t) rows = NULL;
    size_t i;
    if (query(*last, &params, err) < 0 ||
        cli_call(cli, "events.list", params, &rows, err) < 0)
        return -1;
    json_array_foreach (rows, i, row) {
        dress(row);
        *last = json_integer_value(json_object_get(row, "id"));
    }
    if (input.follow && cli->json) { /* one object a line, as it comes */
        json_array_foreach (rows, i, row) {
            json_dumpf(row, stdout, JSON_COMPACT);
            putchar('\n');
        }
    } else if (json_array_size(rows) || !input.follow) {
        cli->noheader |= *header;
        *header = true;
        if (cli_table(cli, columns, rows, err) < 0)
            return -1;
    }
    return fflush(stdout) ? err_sys(err, "standard output") : 0;
}

/* The store says what happened; lodged's own events only wake us. */
static int run(struct cli *cli, int nargs, char **args, struct err *err)
{
    enum { WAKE_MS = 1000 };
    json_int_t last = 0;
    bool header = false;
    input.follow |= cli->force; /* -f is a word of all verbs: here it is this one's */
    if (show(cli, &last, &header, err) < 0)
        return -1;
    if (!input.follow)
        return 0;
    if (!cli->lodged)
        return err_set(err, E_UNAVAIL, "lodged does not run here: nothing is told");
    if (cli_call(cli, "events.subscribe", NULL, NULL, err) < 0)
        return -1;
    input.limit = "100000";
    for (;;) {
        AUTO_T(json_t) event = NULL;
        struct err why = {0};
        if (rpc_client_wait_event(cli->lodged, WAKE_MS, &event, &why) < 0 &&
            why.code != E_TIMEOUT) {
            *err = why;
            return -1;
        }
        if (show(cli, &last, &header, err) < 0)
            return -1;
    }
}

static const struct cli_verb verbs[] = {
    {"", "", "tell what happened: machines, nodes, operations, who changed what", 0, 0,
     options, parse, &input, run},
    {0},
};

const struct cli_noun cli_noun_events = {"events", "what happened, and who did it",
                                         verbs};
