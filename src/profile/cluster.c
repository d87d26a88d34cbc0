/* SPDX-License-Identifier: Apache-2.0 */
/* Clusters: the document's walker, by the same tables of elements and fields as
 * profiles. */
#include "profile/cluster.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "profile/cluster_check.h"
#include "profile/schemas.h"
#include "profile/xml.h"

OWN_CLEANUP(json_t, json_decref)

#define X(value, word) [value] = word,
const char *const cluster_placement_names[] = {CLUSTER_PLACEMENTS(X) NULL};
#undef X

#define AT(type, member) .offset = offsetof(struct type, member)

static const struct profile_field network_fields[] = {
    {"name", FIELD_NAME, AT(cluster_network, name), .max = 15,
     .help = "of the network"},
    {"subnet", FIELD_STR, AT(cluster_network, subnet), .max = 18,
     .help = "addresses, like 10.7.0.0/24"},
    {"mtu", FIELD_U32, AT(cluster_network, mtu), .max = 65520, .def = "0",
     .help = "largest packet; 0: usual"},
    {0},
};

static const struct profile_field member_fields[] = {
    {"name", FIELD_NAME, AT(cluster_member, name), .max = 55,
     .help = "of the machines, a number is added"},
    {"profile", FIELD_NAME, AT(cluster_member, profile), .max = 63, .help = "by name"},
    {"count", FIELD_U32, AT(cluster_member, count), .min = 1, .max = CLUSTER_VMS_MAX,
     .def = "1", .help = "how many machines"},
    {"order", FIELD_U32, AT(cluster_member, order), .max = 1000, .def = "0",
     .help = "lower ones boot first"},
    {0},
};

static const struct profile_field cluster_fields[] = {
    {"name", FIELD_NAME, AT(cluster, name), .max = 63, .help = "of the cluster"},
    {"description", FIELD_STR, AT(cluster, description), .max = 1023,
     .help = "one line for people"},
    {"networks", FIELD_LIST, AT(cluster, networks), .max = 64, .fields = network_fields,
     .count_offset = offsetof(struct cluster, network_count),
     .item_size = sizeof(struct cluster_network), .help = "private networks"},
    {"members", FIELD_LIST, AT(cluster, members), .max = 256, .fields = member_fields,
     .count_offset = offsetof(struct cluster, member_count),
     .item_size = sizeof(struct cluster_member), .help = "machines"},
    {"disks", FIELD_LIST, AT(cluster, disks), .max = 16, .fields = profile_disk_fields,
     .count_offset = offsetof(struct cluster, disk_count),
     .item_size = sizeof(struct profile_disk), .help = "disks all members have"},
    {"placement", FIELD_ENUM, AT(cluster, placement), .def = "any",
     .help = "where machines go", .words = cluster_placement_names},
    {"per_node", FIELD_U32, AT(cluster, per_node), .max = CLUSTER_VMS_MAX, .def = "0",
     .help = "machines a node at most; 0: as it fits"},
    {0},
};

static const struct xml_attr network_attrs[] = {
    {"name", "name"}, {"subnet", "subnet"}, {"mtu", "mtu"}, {0}};
static const struct xml_attr member_attrs[] = {{"profile", "profile"},
                                               {"name", "name"},
                                               {"count", "count"},
                                               {"order", "order"},
                                               {0}};
static const struct xml_attr disk_attrs[] = {
    {"id", "id"},         {"path", "path"},         {"size", "size_bytes"},
    {"format", "format"}, {"readonly", "readonly"}, {0}};
static const struct xml_attr placement_attrs[] = {
    {"policy", "placement"}, {"per-node", "per_node"}, {0}};
static const struct xml_element network_item = {.name = "network",
                                                .attrs = network_attrs};
static const struct xml_element disk_item = {.name = "disk", .attrs = disk_attrs};
static const struct xml_element cluster_elements[] = {
    {.name = "name", .field = "name"},
    {.name = "description", .field = "description"},
    {.name = "networks", .list = "networks", .item = &network_item},
    {.name = "members", .list = "members"},
    {.name = "disks", .list = "disks", .item = &disk_item},
    {.name = "placement", .attrs = placement_attrs},
    {0},
};

struct reader {
    struct xml_walk w;
    cluster_lookup_f lookup;
    void *arg;
    struct cluster *cluster;
};

void cluster_free(struct cluster *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->member_count; i++)
        profile_free(c->members[i].resolved);
    profile_fields_done(cluster_fields, c);
    free(c);
}

/* The member's attributes; its children are the changes to the profile. */
static void read_member_attrs(struct reader *r, xmlNodePtr node,
                              struct cluster_member *m)
{
    static const struct xml_element bare = {.name = "member", .attrs = member_attrs};
    xmlNodePtr children = node->children;
    node->children = NULL; /* not xml_walk_element's to look at */
    xml_walk_element(&r->w, node, &bare, member_fields, m);
    node->children = children;
}

static struct profile *base_profile(struct reader *r, xmlNodePtr node,
                                    const struct cluster_member *m)
{
    struct profile *p = NULL;
    struct err err = {0};
    if (!r->lookup || !m->profile) {
        if (!(p = profile_new()))
            profile_problem(r->w.problems, 0, NULL, "out of memory");
        return p;
    }
    if (r->lookup(r->arg, m->profile, &p, &err) < 0) {
        profile_problem(r->w.problems, xml_line(node), "member@profile", "%s",
                        err.text);
        return NULL;
    }
    return p;
}

static bool same_disk(const struct profile *p, const char *id)
{
    for (size_t i = 0; id && i < p->disk_count; i++)
        if (p->disks[i].id && !strcmp(p->disks[i].id, id))
            return true;
    return false;
}

/* The cluster's disks come behind the member's own. */
static int add_shared_disks(const struct cluster *c, struct profile *p)
{
    const struct profile_field *f = profile_fields;
    while (strcmp(f->name, "disks"))
        f++;
    for (size_t i = 0; i < c->disk_count; i++) {
        const struct profile_disk *from = &c->disks[i];
        if (!from->path)
            continue; /* is told of the cluster's own */
        struct profile_disk *d = profile_list_grow(f, p);
        if (!d || (from->id && !(d->id = strdup(from->id))) ||
            (from->path && !(d->path = strdup(from->path))))
            return -1;
        d->size_bytes = from->size_bytes;
        d->format = from->format;
        d->readonly = from->readonly;
        d->shared = true;
    }
    return 0;
}

/* What is not a change to the profile: its identity, and the member's own attributes. */
static const char *const not_changes[] = {"name",  "description", "profile",
                                          "count", "order",       NULL};

static void refuse_others(struct reader *r, xmlNodePtr node)
{
    for (xmlNodePtr c = node->children; c; c = c->next) {
        int i = c->type == XML_ELEMENT_NODE
                    ? profile_word(not_changes, (const char *)c->name)
                    : -1;
        if (i < 0 || strcmp(not_changes[i], (const char *)c->name))
            continue;
        if (!strcmp(not_changes[i], "description"))
            profile_problem(r->w.problems, xml_line(c), not_changes[i],
                            "is not changed by a member");
        else
            profile_problem(r->w.problems, xml_line(c), not_changes[i],
                            "is an attribute here; write <member %s=\"...\">",
                            not_changes[i]);
    }
}

static void read_changes(struct reader *r, xmlNodePtr node, struct cluster_member *m)
{
    struct xml_walk w = {.problems = r->w.problems, .places.line = xml_line(node)};
    size_t errors = w.problems->errors;
    AUTO(profile) p = base_profile(r, node, m);
    refuse_others(r, node);
    if (!p)
        return;
    xml_walk_profile(&w, node, p, not_changes);
    for (size_t i = 0; i < r->cluster->disk_count; i++)
        if (same_disk(p, r->cluster->disks[i].id))
            profile_problem(w.problems, xml_line(node), "member",
                            "its profile has a disk '%s' too, as the cluster",
                            r->cluster->disks[i].id);
    if (profile_name_parts(p) < 0 || add_shared_disks(r->cluster, p) < 0)
        profile_problem(w.problems, xml_line(node), "member", "too many disks");
    if (r->lookup && m->profile && w.problems->errors == errors) {
        profile_check_at(p, &w.places, w.problems);
        m->resolved = move(p);
    }
    xml_places_done(&w.places);
}

static bool has_child(xmlNodePtr node, const char *name)
{
    for (xmlNodePtr c = node->children; c; c = c->next)
        if (c->type == XML_ELEMENT_NODE && !strcmp((const char *)c->name, name))
            return true;
    return false;
}

static void read_members(struct reader *r, xmlNodePtr node)
{
    static const char *const names[] = {"member", NULL};
    const struct profile_field *list = cluster_fields;
    while (strcmp(list->name, "members"))
        list++;
    xml_place_add(&r->w, "members", "members", xml_line(node));
    for (xmlNodePtr c = node->children; c; c = c->next) {
        if (c->type == XML_TEXT_NODE && !xmlIsBlankNode(c))
            profile_problem(r->w.problems, xml_line(c), "members",
                            "text does not belong here");
        if (c->type != XML_ELEMENT_NODE)
            continue;
        if (strcmp((const char *)c->name, "member")) {
            xml_unknown(&r->w, c, names);
            continue;
        }
        /* The list may move: nothing keeps a pointer into it. */
        struct cluster_member *m = r->cluster->member_count < list->max
                                       ? cluster_add_member(r->cluster)
                                       : NULL;
        if (!m) {
            profile_problem(r->w.problems, xml_line(c), "member",
                            "more than %u of them", (unsigned)list->max);
            return;
        }
        read_member_attrs(r, c, m);
        if (!m->profile && !xmlHasProp(c, BAD_CAST "profile") &&
            !has_child(c, "profile"))
            profile_problem(r->w.problems, xml_line(c), "member",
                            "has no profile; write <member profile=\"NAME\">");
        if (!m->name && m->profile && strlen(m->profile) <= 55)
            m->name = strdup(m->profile);
        if (!m->name && m->profile && strlen(m->profile) <= 55)
            profile_problem(r->w.problems, 0, NULL, "out of memory");
        cluster_place(&r->w, "members", r->cluster->member_count - 1, "member", c);
        read_changes(r, c, m);
    }
}

struct cluster_member *cluster_add_member(struct cluster *c)
{
    struct cluster_member *at = realloc(c->members, (c->member_count + 1) * sizeof *at);
    if (!at)
        return NULL;
    c->members = at;
    at = &at[c->member_count];
    *at = (struct cluster_member){0};
    if (profile_fields_init(member_fields, at) < 0)
        return NULL;
    c->member_count++;
    return at;
}

void cluster_place(struct xml_walk *w, const char *list, size_t i, const char *where,
                   xmlNodePtr node)
{
    char key[40];
    snprintf(key, sizeof key, "%s[%zu]", list, i);
    xml_place_add(w, key, where, xml_line(node));
}

/* Members come last: they need the disks, wherever the document has them. */
static void read_elements(struct reader *r, xmlNodePtr root)
{
    const char *names[ARRAY_SIZE(cluster_elements)] = {NULL};
    unsigned first[ARRAY_SIZE(cluster_elements)] = {0};
    xmlNodePtr members = NULL;
    for (size_t i = 0; cluster_elements[i].name; i++)
        names[i] = cluster_elements[i].name;
    for (xmlNodePtr c = root->children; c; c = c->next) {
        size_t i = 0;
        if (c->type == XML_TEXT_NODE && !xmlIsBlankNode(c))
            profile_problem(r->w.problems, xml_line(c), "cluster",
                            "text does not belong here");
        if (c->type != XML_ELEMENT_NODE)
            continue;
        while (names[i] && strcmp(names[i], (const char *)c->name))
            i++;
        if (!names[i]) {
            xml_unknown(&r->w, c, names);
        } else if (first[i]) {
            profile_problem(r->w.problems, xml_line(c), names[i],
                            "is given twice; the first is on line %u", first[i]);
        } else {
            first[i] = xml_line(c);
            if (!strcmp(names[i], "members"))
                members = c;
            else
                xml_walk_element(&r->w, c, &cluster_elements[i], cluster_fields,
                                 r->cluster);
        }
    }
    for (size_t i = 0; i < r->cluster->disk_count; i++)
        if (!r->cluster->disks[i].id &&
            !(r->cluster->disks[i].id = str_printf("shared%zu", i + 1)))
            profile_problem(r->w.problems, 0, NULL, "out of memory");
    if (members)
        read_members(r, members);
    else
        profile_problem(r->w.problems, xml_line(root), "cluster",
                        "has no <members>; add <members><member profile=\"NAME\" "
                        "count=\"2\"/></members>");
    if (!r->cluster->name && !xml_place_find(&r->w.places, "name"))
        profile_problem(r->w.problems, xml_line(root), "cluster", "has no <name>");
}

static int parse(const char *text, size_t len, bool validate, cluster_lookup_f lookup,
                 void *arg, struct cluster **out, struct profile_problems *problems)
{
    AUTO(cluster) c = calloc(1, sizeof *c);
    struct reader r = {
        .w.problems = problems, .lookup = lookup, .arg = arg, .cluster = c};
    if (!c || profile_fields_init(cluster_fields, c) < 0) {
        profile_problem(problems, 0, NULL, "out of memory");
        return -1;
    }
    xmlDocPtr doc = xml_load(text, len, problems);
    xmlNodePtr root = doc ? xmlDocGetRootElement(doc) : NULL;
    if (root && strcmp((const char *)root->name, "cluster")) {
        profile_problem(problems, xml_line(root), (const char *)root->name,
                        "a cluster begins with <cluster>%s",
                        strcmp((const char *)root->name, "profile")
                            ? ""
                            : "; for a profile use 'lodge profile'");
    } else if (root) {
        for (xmlAttrPtr a = root->properties; a; a = a->next)
            profile_problem(problems, xml_line(root), "cluster",
                            "unknown attribute '%.60s'; it has none", a->name);
        read_elements(&r, root);
        cluster_check(c, &r.w.places, problems);
        if (validate && !problems->errors)
            xml_validate(doc, schema_profile_xsd, problems);
    }
    xmlFreeDoc(doc);
    xml_places_done(&r.w.places);
    profile_problems_sort(problems);
    if (problems->errors)
        return -1;
    *out = move(c);
    return 0;
}

int cluster_parse(const char *text, size_t len, cluster_lookup_f lookup, void *arg,
                  struct cluster **out, struct profile_problems *problems)
{
    return parse(text, len, true, lookup, arg, out, problems);
}

int cluster_parse_stored(const char *text, size_t len, cluster_lookup_f lookup,
                         void *arg, struct cluster **out,
                         struct profile_problems *problems)
{
    return parse(text, len, false, lookup, arg, out, problems);
}

json_t *cluster_to_json(const struct cluster *c)
{
    AUTO_T(json_t) all = profile_fields_json(cluster_fields, c);
    json_t *members = json_object_get(all, "members");
    for (size_t i = 0; i < c->member_count && members; i++)
        if (c->members[i].resolved &&
            json_object_set_new(json_array_get(members, i), "resolved",
                                profile_to_json(c->members[i].resolved)) < 0)
            return NULL;
    return move(all);
}

uint32_t cluster_vms(const struct cluster *c)
{
    uint64_t n = 0;
    for (size_t i = 0; i < c->member_count; i++)
        n += c->members[i].count;
    return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}
