/* SPDX-License-Identifier: Apache-2.0 */
/* Plans that start and stop machines; see the header. */
#include "controller/vm_plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "controller/push.h"
#include "place/spread.h"
#include "profile/profile.h"

void vm_plan_done(struct vm_plan *p)
{
    for (size_t i = 0; i < p->plan.count; i++) {
        json_decref(p->plan.steps[i].request);
        json_decref(p->plan.steps[i].undo);
    }
    free(p->plan.steps);
    json_decref(p->keep);
    *p = (struct vm_plan){0};
}

/* --- what the nodes have ---------------------------------------------------------------- */

struct nodes {
    json_t *rows;
    struct spread_node *at;
    size_t count;
};

static void nodes_done(struct nodes *n)
{
    json_decref(n->rows);
    free(n->at);
}

/* One row; what is not known of a node is nothing it could give. */
static void fill_node(struct lodged *l, json_t *row, struct spread_node *n)
{
    const char *drained = json_string_value(json_object_get(row, "drained"));
    n->name = json_string_value(json_object_get(row, "name"));
    struct link *link = hub_link(l->hub, n->name);
    json_t *room = hub_room(l->hub, n->name);
    if (drained)
        n->out = "drained";
    else if (!link || link_state(link) != LINK_UP)
        n->out = "not connected";
    else if (!room)
        n->out = "has not told yet what it has";
    json_t *types = json_object_get(room, "types"), *type;
    size_t i;
    n->cpus = (uint32_t)json_integer_value(json_object_get(room, "cpus"));
    n->memory_bytes =
        (uint64_t)json_integer_value(json_object_get(room, "memory_bytes"));
    json_array_foreach (types, i, type) {
        const char *word = json_string_value(type);
        int t = word ? profile_word(profile_type_names, word) : -1;
        n->types |= t >= 0 ? 1u << t : 0;
    }
    if (n->types & ~(1u << PROFILE_FAKE))
        n->types |= 1u << PROFILE_AUTO;
}

static int nodes_load(struct lodged *l, const char *only, struct nodes *out,
                      struct err *err)
{
    struct nodes n = {0};
    json_t *row;
    size_t i;
    if (store_node_list(l->store, &n.rows, err) < 0)
        return -1;
    if (!(n.at = calloc(json_array_size(n.rows) + 1, sizeof *n.at))) {
        nodes_done(&n);
        return err_oom(err);
    }
    json_array_foreach (n.rows, i, row) {
        const char *name = json_string_value(json_object_get(row, "name"));
        if (!only || !strcmp(only, name))
            fill_node(l, row, &n.at[n.count++]);
    }
    if (!n.count) {
        nodes_done(&n);
        return only ? err_set(err, E_NOENT, "no node '%s'; see 'lodge node list'", only)
                    : err_set(err, E_UNAVAIL,
                              "there are no nodes yet; add some by 'lodge node add'");
    }
    *out = n;
    return 0;
}

/* --- steps ------------------------------------------------------------------------------- */

static json_t *request(const char *method, json_t *params)
{
    return json_pack("{s:s, s:o}", "method", method, "params", params);
}

static json_t *destroy_request(const char *vm, uid_t uid)
{
    return request("vm.destroy",
                   json_pack("{s:s, s:I}", "vm", vm, "uid", (json_int_t)uid));
}

static int put_start(struct plan_step *s, int phase, const char *node, const char *vm,
                     json_t *profile, const struct vm_caller *who, struct err *err)
{
    *s = (struct plan_step){.phase = phase, .node = node, .vm = vm, .place = true};
    s->request = request("vm.deploy",
                         json_pack("{s:s, s:O, s:I, s:I, s:b, s:b}", "name", vm,
                                   "profile", profile, "uid", (json_int_t)who->uid,
                                   "gid", (json_int_t)who->gid, "boot", 1, "wait", 1));
    s->undo = destroy_request(vm, who->uid);
    return s->request && s->undo ? 0 : err_oom(err);
}

static bool is_pushed(const struct vm_plan *p, const char *node, const json_t *params)
{
    for (size_t i = 0; i < p->plan.count; i++) {
        const struct plan_step *s = &p->plan.steps[i];
        if (!s->vm && !strcmp(s->node, node) &&
            json_equal(json_object_get(s->request, "params"), params))
            return true;
    }
    return false;
}

/* The image, if it is one of ours, goes to the node first; one that only the node has is the
 * node's own matter. There must be room for one step more. */
static int put_image(struct vm_plan *p, const char *node, json_t *profile,
                     struct err *err)
{
    const char *image = json_string_value(json_object_get(profile, "image"));
    AUTO_JSON params = NULL;
    struct err why = {0};
    if (!image || *image == '/' || push_params(image, &params, &why) < 0)
        return 0;
    if (is_pushed(p, node, params))
        return 0;
    struct plan_step *s = &p->plan.steps[p->plan.count];
    *s = (struct plan_step){.phase = 0, .node = node};
    if (!(s->request = request(PUSH_METHOD, json_incref(params))))
        return err_oom(err);
    p->plan.count++;
    return 0;
}

/* What is simulated takes nothing. */
static struct spread_vm wants(const char *name, const struct profile *p)
{
    bool fake = p->type == PROFILE_FAKE;
    return (struct spread_vm){.name = name,
                              .cpus = fake ? 0 : p->vcpus,
                              .memory_bytes = fake ? 0 : p->memory_bytes,
                              .types = 1u << p->type};
}

/* The profile by name (as the caller sees it), or given whole. New reference. */
static int resolve(struct lodged *l, const struct vm_caller *who, json_t *params,
                   json_t **out, struct err *err)
{
    const char *name = json_string_value(json_object_get(params, "profile"));
    json_t *given = json_object_get(params, "resolved");
    if (given) {
        AUTO(profile) p = NULL; /* strict: what is wrong is said here, not on a node */
        if (profile_from_json(given, &p, err) < 0)
            return -1;
        *out = json_incref(given);
        return 0;
    }
    if (!name)
        return err_set(err, E_USAGE, "parameter 'profile' is missing");
    AUTO_JSON ask = json_pack("{s:s}", "name", name);
    AUTO_JSON answer = NULL;
    if (dispatch_call(l->dispatch, who->uid, false, "profile.resolve", ask, &answer,
                      err) < 0)
        return -1;
    json_t *profile = json_object_get(answer, "profile");
    if (!profile)
        return err_set(err, E_BUG, "profile.show gave no profile");
    *out = json_incref(profile);
    return 0;
}

static int common(json_t *params, struct vm_plan *p, struct err *err)
{
    json_t *wait = json_object_get(params, "wait");
    json_t *again = json_object_get(params, "request");
    if ((wait && !json_is_boolean(wait)) || (again && !json_is_string(again)))
        return err_set(err, E_INPUT, "'wait' is true or false, 'request' a text");
    p->wait = !wait || json_is_true(wait);
    p->plan.request = json_string_value(again);
    return (p->keep = json_array()) ? 0 : err_oom(err);
}

int vm_plan_start(struct lodged *l, const struct vm_caller *who, json_t *params,
                  struct vm_plan *out, struct err *err)
{
    const char *only = json_string_value(json_object_get(params, "node"));
    const char *name = json_string_value(json_object_get(params, "name"));
    json_t *profile = NULL;
    struct nodes nodes = {0};
    size_t choice;
    if (common(params, out, err) < 0 || resolve(l, who, params, &profile, err) < 0)
        return -1;
    json_array_append_new(out->keep, profile);
    json_array_append(out->keep, params);
    AUTO(profile) p = NULL;
    if (profile_from_json(profile, &p, err) < 0)
        return -1;
    if (!name)
        name = json_string_value(json_object_get(profile, "name"));
    if (!name || !str_is_name(name))
        return err_set(err, E_INPUT, "'%s' cannot name a machine", name ? name : "");
    struct spread_vm vm = wants(name, p);
    if (nodes_load(l, only, &nodes, err) < 0)
        return -1;
    int r = spread(&vm, 1, nodes.at, nodes.count, SPREAD_EVEN, 0, &choice, err);
    if (r == 0 && !(out->plan.steps = calloc(2, sizeof *out->plan.steps)))
        r = err_oom(err);
    if (r == 0) {
        json_t *row = json_string(nodes.at[choice].name);
        json_array_append_new(out->keep, row);
        out->plan.method = "vm.start";
        out->plan.target = name;
        out->plan.who = out->plan.owner = who->uid;
        const char *node = json_string_value(row);
        r = put_image(out, node, profile, err);
        if (r == 0)
            r = put_start(&out->plan.steps[out->plan.count++], 1, node, name, profile,
                          who, err);
    }
    nodes_done(&nodes);
    return r;
}

/* --- clusters ----------------------------------------------------------------------------- */

struct machines {
    struct spread_vm *vms;
    json_t **profiles; /* of each, borrowed from the cluster */
    uint32_t *order;
    size_t *choice;
    size_t count;
};

static void machines_done(struct machines *m)
{
    free(m->vms);
    free(m->profiles);
    free(m->order);
    free(m->choice);
}

static int add_member(json_t *cluster, json_t *member, json_t *keep, struct machines *m,
                      struct err *err)
{
    const char *kind = json_string_value(json_object_get(cluster, "name"));
    const char *base = json_string_value(json_object_get(member, "name"));
    json_int_t count = json_integer_value(json_object_get(member, "count"));
    json_t *resolved = json_object_get(member, "resolved");
    AUTO(profile) p = NULL;
    if (!resolved)
        return err_set(err, E_NOENT, "member '%s': its profile is not there", base);
    if (profile_from_json(resolved, &p, err) < 0)
        return err_at(err, "member '%s'", base);
    for (json_int_t i = 0; i < count; i++) {
        json_t *name = json_sprintf("%s-%s%" JSON_INTEGER_FORMAT, kind, base, i);
        if (!name || json_array_append_new(keep, name) < 0)
            return err_oom(err);
        if (!str_is_name(json_string_value(name)))
            return err_set(err, E_INPUT, "'%s' cannot name a machine",
                           json_string_value(name));
        m->vms[m->count] = wants(json_string_value(name), p);
        m->profiles[m->count] = resolved;
        m->order[m->count++] =
            (uint32_t)json_integer_value(json_object_get(member, "order"));
    }
    return 0;
}

static int load_machines(json_t *cluster, json_t *keep, struct machines *m,
                         struct err *err)
{
    json_t *members = json_object_get(cluster, "members"), *member;
    size_t i, total = 0;
    json_array_foreach (members, i, member)
        total += (size_t)json_integer_value(json_object_get(member, "count"));
    m->vms = calloc(total + 1, sizeof *m->vms);
    m->profiles = calloc(total + 1, sizeof *m->profiles);
    m->order = calloc(total + 1, sizeof *m->order);
    m->choice = calloc(total + 1, sizeof *m->choice);
    if (!m->vms || !m->profiles || !m->order || !m->choice)
        return err_oom(err);
    json_array_foreach (members, i, member)
        if (add_member(cluster, member, keep, m, err) < 0)
            return -1;
    return m->count ? 0 : err_set(err, E_INPUT, "the cluster has no machines");
}

/* Networks of a cluster do not reach from node to node: then it is one node or none. */
static int place_cluster(json_t *cluster, const struct machines *m,
                         const struct nodes *n, struct err *err)
{
    const char *how = json_string_value(json_object_get(cluster, "placement"));
    uint32_t per_node =
        (uint32_t)json_integer_value(json_object_get(cluster, "per_node"));
    enum spread_policy policy = how && !strcmp(how, "pack") ? SPREAD_PACK : SPREAD_EVEN;
    if (!json_array_size(json_object_get(cluster, "networks")))
        return spread(m->vms, m->count, n->at, n->count, policy, per_node, m->choice,
                      err);
    struct err why = {0};
    for (size_t i = 0; i < n->count; i++)
        if (spread(m->vms, m->count, &n->at[i], 1, policy, per_node, m->choice, &why) ==
            0) {
            for (size_t k = 0; k < m->count; k++)
                m->choice[k] = i;
            return 0;
        }
    return err_set(
        err, E_BUSY,
        "the cluster has networks of its own, which do not reach from node to "
        "node, and it fits whole on none: %s",
        why.text);
}

static int cluster_steps(const struct machines *m, const struct nodes *n,
                         const struct vm_caller *who, struct vm_plan *out,
                         struct err *err)
{
    if (!(out->plan.steps = calloc(2 * m->count, sizeof *out->plan.steps)))
        return err_oom(err);
    for (size_t i = 0; i < m->count; i++)
        if (put_image(out, n->at[m->choice[i]].name, m->profiles[i], err) < 0)
            return -1;
    for (size_t i = 0; i < m->count; i++)
        if (put_start(&out->plan.steps[out->plan.count++], (int)m->order[i] + 1,
                      n->at[m->choice[i]].name, m->vms[i].name, m->profiles[i], who,
                      err) < 0)
            return -1;
    return 0;
}

int vm_plan_cluster(struct lodged *l, const struct vm_caller *who, json_t *params,
                    struct vm_plan *out, struct err *err)
{
    const char *only = json_string_value(json_object_get(params, "node"));
    const char *name = json_string_value(json_object_get(params, "cluster"));
    struct nodes nodes = {0};
    struct machines m = {0};
    AUTO_JSON ask = json_pack("{s:s*}", "name", name);
    json_t *answer = NULL;
    if (common(params, out, err) < 0 ||
        dispatch_call(l->dispatch, who->uid, false, "cluster.show", ask, &answer, err) <
            0)
        return -1;
    json_array_append_new(out->keep, answer);
    json_array_append(out->keep, params);
    json_t *cluster = json_object_get(answer, "cluster");
    int r = nodes_load(l, only, &nodes, err);
    if (r == 0)
        json_array_append(out->keep, nodes.rows);
    if (r == 0)
        r = load_machines(cluster, out->keep, &m, err);
    if (r == 0)
        r = place_cluster(cluster, &m, &nodes, err);
    if (r == 0)
        r = cluster_steps(&m, &nodes, who, out, err);
    out->plan.method = "cluster.start";
    out->plan.target = out->plan.cluster = name;
    out->plan.who = out->plan.owner = who->uid;
    machines_done(&m);
    nodes_done(&nodes);
    return r;
}

/* --- stop --------------------------------------------------------------------------------- */

int vm_plan_stop(struct lodged *l, const struct vm_caller *who, json_t *params,
                 struct vm_plan *out, struct err *err)
{
    const char *name = json_string_value(json_object_get(params, "name"));
    const char *cluster = json_string_value(json_object_get(params, "cluster"));
    json_t *rows = NULL, *row;
    size_t i;
    if (common(params, out, err) < 0)
        return -1;
    if (!name == !cluster)
        return err_set(err, E_USAGE, "give either 'name' or 'cluster'");
    if (store_placements(l->store, who->uid, cluster, &rows, err) < 0)
        return -1;
    json_array_append_new(out->keep, rows);
    json_array_append(out->keep, params);
    if (!(out->plan.steps = calloc(json_array_size(rows) + 1, sizeof *out->plan.steps)))
        return err_oom(err);
    json_array_foreach (rows, i, row) {
        const char *vm = json_string_value(json_object_get(row, "vm"));
        if (name && strcmp(name, vm))
            continue;
        struct plan_step *s = &out->plan.steps[out->plan.count++];
        *s = (struct plan_step){.node = json_string_value(json_object_get(row, "node")),
                                .vm = vm};
        if (!(s->request = destroy_request(vm, who->uid)))
            return err_oom(err);
    }
    if (!out->plan.count)
        return err_set(err, E_NOENT,
                       "no %s '%s' of yours was started by the controller",
                       name ? "machine" : "cluster", name ? name : cluster);
    out->plan.method = name ? "vm.stop" : "cluster.stop";
    out->plan.target = name ? name : cluster;
    out->plan.who = out->plan.owner = who->uid;
    return 0;
}
