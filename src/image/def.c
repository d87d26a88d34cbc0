/* SPDX-License-Identifier: Apache-2.0 */
/* Definitions: XML to struct image_def. The document is taken in as profiles are
 * (profile/xml.h: no DTD, no entities, nothing fetched), its elements are read by their
 * table, then it is held against the schema. */
#include "image/def.h"

#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/str.h"
#include "image/def_read.h"
#include "image/schema.h"
#include "profile/xml.h"

enum { DEF_MAX = 1 << 20, ELEMENTS_MAX = 31 };

static void words_free(struct words *w)
{
    for (size_t i = 0; i < w->count; i++)
        free(w->item[i]);
    free(w->item);
}

void image_def_free(struct image_def *d)
{
    if (!d)
        return;
    char *owned[] = {d->path,   d->name,   d->version,     d->description,
                     d->suite,  d->mirror, d->components,  d->source,
                     d->kernel, d->append, d->root_format, d->root_mode,
                     d->verity, d->init,   d->marker};
    for (size_t i = 0; i < ARRAY_SIZE(owned); i++)
        free(owned[i]);
    struct words *lists[] = {&d->packages, &d->prune,     &d->enable, &d->disable,
                             &d->mask,     &d->initramfs, &d->load,   &d->modules,
                             &d->outputs,  &d->secrets};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        words_free(lists[i]);
    for (size_t i = 0; i < d->nfiles; i++) {
        free(d->files[i].path);
        free(d->files[i].content);
        free(d->files[i].source);
        free(d->files[i].target);
    }
    free(d->files);
    for (size_t i = 0; i < d->nrun; i++)
        words_free(&d->run[i]);
    free(d->run);
    free(d);
}

bool words_has(const struct words *w, const char *word)
{
    for (size_t i = 0; i < w->count; i++)
        if (!strcmp(w->item[i], word))
            return true;
    return false;
}

static int check_attrs(struct reader *r, xmlNode *node, const char *allowed)
{
    for (xmlAttr *a = node->properties; a; a = a->next) {
        AUTO_STR word = str_printf(" %s ", a->name);
        if (!word)
            return err_oom(r->err);
        if (!strstr(allowed, word))
            return read_bad(r, node, "<%s> has no attribute '%s'%s%s", node->name,
                            a->name, *allowed ? "; known:" : "", allowed);
    }
    return 0;
}

static int read_element(struct reader *r, xmlNode *node, unsigned *seen)
{
    const char *names[ELEMENTS_MAX + 1] = {NULL};
    for (size_t i = 0; image_def_elements[i].name; i++) {
        const struct element *e = &image_def_elements[i];
        names[i] = e->name;
        if (strcmp((const char *)node->name, e->name))
            continue;
        if ((*seen & 1u << i) && !e->many)
            return read_bad(r, node, "<%s> comes twice", node->name);
        *seen |= 1u << i;
        return check_attrs(r, node, e->attrs) < 0 ? -1 : e->read(r, node);
    }
    const char *near = str_nearest((const char *)node->name, names);
    return read_bad(r, node,
                    near ? "unknown element <%s>; did you mean <%s>?"
                         : "unknown element <%s>; lodge-image(5) lists them",
                    node->name, near);
}

static int set_default(char **to, const char *value, struct err *err)
{
    if (!*to && !(*to = strdup(value)))
        return err_oom(err);
    return 0;
}

static int finish(struct reader *r, xmlNode *root)
{
    struct image_def *d = r->def;
    if (!d->name)
        return read_bad(r, root, "<name> is missing");
    if (!d->suite && !d->source)
        return read_bad(r, root,
                        "<from> is missing: a suite, an OCI layout, a tar or a "
                        "directory");
    if (d->packages.count && d->from != FROM_DEBIAN)
        return read_bad(r, root,
                        "<packages> needs <from suite=...>: packages are not added "
                        "to somebody else's root");
    bool host = d->kind == IMAGE_HOST;
    if (set_default(&d->suite, "bookworm", r->err) < 0 ||
        set_default(&d->version, "1", r->err) < 0 ||
        set_default(&d->components, "main", r->err) < 0 ||
        set_default(&d->append, "", r->err) < 0 ||
        set_default(&d->root_format, host ? "squashfs" : "erofs", r->err) < 0 ||
        set_default(&d->root_mode, "tmpfs", r->err) < 0 ||
        set_default(&d->init, host ? "/sbin/init" : "/usr/lib/lodge/lodge-guest",
                    r->err) < 0 ||
        set_default(&d->marker, host ? "lodge-node: ready" : "lodge-guest: ready",
                    r->err) < 0)
        return -1;
    bool ext4 = !strcmp(d->root_format, "ext4");
    if (!strcmp(d->root_mode, "plain") && !ext4)
        return read_bad(r, root,
                        "<root mode=\"plain\"> needs format=\"ext4\": %s cannot be "
                        "written",
                        d->root_format);
    if (d->verity &&
        (!strcmp(d->root_mode, "plain") || !strcmp(d->root_format, "none")))
        return read_bad(r, root,
                        "<root verity=...> needs a root that is only read: mode "
                        "tmpfs or scratch");
    return 0;
}

static int read_document(struct reader *r, xmlDoc *doc)
{
    xmlNode *root = xmlDocGetRootElement(doc);
    if (doc->intSubset)
        return read_bad(r, root,
                        "a DOCTYPE has no place here: definitions use no entities");
    if (strcmp((const char *)root->name, "image"))
        return read_bad(r, root, "the document is <%s>, not <image>", root->name);
    if (check_attrs(r, root, "") < 0)
        return -1;
    unsigned seen = 0;
    for (xmlNode *n = root->children; n; n = n->next) {
        if (n->type == XML_ELEMENT_NODE) {
            if (read_element(r, n, &seen) < 0)
                return -1;
        } else if (n->type == XML_TEXT_NODE && !xmlIsBlankNode(n)) {
            return read_bad(r, n, "text between the elements");
        }
    }
    return finish(r, root);
}

int image_def_parse(const char *text, size_t len, const char *path,
                    struct image_def **out, struct err *err)
{
    AUTO(image_def) d = calloc(1, sizeof *d);
    if (!d || !(d->path = strdup(path)))
        return err_oom(err);
    if (len > DEF_MAX)
        return err_set(err, E_INPUT, "%s is larger than %d bytes", path, DEF_MAX);
    struct profile_problems problems = {0};
    xmlDoc *doc = xml_load(text, len, &problems);
    struct reader r = {.def = d, .err = err};
    int result = doc ? read_document(&r, doc) : -1;
    /* Only a definition that is right so far: the schema's messages are poorer. */
    if (doc && result == 0)
        xml_validate(doc, schema_image_xsd, &problems);
    if (problems.errors)
        result = profile_problems_err(&problems, path, err);
    profile_problems_done(&problems);
    xmlFreeDoc(doc);
    if (result == 0)
        *out = move(d);
    return result;
}

int image_def_load(const char *path, struct image_def **out, struct err *err)
{
    AUTO_STR text = NULL;
    size_t len;
    if (fd_read_file(path, DEF_MAX, &text, &len, err) < 0)
        return err_at(err, "definition");
    return image_def_parse(text, len, path, out, err);
}
