/* SPDX-License-Identifier: Apache-2.0 */
/* struct profile to XML, by the same table that reads it: only what is not the default
 * is written. And to V3M's own language, which knew less. */
#include "profile/document.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "profile/xml.h"

static void put_escaped(struct str_buf *b, const char *s)
{
    for (; *s; s++) {
        switch (*s) {
        case '&':
            str_buf_puts(b, "&amp;");
            break;
        case '<':
            str_buf_puts(b, "&lt;");
            break;
        case '>':
            str_buf_puts(b, "&gt;");
            break;
        case '"':
            str_buf_puts(b, "&quot;");
            break;
        default:
            str_buf_add(b, s, 1);
        }
    }
}

static const struct profile_field *find_field(const struct profile_field *fields,
                                              const char *name)
{
    while (strcmp(fields->name, name))
        fields++;
    return fields;
}

/* The value as text if it is not the default; the caller's, NULL if it is. Without
 * memory b is marked. */
static char *given(struct str_buf *b, const struct profile_field *fields,
                   const char *name, const void *base, const void *def)
{
    const struct profile_field *f = find_field(fields, name);
    AUTO_STR text = profile_field_text(f, base);
    AUTO_STR usual = profile_field_text(f, def);
    if (!text || !usual)
        b->failed = true;
    else if (strcmp(text, usual))
        return move(text);
    return NULL;
}

/* Attributes into b; true if there was any. */
static bool put_attrs(struct str_buf *b, const struct xml_element *row,
                      const struct profile_field *fields, const void *base,
                      const void *def)
{
    bool any = false;
    for (const struct xml_attr *a = row->attrs; a && a->name; a++) {
        AUTO_STR text = given(b, fields, a->field, base, def);
        if (!text)
            continue;
        any = true;
        str_buf_printf(b, " %s=\"", a->name);
        put_escaped(b, text);
        str_buf_puts(b, "\"");
    }
    return any;
}

static void put_list(struct str_buf *b, const struct xml_element *row,
                     const struct profile *p)
{
    const struct profile_field *f = find_field(profile_fields, row->list);
    size_t count = *(const size_t *)((const char *)p + f->count_offset);
    const char *items = *(char *const *)((const char *)p + f->offset);
    char def[256] = {0};
    if (!count || row->item->field) /* virtual_disks are written as disks */
        return;
    if (f->item_size > sizeof def || profile_fields_init(f->fields, def) < 0) {
        b->failed = true;
        return;
    }
    str_buf_printf(b, "  <%s>\n", row->name);
    for (size_t i = 0; i < count; i++) {
        AUTO_BUF attrs = {0};
        put_attrs(&attrs, row->item, f->fields, items + i * f->item_size, def);
        b->failed |= attrs.failed;
        str_buf_printf(b, "    <%s%s/>\n", row->item->name,
                       attrs.data ? attrs.data : "");
    }
    str_buf_printf(b, "  </%s>\n", row->name);
    profile_fields_done(f->fields, def);
}

static void put_element(struct str_buf *b, const struct xml_element *row,
                        const struct profile *p, const struct profile *def)
{
    if (row->list) {
        put_list(b, row, p);
        return;
    }
    AUTO_BUF attrs = {0};
    bool any = put_attrs(&attrs, row, profile_fields, p, def);
    b->failed |= attrs.failed;
    AUTO_STR text = row->field ? given(b, profile_fields, row->field, p, def) : NULL;
    if (!text && any && row->field) { /* attributes of a value that is the default */
        text = profile_field_text(find_field(profile_fields, row->field), p);
        b->failed |= !text;
    }
    if (!text && !any)
        return;
    str_buf_printf(b, "  <%s%s", row->name, attrs.data ? attrs.data : "");
    if (!text) {
        str_buf_puts(b, "/>\n");
        return;
    }
    str_buf_puts(b, ">");
    put_escaped(b, text);
    str_buf_printf(b, "</%s>\n", row->name);
}

char *profile_to_xml(const struct profile *p)
{
    AUTO(profile) def = profile_new();
    AUTO_BUF b = {0};
    if (!def)
        return NULL;
    str_buf_puts(&b, "<?xml version=\"1.0\"?>\n<profile>\n");
    for (const struct xml_element *row = xml_profile_elements; row->name; row++)
        put_element(&b, row, p, def);
    str_buf_puts(&b, "</profile>\n");
    return str_buf_take(&b);
}

static const char *v3m_type(enum profile_type type)
{
    switch (type) {
    case PROFILE_XEN:
        return "Xen";
    case PROFILE_XENHVM:
        return "XenHVM";
    case PROFILE_QEMU:
        return "QEMU";
    case PROFILE_KVM:
        return "KVM";
    case PROFILE_VMWARE:
        return "VMWare";
    default:
        return NULL;
    }
}

static const char *v3m_nic(enum profile_nic_type type)
{
    switch (type) {
    case PROFILE_NIC_TAP:
        return "TUN/TAP";
    case PROFILE_NIC_TAP_NAT:
        return "TUN/TAP+NAT";
    case PROFILE_NIC_VLAN:
        return "VLAN";
    case PROFILE_NIC_BRIDGED_TAP:
        return "BRIDGED_TAP";
    case PROFILE_NIC_NONE:
        return "N/A";
    default:
        return NULL;
    }
}

/* The first thing V3M has no word for, or NULL. */
static const char *beyond_v3m(const struct profile *p)
{
    static const char *const said[] = {
        "name",  "type",  "memory_bytes", "image",   "image_size_bytes",
        "cdrom", "disks", "nics",         "version", NULL};
    AUTO(profile) def = profile_new();
    if (!def)
        return "everything: out of memory";
    for (const struct profile_field *f = profile_fields; f->name; f++) {
        if (profile_word(said, f->name) >= 0)
            continue;
        if (f->kind == FIELD_LIST) {
            if (*(const size_t *)((const char *)p + f->count_offset))
                return f->name;
            continue;
        }
        AUTO_BUF mark = {0};
        AUTO_STR text = given(&mark, profile_fields, f->name, p, def);
        if (text || mark.failed)
            return f->name;
    }
    for (size_t i = 0; i < p->disk_count; i++) {
        const struct profile_disk *d = &p->disks[i];
        if (!d->path || d->size_bytes || d->format || d->readonly || d->shared)
            return "disks";
    }
    for (size_t i = 0; i < p->nic_count; i++)
        if (!v3m_nic(p->nics[i].type) || p->nics[i].network || p->nics[i].queues > 1)
            return "nics";
    if (!v3m_type(p->type))
        return "type";
    if (!p->image || *p->image != '/')
        return "image";
    if (p->memory_bytes % (1 << 20))
        return "memory_bytes";
    return NULL;
}

static void put_tag(struct str_buf *b, const char *indent, const char *tag,
                    const char *text)
{
    str_buf_printf(b, "%s<%s>", indent, tag);
    put_escaped(b, text);
    str_buf_printf(b, "</%s>\n", tag);
}

static void put_v3m_nics(struct str_buf *b, const struct profile *p)
{
    for (size_t i = 0; i < p->nic_count; i++) {
        const struct profile_nic *n = &p->nics[i];
        str_buf_printf(b, "  <nic%zu>\n    <type", i + 1);
        if (n->option) {
            str_buf_puts(b, " option=\"");
            put_escaped(b, n->option);
            str_buf_puts(b, "\"");
        }
        str_buf_printf(b, ">%s</type>\n", v3m_nic(n->type));
        if (n->mac)
            put_tag(b, "    ", "mac", n->mac);
        str_buf_printf(b, "  </nic%zu>\n", i + 1);
    }
}

int profile_to_v3m(const struct profile *p, char **out, struct err *err)
{
    const char *beyond = beyond_v3m(p);
    AUTO_BUF b = {0};
    if (beyond)
        return err_set(err, E_INPUT, "profile '%s': V3M has no word for its '%s'",
                       p->name, beyond);
    str_buf_puts(&b, "<?xml version=\"1.0\"?>\n"
                     "<!DOCTYPE profile PUBLIC \"\" \"v3m_profile.dtd\">\n<profile>\n");
    put_tag(&b, "  ", "name", p->name);
    put_tag(&b, "  ", "type", v3m_type(p->type));
    str_buf_printf(&b, "  <memory>%llu</memory>\n",
                   (unsigned long long)(p->memory_bytes >> 20));
    if (p->image_size_bytes)
        str_buf_printf(&b, "  <image size=\"%llu\">",
                       (unsigned long long)(p->image_size_bytes >> 20));
    else
        str_buf_puts(&b, "  <image>");
    put_escaped(&b, p->image);
    str_buf_puts(&b, "</image>\n");
    if (p->cdrom)
        put_tag(&b, "  ", "cdrom", p->cdrom);
    if (p->disk_count)
        str_buf_puts(&b, "  <virtual_disks>\n");
    for (size_t i = 0; i < p->disk_count; i++) {
        str_buf_printf(&b, "    <virtual_disk id=\"%s\">", p->disks[i].id);
        put_escaped(&b, p->disks[i].path);
        str_buf_puts(&b, "</virtual_disk>\n");
    }
    if (p->disk_count)
        str_buf_puts(&b, "  </virtual_disks>\n");
    put_v3m_nics(&b, p);
    str_buf_puts(&b, "</profile>\n");
    char *text = str_buf_take(&b);
    if (!text)
        return err_oom(err);
    *out = text;
    return 0;
}
