/* SPDX-License-Identifier: Apache-2.0 */
/* Elements into fields, by the table of elements: the language of profiles in one
 * place. V3M's elements and ours are rows of the same kind. */
#include "profile/xml.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

static const struct xml_attr image_attrs[] = {{"size", "image_size_bytes", true}, {0}};
static const struct xml_attr cpu_attrs[] = {{"count", "vcpus"},
                                            {"pin", "cpu_pin"},
                                            {"share", "cpu_share"},
                                            {"features", "cpu_features"},
                                            {0}};
static const struct xml_attr memory_attrs[] = {{"page", "page_bytes"},
                                               {"prealloc", "prealloc"},
                                               {"numa", "numa_policy"},
                                               {"nodes", "numa_nodes"},
                                               {0}};
static const struct xml_attr virtual_disk_attrs[] = {{"id", "id"}, {0}};
static const struct xml_attr disk_attrs[] = {{"id", "id"},
                                             {"path", "path"},
                                             {"size", "size_bytes"},
                                             {"format", "format"},
                                             {"readonly", "readonly"},
                                             {"shared", "shared"},
                                             {0}};
static const struct xml_attr nic_attrs[] = {
    {"type", "type"}, {"option", "option"}, {"network", "network"},
    {"mac", "mac"},   {"queues", "queues"}, {0}};
static const struct xml_attr share_attrs[] = {{"source", "source"},
                                              {"target", "target"},
                                              {"tag", "tag"},
                                              {"readonly", "readonly"},
                                              {0}};
static const struct xml_attr device_attrs[] = {
    {"address", "address"}, {"class", "class"}, {0}};
static const struct xml_attr checkpoint_attrs[] = {
    {"policy", "checkpoint"},     {"every", "checkpoint_ms"},
    {"keep", "checkpoint_keep"},  {"shares", "checkpoint_shares"},
    {"on-failure", "on_failure"}, {0}};
static const struct xml_attr limits_attrs[] = {
    {"time", "time_ms"}, {"scratch", "scratch_bytes"}, {"ready", "ready_ms"}, {0}};

static const struct xml_element virtual_disk_item = {
    .name = "virtual_disk", .field = "path", .attrs = virtual_disk_attrs};
static const struct xml_element disk_item = {.name = "disk", .attrs = disk_attrs};
static const struct xml_element nic_item = {.name = "nic", .attrs = nic_attrs};
static const struct xml_element share_item = {.name = "share", .attrs = share_attrs};
static const struct xml_element device_item = {.name = "device", .attrs = device_attrs};

const struct xml_element xml_profile_elements[] = {
    {.name = "name", .field = "name"},
    {.name = "description", .field = "description"},
    {.name = "type", .field = "type"},
    {.name = "memory", .field = "memory_bytes", .mib = true, .attrs = memory_attrs},
    {.name = "cpu", .attrs = cpu_attrs},
    {.name = "image", .field = "image", .attrs = image_attrs},
    {.name = "kernel", .field = "kernel"},
    {.name = "initrd", .field = "initrd"},
    {.name = "append", .field = "append"},
    {.name = "init", .field = "init"},
    {.name = "cdrom", .field = "cdrom"},
    {.name = "virtual_disks", .list = "disks", .item = &virtual_disk_item},
    {.name = "disks", .list = "disks", .item = &disk_item},
    {.name = "nics", .list = "nics", .item = &nic_item},
    {.name = "shares", .list = "shares", .item = &share_item},
    {.name = "devices", .list = "devices", .item = &device_item},
    {.name = "console", .field = "console"},
    {.name = "checkpoint", .attrs = checkpoint_attrs},
    {.name = "limits", .attrs = limits_attrs},
    {0},
};

/* V3M's words for what we call otherwise; NULL: the same as nothing. */
static const struct {
    const char *field, *v3m, *ours;
} words[] = {
    {"type", "TUN/TAP", "tap"},
    {"type", "TUN/TAP+NAT", "tap-nat"},
    {"type", "BRIDGED_TAP", "bridged-tap"},
    {"type", "N/A", NULL},
    {"mac", "N/A", NULL},
    {"cdrom", "N/A", NULL},
};

void xml_places_done(struct xml_places *places)
{
    free(places->at);
    *places = (struct xml_places){0};
}

static void out_of_memory(struct xml_walk *w)
{
    profile_problem(w->problems, 0, NULL, "out of memory");
}

void xml_place_add(struct xml_walk *w, const char *key, const char *where,
                   unsigned line)
{
    struct xml_places *p = &w->places;
    struct xml_place *at = realloc(p->at, (p->count + 1) * sizeof *at);
    if (!at) { /* not only a line is lost: some ask whether a field was given */
        out_of_memory(w);
        return;
    }
    p->at = at;
    struct xml_place *x = &at[p->count++];
    snprintf(x->key, sizeof x->key, "%s", key);
    snprintf(x->where, sizeof x->where, "%s", where);
    x->line = line;
}

const struct xml_place *xml_place_find(const struct xml_places *places, const char *key)
{
    char shorter[40];
    snprintf(shorter, sizeof shorter, "%s", key);
    for (; places;) {
        for (size_t i = 0; i < places->count; i++)
            if (!strcmp(places->at[i].key, shorter))
                return &places->at[i];
        char *cut = strrchr(shorter, '.');
        if (!cut)
            cut = strrchr(shorter, '[');
        if (!cut)
            return NULL;
        *cut = '\0';
    }
    return NULL;
}

static const struct profile_field *find_field(const struct profile_field *fields,
                                              const char *name)
{
    while (strcmp(fields->name, name))
        fields++;
    return fields;
}

/* Of a whole document, not of an item in a list: only these have places of their own.
 */
static bool is_top(const struct profile_field *fields)
{
    return fields[1].name && !strcmp(fields[1].name, "description");
}

static char *trimmed(const char *s)
{
    static const char blanks[] = " \t\r\n";
    s += strspn(s, blanks);
    size_t n = strlen(s);
    while (n && strchr(blanks, s[n - 1]))
        n--;
    return strndup(s, n);
}

char *xml_text(struct xml_walk *w, xmlNodePtr node)
{
    AUTO_BUF b = {0};
    for (xmlNodePtr c = node->children; c; c = c->next) {
        if (c->type == XML_TEXT_NODE || c->type == XML_CDATA_SECTION_NODE)
            str_buf_puts(&b, (const char *)c->content);
        else if (c->type == XML_ELEMENT_NODE)
            profile_problem(w->problems, xml_line(c), (const char *)node->name,
                            "holds text only; '%.60s' does not belong inside", c->name);
    }
    AUTO_STR all = str_buf_take(&b);
    char *text = all ? trimmed(all) : NULL;
    if (!text)
        out_of_memory(w);
    return text;
}

/* Text of a document into a field, through V3M's words and units. */
static void set_field(struct xml_walk *w, unsigned line, const char *where,
                      const struct profile_field *f, void *base, const char *text,
                      bool mib)
{
    char with_unit[40];
    struct err err = {0};
    bool nic_type = f->kind == FIELD_ENUM && f->words == profile_nic_type_names;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (strcmp(words[i].field, f->name) || strcasecmp(words[i].v3m, text) ||
            (!strcmp(f->name, "type") && !nic_type))
            continue;
        if (!words[i].ours)
            text = nic_type ? "none" : "";
        else
            text = words[i].ours;
    }
    if (!*text && f->kind == FIELD_MAC)
        return; /* V3M wrote empty ones */
    if (!*text && !strcmp(f->name, "cdrom"))
        return;
    if (!*text) {
        profile_problem(w->problems, line, where,
                        "is empty; give a value or remove it");
        return;
    }
    if (mib && f->kind == FIELD_BYTES && strlen(text) < 20 &&
        strspn(text, "0123456789") == strlen(text)) {
        snprintf(with_unit, sizeof with_unit, "%sM", text);
        text = with_unit;
    }
    if (profile_field_set(f, base, text, "", &err) < 0)
        profile_problem(w->problems, line, where, "%s",
                        str_starts(err.text, ": ") ? err.text + 2 : err.text);
}

static void unknown_attribute(struct xml_walk *w, xmlNodePtr node, const char *name,
                              const struct xml_attr *attrs)
{
    const char *names[16] = {NULL};
    for (size_t i = 0; attrs && attrs[i].name && i < ARRAY_SIZE(names) - 1; i++)
        names[i] = attrs[i].name;
    const char *near = str_nearest(name, names), *element = (const char *)node->name;
    AUTO_BUF all = {0};
    for (size_t i = 0; names[i]; i++)
        str_buf_printf(&all, "%s%s", i ? ", " : "", names[i]);
    if (near)
        profile_problem(w->problems, xml_line(node), element,
                        "unknown attribute '%.60s'; did you mean '%s'?", name, near);
    else if (names[0])
        profile_problem(w->problems, xml_line(node), element,
                        "unknown attribute '%.60s'; it has %s", name,
                        all.data ? all.data : "none");
    else
        profile_problem(w->problems, xml_line(node), element,
                        "unknown attribute '%.60s'; it has none", name);
}

static void walk_attributes(struct xml_walk *w, xmlNodePtr node,
                            const struct xml_element *row,
                            const struct profile_field *fields, void *base)
{
    for (xmlAttrPtr a = node->properties; a; a = a->next) {
        const char *name = (const char *)a->name;
        const struct xml_attr *x = row->attrs;
        while (x && x->name && strcmp(x->name, name))
            x++;
        if (!x || !x->name) {
            unknown_attribute(w, node, name, row->attrs);
            continue;
        }
        char where[80];
        snprintf(where, sizeof where, "%s@%s", node->name, name);
        xmlChar *value = xmlNodeListGetString(node->doc, a->children, 1);
        AUTO_STR text = trimmed(value ? (const char *)value : "");
        if (!text || (a->children && !value))
            out_of_memory(w);
        xmlFree(value);
        const struct profile_field *f = find_field(fields, x->field);
        if (text)
            set_field(w, xml_line(node), where, f, base, text, x->mib);
        if (is_top(fields))
            xml_place_add(w, x->field, where, xml_line(node));
    }
}

/* An element without text: only blanks and comments may stand between its children. */
static void refuse_text(struct xml_walk *w, xmlNodePtr node)
{
    for (xmlNodePtr c = node->children; c; c = c->next)
        if (c->type == XML_TEXT_NODE && !xmlIsBlankNode(c)) {
            AUTO_STR text = trimmed((const char *)c->content);
            profile_problem(w->problems, xml_line(c), (const char *)node->name,
                            "text '%.40s' does not belong here", text ? text : "");
        }
}

void xml_unknown(struct xml_walk *w, xmlNodePtr node, const char *const *names)
{
    const char *near = str_nearest((const char *)node->name, names);
    AUTO_BUF all = {0};
    for (size_t i = 0; names[i]; i++)
        str_buf_printf(&all, "%s%s", i ? ", " : "", names[i]);
    if (!names[0])
        profile_problem(w->problems, xml_line(node), (const char *)node->name,
                        "does not belong in '%.60s', which has attributes only",
                        node->parent->name);
    else if (near)
        profile_problem(w->problems, xml_line(node), (const char *)node->name,
                        "unknown element in '%.60s'; did you mean '%s'?",
                        node->parent->name, near);
    else
        profile_problem(w->problems, xml_line(node), (const char *)node->name,
                        "unknown element in '%.60s'; it may have %s",
                        node->parent->name, all.data ? all.data : "none");
}

static void new_place(struct xml_walk *w, xmlNodePtr node,
                      const struct profile_field *list, const void *base)
{
    char key[40];
    size_t count = *(const size_t *)((const char *)base + list->count_offset);
    snprintf(key, sizeof key, "%s[%zu]", list->name, count - 1);
    xml_place_add(w, key, (const char *)node->name, xml_line(node));
}

void xml_walk_items(struct xml_walk *w, xmlNodePtr node, const struct xml_element *item,
                    const struct profile_field *list, void *base)
{
    const char *const names[] = {item->name, NULL};
    refuse_text(w, node);
    for (xmlNodePtr c = node->children; c; c = c->next) {
        if (c->type != XML_ELEMENT_NODE)
            continue;
        if (strcmp((const char *)c->name, item->name)) {
            xml_unknown(w, c, names);
            continue;
        }
        void *at = profile_list_grow(list, base);
        if (!at) {
            profile_problem(w->problems, xml_line(c), item->name,
                            "more than %u of them", (unsigned)list->max);
            return;
        }
        new_place(w, c, list, base);
        xml_walk_element(w, c, item, list->fields, at);
    }
}

void xml_walk_element(struct xml_walk *w, xmlNodePtr node,
                      const struct xml_element *row, const struct profile_field *fields,
                      void *base)
{
    walk_attributes(w, node, row, fields, base);
    if (row->field) {
        size_t errors = w->problems->errors;
        AUTO_STR text = xml_text(w, node);
        if (text && w->problems->errors == errors)
            set_field(w, xml_line(node), row->name, find_field(fields, row->field),
                      base, text, row->mib);
        if (is_top(fields))
            xml_place_add(w, row->field, row->name, xml_line(node));
        return;
    }
    if (row->list) {
        const struct profile_field *list = find_field(fields, row->list);
        xml_place_add(w, row->list, row->name, xml_line(node));
        xml_walk_items(w, node, row->item, list, base);
        return;
    }
    static const char *const none[] = {NULL};
    refuse_text(w, node);
    for (xmlNodePtr c = node->children; c; c = c->next)
        if (c->type == XML_ELEMENT_NODE)
            xml_unknown(w, c, none);
}

/* The number of nic1, nic2 ...; 0 for other names. */
static uint64_t nic_number(const char *name)
{
    uint64_t n;
    if (!str_starts(name, "nic") || name[3] == '0' || !str_to_u64(name + 3, &n))
        return 0;
    return n;
}

/* V3M's <nicN><type option="">TUN/TAP</type><mac>...</mac></nicN>. */
static void walk_nic(struct xml_walk *w, xmlNodePtr node, struct profile *p)
{
    static const struct xml_attr type_attrs[] = {{"option", "option"}, {0}};
    static const struct xml_element rows[] = {
        {.name = "type", .field = "type", .attrs = type_attrs},
        {.name = "mac", .field = "mac"},
    };
    static const char *const names[] = {"type", "mac", NULL};
    static const struct xml_element bare = {.name = "nic"};
    const struct profile_field *list = find_field(profile_fields, "nics");
    struct profile_nic *nic = profile_list_grow(list, p);
    unsigned seen = 0;
    if (!nic) {
        profile_problem(w->problems, xml_line(node), (const char *)node->name,
                        "too many network cards");
        return;
    }
    nic->type = PROFILE_NIC_NONE;
    new_place(w, node, list, p);
    walk_attributes(w, node, &bare, list->fields, nic);
    refuse_text(w, node);
    for (xmlNodePtr c = node->children; c; c = c->next) {
        if (c->type != XML_ELEMENT_NODE)
            continue;
        int i = profile_word(names, (const char *)c->name);
        if (i < 0 || strcmp(names[i], (const char *)c->name)) {
            xml_unknown(w, c, names);
        } else if (seen & 1u << i) {
            profile_problem(w->problems, xml_line(c), names[i],
                            "is given twice in '%s'", node->name);
        } else {
            seen |= 1u << i;
            xml_walk_element(w, c, &rows[i], list->fields, nic);
        }
    }
    if (!(seen & 1))
        profile_problem(
            w->problems, xml_line(node), (const char *)node->name,
            "has no <type>; use one of TUN/TAP, TUN/TAP+NAT, VLAN, BRIDGED_TAP");
}

static bool is_in(const char *const *names, const char *name)
{
    for (; names && *names; names++)
        if (!strcmp(*names, name))
            return true;
    return false;
}

static void walk_child(struct xml_walk *w, xmlNodePtr c, struct profile *p,
                       unsigned *first_lines)
{
    const char *names[ARRAY_SIZE(xml_profile_elements) + 1] = {NULL};
    size_t i = 0, count = ARRAY_SIZE(xml_profile_elements) - 1;
    for (; i < count; i++)
        names[i] = xml_profile_elements[i].name;
    for (i = 0; i < count; i++)
        if (!strcmp(names[i], (const char *)c->name))
            break;
    uint64_t number = nic_number((const char *)c->name);
    if (number > XML_NICS_MAX) {
        profile_problem(w->problems, xml_line(c), (const char *)c->name,
                        "there are nic1 to nic%d", XML_NICS_MAX);
        return;
    }
    if (i == count && !number) {
        names[count] = "nic1"; /* one may have meant it; a NULL follows */
        xml_unknown(w, c, names);
        return;
    }
    unsigned *first = &first_lines[number ? count + number : i];
    if (*first) {
        profile_problem(w->problems, xml_line(c), (const char *)c->name,
                        "is given twice; the first is on line %u", *first);
        return;
    }
    *first = xml_line(c);
    if (!number)
        xml_walk_element(w, c, &xml_profile_elements[i], profile_fields, p);
}

void xml_walk_profile(struct xml_walk *w, xmlNodePtr node, struct profile *p,
                      const char *const *skip)
{
    unsigned first_lines[ARRAY_SIZE(xml_profile_elements) + XML_NICS_MAX + 1] = {0};
    refuse_text(w, node);
    for (xmlNodePtr c = node->children; c; c = c->next)
        if (c->type == XML_ELEMENT_NODE && !is_in(skip, (const char *)c->name))
            walk_child(w, c, p, first_lines);
    /* In the order of their numbers, whatever the document's. */
    for (uint64_t n = 1; n <= XML_NICS_MAX; n++)
        for (xmlNodePtr c = node->children; c; c = c->next)
            if (c->type == XML_ELEMENT_NODE && nic_number((const char *)c->name) == n) {
                walk_nic(w, c, p);
                break;
            }
}
