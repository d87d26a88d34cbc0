/* SPDX-License-Identifier: Apache-2.0 */
/* events.list: what happened, from the store. Root sees all; others what concerns the nodes
 * and what is theirs. Who writes it down: book.c, and dispatch.c for each change. */
#include "controller/handlers.h"

#include "store/nodes.h"

static int events_list(const struct dispatch_call *c, json_t **result, struct err *err)
{
    static const char *const names[] = {"after", "since", "limit", "vm", "node",
                                        "job",   "op",    "what",  NULL};
    struct store_event_query q = {.uid = c->embedded ? 0 : c->uid};
    struct store *s;
    int64_t limit;
    if (dispatch_only(c, names, err) < 0 ||
        dispatch_number(c, "after", 0, INT64_MAX, &q.after, err) < 0 ||
        dispatch_number(c, "since", 0, INT64_MAX, &q.since_ms, err) < 0 ||
        dispatch_number(c, "limit", 100, 100000, &limit, err) < 0 ||
        dispatch_number(c, "op", 0, INT64_MAX, &q.op, err) < 0 ||
        dispatch_text(c, "vm", false, &q.vm, err) < 0 ||
        dispatch_text(c, "node", false, &q.node, err) < 0 ||
        dispatch_text(c, "job", false, &q.job, err) < 0 ||
        dispatch_text(c, "what", false, &q.what, err) < 0 ||
        dispatch_store(c, &s, err) < 0)
        return -1;
    q.limit = (uint32_t)limit;
    return store_event_list(s, &q, result, err);
}

const struct dispatch_method dispatch_events[] = {
    {"events.list", events_list, .help = "what happened, oldest first"},
    {0},
};
