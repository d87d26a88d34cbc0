/* SPDX-License-Identifier: Apache-2.0 */
/* See the header. The choice itself is spread()'s. */
#include "place/members.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "base/str.h"
#include "place/spread.h"
#include "profile/cluster.h"

enum { MIB_SHIFT = 20 };

void members_free(struct members *m)
{
    if (!m)
        return;
    free(m->vm);
    free(m);
}

static json_int_t number(const json_t *from, const char *name)
{
    return json_integer_value(json_object_get(from, name));
}

static int expand_one(const json_t *member, struct members *m, struct err *err)
{
    const char *name = json_string_value(json_object_get(member, "name"));
    json_t *profile = json_object_get(member, "profile");
    json_int_t count = number(member, "count");
    json_int_t vcpus = number(profile, "vcpus"),
               memory = number(profile, "memory_bytes");

    if (!name || !profile || count < 1 || vcpus < 1 || vcpus > UINT32_MAX || memory < 1)
        return err_set(err, E_INPUT, "a member of the cluster is damaged");
    for (json_int_t i = 0; i < count; i++) {
        if (m->count == MEMBERS_VMS_MAX)
            return err_set(err, E_INPUT, "the cluster has more than %d machines",
                           MEMBERS_VMS_MAX);
        struct members_vm *vm = &m->vm[m->count++];
        *vm = (struct members_vm){
            .profile = profile,
            .digest = json_string_value(json_object_get(member, "digest")),
            .vcpus = (uint32_t)vcpus,
            .memory_bytes = (uint64_t)memory};
        snprintf(vm->name, sizeof vm->name, "%.60s%lld", name, (long long)i);
    }
    return 0;
}

static int expand(const json_t *grant, struct members **out, struct err *err)
{
    AUTO(members) m = calloc(1, sizeof *m);
    json_t *list = json_object_get(grant, "members"), *member;
    size_t i;

    if (!m || !(m->vm = calloc(MEMBERS_VMS_MAX, sizeof *m->vm)))
        return err_oom(err);
    json_array_foreach (list, i, member)
        if (expand_one(member, m, err) < 0)
            return -1;
    if (!m->count)
        return err_set(err, E_INPUT, "the cluster has no machines");
    *out = move(m);
    return 0;
}

/* Nodes that are alike; not told means enough. */
static struct spread_node *make_nodes(const json_t *grant, uint32_t nodes)
{
    json_int_t mib = number(grant, "memory_mib"), cpus = number(grant, "cpus");
    struct spread_node *n = calloc(nodes, sizeof *n);

    for (uint32_t i = 0; n && i < nodes; i++)
        n[i] = (struct spread_node){
            .name = "a node of the job",
            .cpus = cpus > 0 && cpus < UINT32_MAX ? (uint32_t)cpus : UINT32_MAX,
            .memory_bytes = mib > 0 ? (uint64_t)mib << MIB_SHIFT : UINT64_MAX,
            .types = 1};
    return n;
}

static int refuse(const struct err *why, uint32_t nodes, struct err *err)
{
    if (why->code == E_BUSY)
        return err_set(err, E_INPUT,
                       "its machines do not fit on %u node%s: %s; ask for more with "
                       "--nodes, --mem or --cpus-per-task",
                       nodes, nodes == 1 ? "" : "s", why->text);
    if (err)
        *err = *why;
    return -1;
}

static int place(const json_t *grant, uint32_t nodes, struct members *m,
                 struct err *err)
{
    const char *how = json_string_value(json_object_get(grant, "placement"));
    bool pack = how && !strcmp(how, cluster_placement_names[CLUSTER_PACK]);
    json_int_t per_node = number(grant, "per_node");
    struct err why = {0};
    struct spread_node *n = make_nodes(grant, nodes);
    struct spread_vm *vms = calloc(m->count, sizeof *vms);
    size_t *choice = calloc(m->count, sizeof *choice);
    int rc = n && vms && choice ? 0 : err_oom(&why);

    for (size_t i = 0; rc == 0 && i < m->count; i++)
        vms[i] = (struct spread_vm){.name = m->vm[i].name,
                                    .cpus = m->vm[i].vcpus,
                                    .memory_bytes = m->vm[i].memory_bytes,
                                    .types = 1};
    if (rc == 0)
        rc = spread(vms, m->count, n, nodes, pack ? SPREAD_PACK : SPREAD_EVEN,
                    per_node > 0 ? (uint32_t)per_node : 0, choice, &why);
    /* All nodes are alike, so two may change places. */
    for (size_t i = 0; rc == 0 && i < m->count; i++)
        m->vm[i].node = (uint32_t)(choice[i] == choice[0] ? 0
                                   : choice[i] == 0       ? choice[0]
                                                          : choice[i]);
    free(n);
    free(vms);
    free(choice);
    return rc < 0 ? refuse(&why, nodes, err) : 0;
}

int members_place(const json_t *grant, uint32_t nodes, struct members **out,
                  struct err *err)
{
    AUTO(members) m = NULL;

    if (nodes > MEMBERS_NODES_MAX)
        return err_set(err, E_INPUT, "%u nodes: at most %d", nodes, MEMBERS_NODES_MAX);
    if (expand(grant, &m, err) < 0)
        return -1;
    if (nodes && m->count < nodes)
        return err_set(err, E_INPUT,
                       "it has %zu machine%s, but the job %u nodes, and none may stay "
                       "without; ask for fewer nodes",
                       m->count, m->count == 1 ? "" : "s", nodes);
    if (nodes && place(grant, nodes, m, err) < 0)
        return -1;
    *out = move(m);
    return 0;
}
