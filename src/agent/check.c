/* SPDX-License-Identifier: Apache-2.0 */
/* node.check: what `lodge node check` says, of this node, for the controller. Looking takes a
 * moment and may hang on broken hardware: a worker does it. */
#include "agent/methods.h"

#include <stdlib.h>

#include "agent/work.h"
#include "node/node.h"

struct asked {
    struct rpc_call *call;
    struct agent *agent;
};

static int look(void *arg, work_tell_f tell, json_t **out, struct err *err)
{
    AUTO(node_facts) facts = NULL;
    struct node_line lines[NODE_LINES_MAX];
    json_t *rows = json_array();
    if (!rows)
        return err_oom(err);
    if (node_facts_probe(NODE_PROBE_MS, &facts, err) < 0) {
        json_decref(rows);
        return -1;
    }
    int count = node_judge(facts, lines, NODE_LINES_MAX);
    for (int i = 0; i < count; i++)
        json_array_append_new(
            rows, json_pack("{s:s, s:s, s:s, s:s}", "fact", lines[i].fact, "grade",
                            node_grade_name(lines[i].grade), "text", lines[i].text,
                            "advice", lines[i].advice));
    *out = json_pack("{s:o}", "lines", rows);
    return *out ? 0 : err_oom(err);
}

static void done(void *arg, json_t *result, const struct err *why)
{
    struct asked *q = arg;
    if (why)
        rpc_call_fail(q->call, why);
    else
        rpc_call_answer(q->call, json_incref(result));
    q->agent->busy--;
    agent_touch(q->agent);
    free(q);
}

void method_node_check(struct rpc_call *call, json_t *params, void *arg)
{
    struct agent *a = arg;
    struct err err;
    struct asked *q = calloc(1, sizeof *q);
    if (!q) {
        err_oom(&err);
        rpc_call_fail(call, &err);
        return;
    }
    *q = (struct asked){.call = call, .agent = a};
    a->busy++;
    struct work_spec spec = {.event = a->event,
                             .what = "node check",
                             .run = look,
                             .done = done,
                             .done_arg = q,
                             .timeout_ms = 2 * NODE_PROBE_MS + 30000};
    struct work *w;
    if (work_start(&spec, &w, &err) < 0)
        done(q, NULL, &err);
}
