/* SPDX-License-Identifier: Apache-2.0 */
/* node.check: what `lodge node check` says, of this node, for the controller. Looking takes a
 * moment and may hang on broken hardware: a worker does it. */
#include "agent/methods.h"

#include "node/node.h"

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

void method_node_check(struct rpc_call *call, json_t *params, void *arg)
{
    agent_answer_by_worker(call, arg,
                           (struct work_spec){.what = "node check",
                                              .run = look,
                                              .timeout_ms = 2 * NODE_PROBE_MS + 30000});
}
