/* SPDX-License-Identifier: Apache-2.0 */
/* The elements of a definition: one function each, and the table of them. */
#include "image/def_read.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

static int read_name(struct reader *r, xmlNode *node)
{
    if (read_text(r, node, &r->def->name) < 0)
        return -1;
    return str_is_name(r->def->name)
               ? 0
               : read_bad(r, node,
                          "<name>: '%s' is not a name: letters, digits, ._-, at "
                          "most 63",
                          r->def->name);
}

static int read_version(struct reader *r, xmlNode *node)
{
    if (read_text(r, node, &r->def->version) < 0)
        return -1;
    return str_is_name(r->def->version) && strlen(r->def->version) < 48
               ? 0
               : read_bad(r, node,
                          "<version>: '%s' is not a version: letters, digits, ._-",
                          r->def->version);
}

static int read_description(struct reader *r, xmlNode *node)
{
    return read_text(r, node, &r->def->description);
}

static int read_kind(struct reader *r, xmlNode *node)
{
    static const char *const kinds[] = {"guest", "host", NULL};
    AUTO_STR text = read_text_of(node);
    if (!text)
        return err_oom(r->err);
    r->def->kind = !strcmp(text, "host") ? IMAGE_HOST : IMAGE_GUEST;
    return read_one_of(r, node, text, kinds);
}

static int read_from(struct reader *r, xmlNode *node)
{
    static const struct {
        const char *attr;
        enum image_from from;
    } others[] = {{"oci", FROM_OCI},  {"docker-archive", FROM_DOCKER},
                  {"tar", FROM_TAR},  {"directory", FROM_DIR},
                  {"raw", FROM_DISK}, {"qcow2", FROM_QCOW2}};
    struct image_def *d = r->def;
    if (read_attr(r, node, "suite", &d->suite) < 0 ||
        read_attr(r, node, "mirror", &d->mirror) < 0 ||
        read_attr(r, node, "components", &d->components) < 0)
        return -1;
    AUTO_STR rpm = NULL;
    if (read_attr(r, node, "rpm", &rpm) < 0)
        return -1;
    if (rpm)
        return read_bad(
            r, node,
            "<from rpm=\"%s\">: roots of rpm packages are not made yet; make "
            "one with dnf --installroot and say directory=",
            rpm);
    int kinds = d->suite != NULL;
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        AUTO_STR before = d->source;
        d->source = NULL;
        if (read_attr(r, node, others[i].attr, &d->source) < 0)
            return -1;
        if (d->source) {
            d->from = others[i].from;
            kinds++;
        } else {
            d->source = move(before);
        }
    }
    if (kinds != 1)
        return read_bad(r, node,
                        "<from> needs exactly one of suite, oci, docker-archive, "
                        "tar, directory, raw, qcow2");
    if (d->suite && !read_is_word(d->suite))
        return read_bad(r, node, "<from>: '%s' is not a suite", d->suite);
    if (d->mirror && !str_starts(d->mirror, "http://") &&
        !str_starts(d->mirror, "https://") && !str_starts(d->mirror, "file:///"))
        return read_bad(r, node, "<from>: mirror '%s' is not http, https or file",
                        d->mirror);
    if (d->mirror && strpbrk(d->mirror, " \t\r\n[]"))
        return read_bad(r, node, "<from>: blank or bracket in mirror");
    if (d->components &&
        strspn(d->components, "abcdefghijklmnopqrstuvwxyz- ") != strlen(d->components))
        return read_bad(r, node, "<from>: components '%s'", d->components);
    return 0;
}

static int read_packages(struct reader *r, xmlNode *node)
{
    return read_names(r, node, &r->def->packages);
}

static int read_prune(struct reader *r, xmlNode *node)
{
    static const char *const classes[] = {"docs",   "locales", "apt", "hwdb",
                                          "caches", "perl",    NULL};
    if (read_names(r, node, &r->def->prune) < 0)
        return -1;
    for (size_t i = 0; i < r->def->prune.count; i++)
        if (read_one_of(r, node, r->def->prune.item[i], classes) < 0)
            return -1;
    return 0;
}

static int read_owner(struct reader *r, xmlNode *node, struct image_file *f)
{
    AUTO_STR owner = NULL;
    AUTO_STR mode = NULL;
    if (read_attr(r, node, "owner", &owner) < 0 ||
        read_attr(r, node, "mode", &mode) < 0)
        return -1;
    unsigned uid, gid, m;
    int used = 0;
    if (owner) {
        if (sscanf(owner, "%5u:%5u%n", &uid, &gid, &used) != 2 || owner[used] ||
            uid > 65534 || gid > 65534)
            return read_bad(r, node, "<file>: owner '%s' is not UID:GID in digits",
                            owner);
        f->uid = uid;
        f->gid = gid;
    }
    f->mode = 0644;
    if (mode) {
        if (strspn(mode, "01234567") != strlen(mode) || sscanf(mode, "%5o", &m) != 1 ||
            m > 07777)
            return read_bad(r, node, "<file>: mode '%s' is not octal", mode);
        f->mode = m;
    }
    return 0;
}

static int read_file(struct reader *r, xmlNode *node)
{
    struct image_def *d = r->def;
    struct image_file *files = realloc(d->files, (d->nfiles + 1) * sizeof *files);
    if (!files)
        return err_oom(r->err);
    d->files = files;
    struct image_file *f = &files[d->nfiles++];
    *f = (struct image_file){0};
    if (read_attr(r, node, "path", &f->path) < 0 ||
        read_attr(r, node, "source", &f->source) < 0 ||
        read_attr(r, node, "target", &f->target) < 0 || read_owner(r, node, f) < 0)
        return -1;
    if (!f->path || !read_is_inside(f->path))
        return read_bad(r, node, "<file>: path '%s' is not absolute and plain",
                        f->path ? f->path : "");
    char *text = (char *)xmlNodeGetContent(node);
    bool has_text = text && *text;
    if (!f->source && !f->target) {
        /* A line break right after the tag is layout, not content. */
        f->content = strdup(text ? text + (text[0] == '\n') : "");
    }
    xmlFree(text);
    if (has_text + (f->source != NULL) + (f->target != NULL) > 1)
        return read_bad(r, node,
                        "<file path=\"%s\">: text, source or target, not several",
                        f->path);
    return f->source || f->target || f->content ? 0 : err_oom(r->err);
}

static int read_units(struct reader *r, xmlNode *node)
{
    struct {
        const char *attr;
        struct words *to;
    } lists[] = {{"enable", &r->def->enable},
                 {"disable", &r->def->disable},
                 {"mask", &r->def->mask}};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        AUTO_STR text = NULL;
        if (read_attr(r, node, lists[i].attr, &text) < 0 ||
            (text && read_split(r, text, lists[i].to) < 0))
            return -1;
        for (size_t n = 0; n < lists[i].to->count; n++)
            if (!read_is_word(lists[i].to->item[n]))
                return read_bad(r, node, "<units>: '%s' is not a unit",
                                lists[i].to->item[n]);
    }
    return 0;
}

static int read_run(struct reader *r, xmlNode *node)
{
    struct image_def *d = r->def;
    struct words *run = realloc(d->run, (d->nrun + 1) * sizeof *run);
    if (!run)
        return err_oom(r->err);
    d->run = run;
    d->run[d->nrun] = (struct words){0};
    if (read_words(r, node, &d->run[d->nrun++]) < 0)
        return -1;
    return d->run[d->nrun - 1].count ? 0 : read_bad(r, node, "<run> is empty");
}

static int read_kernel_part(struct reader *r, xmlNode *node)
{
    struct {
        const char *name;
        struct words *to;
    } parts[] = {{"initramfs", &r->def->initramfs},
                 {"load", &r->def->load},
                 {"modules", &r->def->modules}};
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (!strcmp((const char *)node->name, parts[i].name))
            return read_names(r, node, parts[i].to);
    return read_bad(r, node,
                    "unknown element <%s> in <kernel>; known: initramfs, load, "
                    "modules",
                    node->name);
}

static int read_kernel(struct reader *r, xmlNode *node)
{
    if (read_attr(r, node, "package", &r->def->kernel) < 0 ||
        read_attr(r, node, "append", &r->def->append) < 0)
        return -1;
    if (!r->def->kernel || !read_is_word(r->def->kernel))
        return read_bad(r, node, "<kernel> needs the attribute package");
    for (xmlNode *c = node->children; c; c = c->next)
        if (c->type == XML_ELEMENT_NODE && read_kernel_part(r, c) < 0)
            return -1;
    return 0;
}

static int read_root(struct reader *r, xmlNode *node)
{
    static const char *const formats[] = {"erofs", "squashfs", "ext4", "none", NULL};
    static const char *const modes[] = {"tmpfs", "scratch", "plain", NULL};
    static const char *const verity[] = {"no", "lazy", "full", NULL};
    struct image_def *d = r->def;
    if (read_attr(r, node, "format", &d->root_format) < 0 ||
        read_attr(r, node, "mode", &d->root_mode) < 0 ||
        read_attr(r, node, "verity", &d->verity) < 0)
        return -1;
    if ((d->root_format && read_one_of(r, node, d->root_format, formats) < 0) ||
        (d->root_mode && read_one_of(r, node, d->root_mode, modes) < 0) ||
        (d->verity && read_one_of(r, node, d->verity, verity) < 0))
        return -1;
    if (d->verity && !strcmp(d->verity, "no")) {
        free(d->verity);
        d->verity = NULL;
    }
    return 0;
}

static int read_init(struct reader *r, xmlNode *node)
{
    if (read_text(r, node, &r->def->init) < 0)
        return -1;
    return read_is_inside(r->def->init)
               ? 0
               : read_bad(r, node, "<init>: '%s' is not a path", r->def->init);
}

static int read_marker(struct reader *r, xmlNode *node)
{
    return read_text(r, node, &r->def->marker);
}

static int read_outputs(struct reader *r, xmlNode *node)
{
    static const char *const known[] = {"erofs", "squashfs",  "ext4",    "qcow2", "tar",
                                        "oci",   "initramfs", "vmlinux", NULL};
    if (read_names(r, node, &r->def->outputs) < 0)
        return -1;
    for (size_t i = 0; i < r->def->outputs.count; i++)
        if (read_one_of(r, node, r->def->outputs.item[i], known) < 0)
            return -1;
    return 0;
}

static int read_yes(struct reader *r, xmlNode *node, const char *name, bool *to)
{
    static const char *const answers[] = {"yes", "no", NULL};
    AUTO_STR text = NULL;
    if (read_attr(r, node, name, &text) < 0)
        return -1;
    *to = text && !strcmp(text, "yes");
    return text ? read_one_of(r, node, text, answers) : 0;
}

static int read_check(struct reader *r, xmlNode *node)
{
    AUTO_STR max = NULL;
    AUTO_STR secrets = NULL;
    if (read_attr(r, node, "max-size", &max) < 0 ||
        read_attr(r, node, "secrets", &secrets) < 0 ||
        read_yes(r, node, "reproducible", &r->def->reproducible) < 0 ||
        read_yes(r, node, "boot", &r->def->boot) < 0)
        return -1;
    if (max && !str_to_bytes(max, 1 << 20, &r->def->max_bytes))
        return read_bad(r, node, "<check>: max-size '%s' is not a size", max);
    if (secrets && read_split(r, secrets, &r->def->secrets) < 0)
        return -1;
    for (size_t i = 0; i < r->def->secrets.count; i++)
        if (!read_is_inside(r->def->secrets.item[i]))
            return read_bad(r, node, "<check>: '%s' is not a path",
                            r->def->secrets.item[i]);
    return 0;
}

const struct element image_def_elements[] = {
    {"name", read_name, "", false},
    {"version", read_version, "", false},
    {"description", read_description, "", false},
    {"kind", read_kind, "", false},
    {"from", read_from,
     " suite mirror components oci docker-archive tar directory raw qcow2 rpm ", false},
    {"packages", read_packages, "", true},
    {"prune", read_prune, "", false},
    {"file", read_file, " path mode owner source target ", true},
    {"units", read_units, " enable disable mask ", true},
    {"run", read_run, "", true},
    {"kernel", read_kernel, " package append ", false},
    {"root", read_root, " format mode verity ", false},
    {"init", read_init, "", false},
    {"marker", read_marker, "", false},
    {"outputs", read_outputs, "", false},
    {"check", read_check, " max-size secrets reproducible boot ", false},
    {0}};
