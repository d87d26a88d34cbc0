/* SPDX-License-Identifier: Apache-2.0 */
/* Facts as JSON and back, by one table of fields. Strict: an unknown member, a missing
 * one, a wrong type or a number out of range is refused. */
#include "node/node.h"

#include <stddef.h>
#include <string.h>

OWN_CLEANUP(json_t, json_decref)
#define AUTO_JSON AUTO_T(json_t)

enum kind { K_BOOL, K_INT, K_U64, K_TEXT, K_KVM_KIND };

struct field {
    const char *name;
    enum kind kind;
    size_t offset, size;
};

#define FIELD(type, member, kind)                                                      \
    {                                                                                  \
#member, kind, offsetof(struct type, member), sizeof((struct type *)0)->member \
    }

static const struct field machine_fields[] = {
    FIELD(node_machine, hostname, K_TEXT),
    FIELD(node_machine, kernel, K_TEXT),
    FIELD(node_machine, cpu_vendor, K_TEXT),
    FIELD(node_machine, cpu_model, K_TEXT),
    FIELD(node_machine, cpus, K_INT),
    FIELD(node_machine, memory_bytes, K_U64),
    FIELD(node_machine, available_bytes, K_U64),
    FIELD(node_machine, root, K_BOOL),
    {NULL}};
static const struct field kvm_fields[] = {FIELD(node_kvm, present, K_BOOL),
                                          FIELD(node_kvm, usable, K_BOOL),
                                          FIELD(node_kvm, kind, K_KVM_KIND),
                                          FIELD(node_kvm, api, K_INT),
                                          FIELD(node_kvm, module, K_TEXT),
                                          FIELD(node_kvm, nested_paging, K_BOOL),
                                          FIELD(node_kvm, loop_percent, K_INT),
                                          FIELD(node_kvm, problem, K_TEXT),
                                          {NULL}};
static const struct field pool_fields[] = {FIELD(node_pool, page_bytes, K_U64),
                                           FIELD(node_pool, total, K_U64),
                                           FIELD(node_pool, free, K_U64),
                                           {NULL}};
static const struct field numa_fields[] = {FIELD(node_numa, id, K_INT),
                                           FIELD(node_numa, cpus, K_TEXT),
                                           FIELD(node_numa, memory_bytes, K_U64),
                                           FIELD(node_numa, free_bytes, K_U64),
                                           {NULL}};
static const struct field devices_fields[] = {
    FIELD(node_devices, iommu_groups, K_INT), FIELD(node_devices, vfio, K_BOOL),
    FIELD(node_devices, vhost_net, K_BOOL),   FIELD(node_devices, vhost_vsock, K_BOOL),
    FIELD(node_devices, tun, K_BOOL),         {NULL}};
static const struct field cgroup_fields[] = {FIELD(node_cgroup, version, K_INT),
                                             FIELD(node_cgroup, delegated, K_BOOL),
                                             FIELD(node_cgroup, controllers, K_TEXT),
                                             {NULL}};
static const struct field libvirt_fields[] = {FIELD(node_libvirt, installed, K_BOOL),
                                              FIELD(node_libvirt, reachable, K_BOOL),
                                              FIELD(node_libvirt, socket, K_TEXT),
                                              FIELD(node_libvirt, problem, K_TEXT),
                                              {NULL}};
static const struct field qemu_fields[] = {FIELD(node_qemu, path, K_TEXT),
                                           FIELD(node_qemu, version, K_TEXT),
                                           FIELD(node_qemu, kvm, K_BOOL),
                                           FIELD(node_qemu, tcg, K_BOOL),
                                           {NULL}};
static const struct field slurm_fields[] = {FIELD(node_slurm, version, K_TEXT), {NULL}};
static const struct field munge_fields[] = {
    FIELD(node_munge, version, K_TEXT), FIELD(node_munge, running, K_BOOL), {NULL}};
static const struct field sshd_fields[] = {FIELD(node_sshd, installed, K_BOOL),
                                           FIELD(node_sshd, listening, K_BOOL),
                                           FIELD(node_sshd, version, K_TEXT),
                                           {NULL}};
/* The list of NUMA nodes is written by its own code. */
static const struct field memory_fields[] = {{NULL}};

static const struct {
    const char *name;
    const struct field *fields;
    size_t offset;
} members[NODE_PROBE_COUNT] = {
#define X(name, member) {#member, member##_fields, offsetof(struct node_facts, member)},
    NODE_PROBES(X)
#undef X
};

static const char *const kinds[] = {"none", "software", "real"};

const char *node_kvm_kind_name(enum node_kvm_kind kind)
{
    return kinds[kind];
}

static json_t *field_to_json(const struct field *f, const void *object)
{
    const void *at = (const char *)object + f->offset;
    switch (f->kind) {
    case K_BOOL:
        return json_boolean(*(const bool *)at);
    case K_INT:
        return json_integer(*(const int *)at);
    case K_U64:
        return json_integer((json_int_t) * (const uint64_t *)at);
    case K_TEXT: {
        /* What a firmware or a program said need not be UTF-8. */
        json_t *text = json_string(at);
        return text ? text : json_string("?");
    }
    case K_KVM_KIND:
        return json_string(kinds[*(const enum node_kvm_kind *)at]);
    }
    return NULL;
}

static json_t *object_to_json(const struct field *fields, const void *object)
{
    json_t *to = json_object();
    for (const struct field *f = fields; to && f->name; f++)
        json_object_set_new(to, f->name, field_to_json(f, object));
    return to;
}

static json_t *memory_to_json(const struct node_memory *m)
{
    json_t *nodes = json_array();
    for (int i = 0; i < m->count; i++) {
        const struct node_numa *n = &m->numa[i];
        json_t *node = object_to_json(numa_fields, n), *pools = json_array();
        for (int p = 0; p < n->npools; p++)
            json_array_append_new(pools, object_to_json(pool_fields, &n->pools[p]));
        json_object_set_new(node, "hugepages", pools);
        json_array_append_new(nodes, node);
    }
    return json_pack("{s:o}", "numa", nodes);
}

json_t *node_facts_to_json(const struct node_facts *facts)
{
    AUTO_JSON to = json_object();
    AUTO_JSON silent = json_array();
    if (!to || !silent)
        return NULL;
    for (int i = 0; i < NODE_PROBE_COUNT; i++) {
        if (!facts->answered[i]) {
            json_array_append_new(silent, json_string(members[i].name));
            continue;
        }
        const void *at = (const char *)facts + members[i].offset;
        json_t *member = i == NODE_PROBE_MEMORY ? memory_to_json(at)
                                                : object_to_json(members[i].fields, at);
        if (json_object_set_new(to, members[i].name, member) < 0)
            return NULL;
    }
    if (json_object_set(to, "unanswered", silent) < 0)
        return NULL;
    return move(to);
}

static int field_from_json(const struct field *f, const json_t *v, void *object,
                           struct err *err)
{
    void *at = (char *)object + f->offset;
    json_int_t n = json_integer_value(v);
    switch (f->kind) {
    case K_BOOL:
        if (!json_is_boolean(v))
            break;
        *(bool *)at = json_is_true(v);
        return 0;
    case K_INT:
        if (!json_is_integer(v) || n < 0 || n > INT32_MAX)
            break;
        *(int *)at = (int)n;
        return 0;
    case K_U64:
        if (!json_is_integer(v) || n < 0)
            break;
        *(uint64_t *)at = n;
        return 0;
    case K_TEXT:
        if (!json_is_string(v) || json_string_length(v) >= f->size)
            break;
        memcpy(at, json_string_value(v), json_string_length(v) + 1);
        return 0;
    case K_KVM_KIND:
        for (int i = 0; json_is_string(v) && i <= NODE_KVM_REAL; i++)
            if (!strcmp(json_string_value(v), kinds[i])) {
                *(enum node_kvm_kind *)at = i;
                return 0;
            }
        break;
    }
    return err_set(err, E_INPUT, "'%s' has a wrong type or value", f->name);
}

/* extra: how many members besides the fields the object has. */
static int object_from_json(const struct field *fields, const json_t *from,
                            size_t extra, void *object, struct err *err)
{
    size_t count = 0;
    if (!json_is_object(from))
        return err_set(err, E_INPUT, "not an object");
    for (const struct field *f = fields; f->name; f++, count++) {
        const json_t *v = json_object_get(from, f->name);
        if (!v)
            return err_set(err, E_INPUT, "'%s' is missing", f->name);
        if (field_from_json(f, v, object, err) < 0)
            return -1;
    }
    if (json_object_size(from) != count + extra)
        return err_set(err, E_INPUT, "there are members that are not known");
    return 0;
}

static int numa_from_json(const json_t *from, struct node_numa *n, struct err *err)
{
    if (object_from_json(numa_fields, from, 1, n, err) < 0)
        return -1;
    const json_t *pools = json_object_get(from, "hugepages");
    if (!json_is_array(pools) || json_array_size(pools) > NODE_POOLS_MAX)
        return err_set(err, E_INPUT, "'hugepages' is no list, or too long");
    n->npools = (int)json_array_size(pools);
    for (int p = 0; p < n->npools; p++)
        if (object_from_json(pool_fields, json_array_get(pools, p), 0, &n->pools[p],
                             err) < 0)
            return err_at(err, "hugepages");
    return 0;
}

static int memory_from_json(const json_t *from, struct node_memory *m, struct err *err)
{
    const json_t *nodes = json_object_get(from, "numa");
    if (!json_is_array(nodes) || json_object_size(from) != 1 ||
        json_array_size(nodes) > NODE_NUMA_MAX)
        return err_set(err, E_INPUT, "'numa' is no list, or too long");
    m->count = (int)json_array_size(nodes);
    for (int i = 0; i < m->count; i++)
        if (numa_from_json(json_array_get(nodes, i), &m->numa[i], err) < 0)
            return err_at(err, "numa[%d]", i);
    return 0;
}

static bool is_silent(const json_t *silent, const char *name)
{
    for (size_t i = 0; i < json_array_size(silent); i++) {
        const char *s = json_string_value(json_array_get(silent, i));
        if (s && !strcmp(s, name))
            return true;
    }
    return false;
}

int node_facts_from_json(const json_t *from, struct node_facts **out, struct err *err)
{
    AUTO(node_facts) facts = calloc(1, sizeof *facts);
    if (!facts)
        return err_oom(err);
    const json_t *silent = json_object_get(from, "unanswered");
    if (!json_is_array(silent))
        return err_set(err, E_INPUT, "node facts: 'unanswered' is missing");
    size_t count = 1;
    for (int i = 0; i < NODE_PROBE_COUNT; i++) {
        if (is_silent(silent, members[i].name))
            continue;
        const json_t *v = json_object_get(from, members[i].name);
        void *at = (char *)facts + members[i].offset;
        if ((i == NODE_PROBE_MEMORY
                 ? memory_from_json(v, at, err)
                 : object_from_json(members[i].fields, v, 0, at, err)) < 0)
            return err_at(err, "node facts: %s", members[i].name);
        facts->answered[i] = true;
        count++;
    }
    if (json_object_size(from) != count)
        return err_set(err, E_INPUT,
                       "node facts: there are members that are not known");
    *out = move(facts);
    return 0;
}
