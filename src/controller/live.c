/* SPDX-License-Identifier: Apache-2.0 */
/* lodged's methods that need the nodes: what their links say, requests and streams passed
 * on, operations that start and stop machines. */
#include "controller/lodged.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "controller/claims.h"
#include "controller/vm_plan.h"

/* --- nodes ---------------------------------------------------------------------------- */

static void live_node_list(struct rpc_call *call, json_t *params, void *arg)
{
    struct lodged *l = arg;
    struct err err;
    json_t *rows = NULL, *row;
    size_t i;
    if (store_node_list(l->store, &rows, &err) < 0) {
        rpc_call_fail(call, &err);
        return;
    }
    json_array_foreach (rows, i, row) {
        const char *name = json_string_value(json_object_get(row, "name"));
        /* One that was added while we started: by a process that did not find us yet. */
        if (!hub_link(l->hub, name))
            lodged_sync_nodes(l);
        AUTO_JSON status = hub_status(l->hub, name);
        if (status)
            json_object_update(row, status);
    }
    rpc_call_answer(call, rows);
}

struct passed {
    struct rpc_call *call;
};

static void on_passed(json_t *result, const struct err *why, void *arg)
{
    struct passed *p = arg;
    if (why)
        rpc_call_fail(p->call, why);
    else
        rpc_call_answer(p->call, json_incref(result));
    free(p);
}

/* {"node", "method", "params"?}: one request to a node's agent, as root. */
static void live_node_call(struct rpc_call *call, json_t *params, void *arg)
{
    enum { TIMEOUT_MS = 60000 };
    struct lodged *l = arg;
    struct err err;
    const char *node, *method;
    json_t *inner = NULL;
    struct passed *p = NULL;
    if (rpc_unpack(params, &err, "node.call", "{s:s, s:s, s?o !}", "node", &node,
                   "method", &method, "params", &inner) < 0)
        goto failed;
    if (rpc_call_uid(call) != 0) {
        err_set(&err, E_PERM, "only root may ask a node's agent as root");
        goto failed;
    }
    if (!(p = calloc(1, sizeof *p))) {
        err_oom(&err);
        goto failed;
    }
    p->call = call;
    if (hub_call(l->hub, node, method, json_incref(inner), TIMEOUT_MS, on_passed, p,
                 &err) < 0)
        goto failed;
    return;
failed:
    free(p);
    rpc_call_fail(call, &err);
}

/* {"node"}: from the answer on, the connection is the node's agent, as the caller. */
static void live_node_stream(struct rpc_call *call, json_t *params, void *arg)
{
    struct lodged *l = arg;
    struct err err;
    const char *name;
    struct link *link = NULL;
    if (rpc_unpack(params, &err, "node.stream", "{s:s !}", "node", &name) == 0) {
        link = hub_link(l->hub, name);
        if (!link)
            err_set(&err, E_NOENT, "no node '%s'; see 'lodge node list'", name);
        else if (link_state(link) != LINK_UP)
            err_set(&err, E_HOST, "node '%s' is not connected: %s", name,
                    link_why(link));
    }
    if (!link || link_state(link) != LINK_UP) {
        rpc_call_fail(call, &err);
        return;
    }
    uid_t uid = rpc_call_uid(call);
    gid_t gid = rpc_call_gid(call);
    AUTO_STR node = strdup(name); /* params go with the call */
    AUTO_STR rest = NULL;
    size_t rest_len;
    int fd = rpc_call_upgrade(call, NULL, &rest, &rest_len);
    if (fd >= 0 &&
        (!node || hub_relay(l->hub, node, fd, uid, gid, rest, rest_len, &err) < 0))
        log_warn(&(struct log_ctx){.node = node}, "stream: %s",
                 node ? err.text : "out of memory");
}

/* --- operations ----------------------------------------------------------------------- */

struct waiting {
    struct rpc_call *call;
    struct lodged *lodged;
};

static void on_op_done(int64_t op, const struct err *why, void *arg)
{
    struct waiting *w = arg;
    if (why)
        rpc_call_fail(w->call, why);
    else
        rpc_call_answer(w->call, json_pack("{s:I}", "op", (json_int_t)op));
    free(w);
}

static void on_waiter_gone(struct rpc_call *call, void *arg)
{
    struct waiting *w = arg;
    runner_forget(w->lodged->runner, w);
    rpc_call_drop(call);
    free(w);
}

static void answer_when_done(struct lodged *l, struct rpc_call *call, int64_t op)
{
    struct err err;
    struct waiting *w = calloc(1, sizeof *w);
    if (w) {
        *w = (struct waiting){call, l};
        if (runner_wait(l->runner, op, on_op_done, w, &err) == 0) {
            rpc_call_on_gone(call, on_waiter_gone, w);
            return;
        }
    } else {
        err_oom(&err);
    }
    free(w);
    rpc_call_fail(call, &err);
}

static void note_op(struct lodged *l, const char *what, int64_t op, const char *state,
                    const char *why)
{
    AUTO_JSON row = NULL;
    if (store_op_get(l->store, op, &row, NULL) < 0)
        return;
    json_t *who = json_object_get(row, "who");
    book_add(l->book, (uid_t)json_integer_value(who), NULL, NULL, NULL, what,
             json_pack("{s:I, s:I, s:O, s:s, s:O?, s:O?, s:s}", "op", (json_int_t)op,
                       "id", (json_int_t)op, "uid", who, "state", state, "method",
                       json_object_get(row, "method"), "target",
                       json_object_get(row, "target"), "why", why));
}

void lodged_run_plan(struct lodged *l, struct rpc_call *call, const struct plan *plan,
                     bool wait)
{
    struct err err;
    AUTO_JSON earlier = NULL;
    int64_t op;
    if (plan->request &&
        store_op_find(l->store, plan->who, plan->request, &earlier, &err) < 0) {
        rpc_call_fail(call, &err);
        return;
    }
    if (earlier) { /* the same request again: the same operation */
        op = json_integer_value(json_object_get(earlier, "id"));
        const char *state = json_string_value(json_object_get(earlier, "state"));
        wait = wait && !strcmp(state, "running");
    } else if (runner_start(l->runner, plan, &op, &err) < 0) {
        rpc_call_fail(call, &err);
        return;
    }
    if (!earlier)
        note_op(l, plan->method, op, "running", "");
    rpc_call_progress(call, json_pack("{s:I}", "op", (json_int_t)op));
    if (wait)
        answer_when_done(l, call, op);
    else
        rpc_call_answer(call, json_pack("{s:I}", "op", (json_int_t)op));
}

/* The operation, if it is the caller's or the caller is root. */
static int op_of(struct lodged *l, struct rpc_call *call, json_t *params,
                 const char *what, int64_t *id, json_t **row, struct err *err)
{
    json_int_t n;
    if (rpc_unpack(params, err, what, "{s:I}", "id", &n) < 0 ||
        store_op_get(l->store, n, row, err) < 0)
        return -1;
    uid_t uid = rpc_call_uid(call);
    if (uid && json_integer_value(json_object_get(*row, "who")) != (json_int_t)uid)
        return err_set(err, E_NOENT, "no operation %" PRId64 "; see 'lodge op list'",
                       (int64_t)n);
    *id = n;
    return 0;
}

static void live_op_wait(struct rpc_call *call, json_t *params, void *arg)
{
    struct lodged *l = arg;
    struct err err;
    AUTO_JSON row = NULL;
    int64_t id;
    if (op_of(l, call, params, "op.wait", &id, &row, &err) < 0) {
        rpc_call_fail(call, &err);
        return;
    }
    const char *state = json_string_value(json_object_get(row, "state"));
    if (!strcmp(state, "running"))
        answer_when_done(l, call, id);
    else
        rpc_call_answer(call, json_incref(row));
}

static void live_op_steps(struct rpc_call *call, json_t *params, void *arg)
{
    struct lodged *l = arg;
    struct err err;
    AUTO_JSON row = NULL;
    json_t *steps = NULL;
    int64_t id;
    if (op_of(l, call, params, "op.steps", &id, &row, &err) < 0 ||
        store_steps(l->store, id, &steps, &err) < 0)
        rpc_call_fail(call, &err);
    else
        rpc_call_answer(call, steps);
}

static void live_op_cancel(struct rpc_call *call, json_t *params, void *arg)
{
    struct lodged *l = arg;
    struct err err;
    AUTO_JSON row = NULL;
    int64_t id;
    if (op_of(l, call, params, "op.cancel", &id, &row, &err) < 0 ||
        runner_cancel(l->runner, id, &err) < 0)
        rpc_call_fail(call, &err);
    else
        rpc_call_answer(call, NULL);
}

static void live_op_recover(struct rpc_call *call, json_t *params, void *arg)
{
    struct lodged *l = arg;
    struct err err;
    AUTO_JSON row = NULL;
    const char *how;
    int64_t id;
    if (op_of(l, call, params, "op.recover", &id, &row, &err) < 0 ||
        rpc_unpack(params, &err, "op.recover", "{s:s}", "how", &how) < 0 ||
        runner_recover(l->runner, id, how, &err) < 0)
        rpc_call_fail(call, &err);
    else
        answer_when_done(l, call, id);
}

const struct rpc_method lodged_node_methods[] = {
    {"node.list", live_node_list},     {"node.call", live_node_call},
    {"node.stream", live_node_stream}, {"op.wait", live_op_wait},
    {"op.steps", live_op_steps},       {"op.cancel", live_op_cancel},
    {"op.recover", live_op_recover},   {NULL, NULL},
};

/* --- following the rows and the links ---------------------------------------------------- */

void lodged_sync_nodes(struct lodged *l)
{
    struct err err;
    AUTO_JSON rows = NULL;
    json_t *row;
    size_t i;
    if (store_node_list(l->store, &rows, &err) < 0) {
        log_error(NULL, "%s", err.text);
        return;
    }
    json_array_foreach (rows, i, row) {
        const char *name = json_string_value(json_object_get(row, "name"));
        if (hub_put(l->hub, name, json_object_get(row, "spec"), &err) < 0)
            log_error(&(struct log_ctx){.node = name}, "%s", err.text);
    }
    hub_keep(l->hub, rows);
}

static void on_node(const char *node, enum link_state state, const struct err *why,
                    void *arg)
{
    struct lodged *l = arg;
    struct log_ctx ctx = {.node = node};
    if (state == LINK_UP)
        log_info(&ctx, "connected");
    else
        log_warn(&ctx, "lost: %s", why->text);
    book_add(l->book, 0, node, NULL, NULL, state == LINK_UP ? "node.up" : "node.down",
             json_pack("{s:s, s:s, s:s}", "node", node, "link",
                       state == LINK_UP ? "up" : "down", "why", why ? why->text : ""));
    if (state == LINK_UP) {
        runner_node_up(l->runner, node);
        claims_node_up(l, node);
    }
}

static void on_event(const char *node, const char *event, json_t *data, void *arg)
{
    struct lodged *l = arg;
    const char *vm = json_string_value(json_object_get(data, "vm"));
    const char *job = json_string_value(json_object_get(data, "job"));
    const char *state = json_string_value(json_object_get(data, "state"));
    struct log_ctx ctx = {.node = node, .vm = vm, .job = job};
    json_t *copy = json_copy(data);
    json_object_set_new(copy, "node", json_string(node));
    if (!strcmp(event, "ticket.claim")) {
        claims_take(l, node, data);
        return;
    }
    if (!strcmp(event, "image.wanted"))
        lodged_image_wanted(l, node, data);
    log_info(&ctx, "%s%s%s", event, state ? " " : "", state ? state : "");
    book_add(l->book, (uid_t)json_integer_value(json_object_get(data, "uid")), node, vm,
             job, event, copy);
}

static void on_op_ended(int64_t op, const char *state, const char *why, void *arg)
{
    lodged_image_came(arg, op);
    log_info(NULL, "operation %" PRId64 " %s%s%s", op, state, *why ? ": " : "", why);
    note_op(arg, "op.end", op, state, why);
}

int lodged_start(struct lodged *l, struct err *err)
{
    static const struct hub_hooks hub_hooks = {.state = on_node, .event = on_event};
    static const struct runner_hooks runner_hooks = {.ended = on_op_ended};
    if (book_new(l->event, l->store, &l->book, err) < 0 || claims_forget(l, err) < 0 ||
        hub_new(l->event, &hub_hooks, l, &l->hub, err) < 0)
        return -1;
    book_tell(l->book, l->server);
    lodged_sync_nodes(l);
    return runner_new(l->event, l->store, l->hub, &runner_hooks, l, &l->runner, err);
}

/* In this order: what is in flight to nodes fails into its callers, then they go, then what
 * they waited for. */
void lodged_stop(struct lodged *l)
{
    hub_free(move(l->hub));
    if (l->book)
        book_tell(l->book, NULL);
    rpc_server_free(move(l->server));
    runner_free(move(l->runner));
    book_free(move(l->book));
    json_decref(move(l->wanted));
}
