/* SPDX-License-Identifier: Apache-2.0 */
/* image.push: an image of the controller's store to nodes, as an operation; a node that
 * fails does not keep the others from it. image.bring: the same for a machine that somebody
 * is about to start on a node (and may it?); nothing if the image is not one of the
 * controller's. */
#include "controller/lodged.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "controller/push.h"
#include "controller/vm_plan.h"

static int plan_push(struct lodged *l, uid_t who, json_t *params, struct vm_plan *out,
                     struct err *err)
{
    const char *image, *again = NULL;
    json_t *nodes, *node, *push = NULL;
    int wait = 1;
    size_t i;
    if (rpc_unpack(params, err, PUSH_METHOD, "{s:s, s:o, s?b, s?s !}", "image", &image,
                   "nodes", &nodes, "wait", &wait, "request", &again) < 0)
        return -1;
    if (!json_array_size(nodes))
        return err_set(err, E_USAGE, "name at least one node");
    if (push_params(image, &push, err) < 0)
        return -1;
    out->keep = json_pack("[o, O]", push, params);
    out->plan.steps = calloc(json_array_size(nodes), sizeof *out->plan.steps);
    if (!out->keep || !out->plan.steps)
        return err_oom(err);
    json_array_foreach (nodes, i, node) {
        AUTO_JSON row = NULL;
        const char *name = json_string_value(node);
        if (store_node_get(l->store, name ? name : "", &row, err) < 0)
            return -1;
        struct plan_step *s = &out->plan.steps[out->plan.count];
        *s = (struct plan_step){.node = name};
        if (!(s->request =
                  json_pack("{s:s, s:O}", "method", PUSH_METHOD, "params", push)))
            return err_oom(err);
        out->plan.count++;
    }
    out->wait = wait;
    out->plan.method = PUSH_METHOD;
    out->plan.target = image;
    out->plan.request = again;
    out->plan.who = out->plan.owner = who;
    return 0;
}

static void live_image_push(struct rpc_call *call, json_t *params, void *arg)
{
    struct err err;
    struct vm_plan plan = {0};
    uid_t uid = rpc_call_uid(call);
    if ((uid != 0 && uid != geteuid() &&
         err_set(&err, E_PERM, "only root may put images on nodes") < 0) ||
        plan_push(arg, uid, params, &plan, &err) < 0)
        rpc_call_fail(call, &err);
    else
        lodged_run_plan(arg, call, &plan.plan, plan.wait);
    vm_plan_done(&plan);
}

/* {"image", "node"} */
static void live_image_bring(struct rpc_call *call, json_t *params, void *arg)
{
    struct err err;
    struct vm_plan plan = {0};
    struct lodged *l = arg;
    const char *image, *node;
    AUTO_JSON row = NULL;
    AUTO_JSON push = NULL;
    AUTO_JSON all = NULL;
    if (rpc_unpack(params, &err, "image.bring", "{s:s, s:s !}", "image", &image, "node",
                   &node) < 0) {
        rpc_call_fail(call, &err);
        return;
    }
    if (store_node_get(l->store, node, &row, &err) < 0) {
        rpc_call_fail(call, &err);
        return;
    }
    const char *drained = json_string_value(json_object_get(row, "drained"));
    if (drained) {
        err_set(&err, E_STATE, "node '%s' takes no new machines: %s", node, drained);
        rpc_call_fail(call, &err);
        return;
    }
    if (*image == '/' || push_params(image, &push, NULL) < 0) {
        rpc_call_answer(call, NULL);
        return;
    }
    all = json_pack("{s:s, s:[s]}", "image", image, "nodes", node);
    if (plan_push(arg, rpc_call_uid(call), all, &plan, &err) < 0)
        rpc_call_fail(call, &err);
    else
        lodged_run_plan(arg, call, &plan.plan, true);
    vm_plan_done(&plan);
}

void lodged_image_came(struct lodged *l, int64_t op)
{
    const char *key;
    json_t *one;
    void *next;
    json_object_foreach_safe (l->wanted, next, key, one)
        if (json_integer_value(one) == op)
            json_object_del(l->wanted, key);
}

static int send_wanted(struct lodged *l, const char *node, json_t *data,
                       struct err *err)
{
    struct vm_plan plan = {0};
    AUTO_JSON params = NULL;
    const char *image;
    int64_t op;
    if (rpc_unpack(data, err, "image.wanted", "{s:s !}", "image", &image) < 0)
        return -1;
    AUTO_STR key = str_printf("%s %s", node, image);
    if (!l->wanted)
        l->wanted = json_object();
    params = json_pack("{s:s, s:[s]}", "image", image, "nodes", node);
    if (!key || !l->wanted || !params)
        return err_oom(err);
    if (json_object_get(l->wanted, key))
        return 0;
    AUTO_STR name = strndup(image, strcspn(image, "@"));
    if (!name)
        return err_oom(err);
    int r = plan_push(l, geteuid(), params, &plan, err);
    plan.plan.target = name;
    if (r == 0)
        r = runner_start(l->runner, &plan.plan, &op, err);
    vm_plan_done(&plan);
    if (r == 0)
        json_object_set_new(l->wanted, key, json_integer(op));
    return r;
}

void lodged_image_wanted(struct lodged *l, const char *node, json_t *data)
{
    struct err err;
    if (send_wanted(l, node, data, &err) < 0)
        log_warn(&(struct log_ctx){.node = node}, "image.wanted: %s", err.text);
}

const struct rpc_method lodged_image_methods[] = {
    {"image.bring", live_image_bring},
    {PUSH_METHOD, live_image_push},
    {NULL, NULL},
};
