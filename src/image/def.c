/* SPDX-License-Identifier: Apache-2.0 */
/* Definitions: XML to struct image_def by one table of elements. Nothing outside the
 * document is read: no DTD, no entities, no network. */
#include "image/def.h"

#include <ctype.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/str.h"

enum { DEF_MAX = 1 << 20, LIST_MAX = 4096 };

OWN_CLEANUP(xmlDoc, xmlFreeDoc)

struct reader {
    struct image_def *def;
    struct err *err;
};

struct element {
    const char *name;
    int (*read)(struct reader *r, xmlNode *node);
    const char *attrs; /* allowed, blanks between, one at both ends */
    bool many;         /* may come more than once */
};

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

static int bad(struct reader *r, const xmlNode *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static int bad(struct reader *r, const xmlNode *at, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_vset(r->err, E_INPUT, fmt, ap);
    va_end(ap);
    return err_at(r->err, "%s:%ld", r->def->path, xmlGetLineNo((xmlNode *)at));
}

static char *attr(xmlNode *node, const char *name)
{
    return (char *)xmlGetNoNsProp(node, (const xmlChar *)name);
}

/* The text of an element without the blanks around it; the caller's. */
static char *text_of(xmlNode *node)
{
    char *all = (char *)xmlNodeGetContent(node);
    if (!all)
        return NULL;
    char *begin = all;
    while (isspace((unsigned char)*begin))
        begin++;
    char *end = begin + strlen(begin);
    while (end > begin && isspace((unsigned char)end[-1]))
        end--;
    char *own = strndup(begin, end - begin);
    xmlFree(all);
    return own;
}

static int split(struct reader *r, const char *text, struct words *w)
{
    while (*text) {
        size_t n = strcspn(text, " \t\r\n");
        if (n) {
            if (w->count >= LIST_MAX)
                return err_set(r->err, E_INPUT, "%s: more than %d words in a list",
                               r->def->path, LIST_MAX);
            char **item = realloc(w->item, (w->count + 2) * sizeof *item);
            if (!item)
                return err_oom(r->err);
            w->item = item;
            if (!(item[w->count] = strndup(text, n)))
                return err_oom(r->err);
            item[++w->count] = NULL;
        }
        text += n + (text[n] != '\0');
    }
    return 0;
}

static int read_words(struct reader *r, xmlNode *node, struct words *w)
{
    AUTO_STR text = text_of(node);
    return text ? split(r, text, w) : err_oom(r->err);
}

static int read_text(struct reader *r, xmlNode *node, char **to)
{
    if (!(*to = text_of(node)))
        return err_oom(r->err);
    return **to ? 0 : bad(r, node, "<%s> is empty", node->name);
}

/* One of a fixed set; `allowed` ends in NULL. */
static int one_of(struct reader *r, xmlNode *node, const char *value,
                  const char *const *allowed)
{
    AUTO_BUF list = {0};
    for (const char *const *a = allowed; *a; a++) {
        if (!strcmp(value, *a))
            return 0;
        str_buf_printf(&list, "%s%s", a == allowed ? "" : ", ", *a);
    }
    return bad(r, node, "<%s>: '%s' is none of: %s", node->name, value,
               list.data ? list.data : "");
}

/* An optional attribute as a new string; 0 also when it is not there. */
static int take_attr(struct reader *r, xmlNode *node, const char *name, char **to)
{
    char *v = attr(node, name);
    if (!v)
        return 0;
    free(*to);
    *to = strdup(v);
    xmlFree(v);
    return *to ? 0 : err_oom(r->err);
}

/* A path inside the root: absolute, without "." and ".." parts. */
static bool is_inside(const char *p)
{
    if (p[0] != '/' || !p[1] || strlen(p) >= PATH_MAX)
        return false;
    for (const char *s = p; (s = strchr(s, '/')); s++)
        if (s[1] == '/' || !s[1] ||
            (s[1] == '.' &&
             (s[2] == '/' || !s[2] || (s[2] == '.' && (s[3] == '/' || !s[3])))))
            return false;
    return true;
}

/* Package, module and unit names become arguments and file names. */
static bool is_word(const char *s)
{
    if (!isalnum((unsigned char)*s))
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("+-._:@=~", *s))
            return false;
    return true;
}

static int read_names(struct reader *r, xmlNode *node, struct words *w)
{
    if (read_words(r, node, w) < 0)
        return -1;
    for (size_t i = 0; i < w->count; i++)
        if (!is_word(w->item[i]))
            return bad(r, node, "<%s>: '%s' is not a name", node->name, w->item[i]);
    return 0;
}

/* ---- one function an element --------------------------------------------------- */

static int read_name(struct reader *r, xmlNode *node)
{
    if (read_text(r, node, &r->def->name) < 0)
        return -1;
    return str_is_name(r->def->name)
               ? 0
               : bad(r, node,
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
               : bad(r, node, "<version>: '%s' is not a version: letters, digits, ._-",
                     r->def->version);
}

static int read_description(struct reader *r, xmlNode *node)
{
    return read_text(r, node, &r->def->description);
}

static int read_kind(struct reader *r, xmlNode *node)
{
    static const char *const kinds[] = {"guest", "host", NULL};
    AUTO_STR text = text_of(node);
    if (!text)
        return err_oom(r->err);
    r->def->kind = !strcmp(text, "host") ? IMAGE_HOST : IMAGE_GUEST;
    return one_of(r, node, text, kinds);
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
    if (take_attr(r, node, "suite", &d->suite) < 0 ||
        take_attr(r, node, "mirror", &d->mirror) < 0 ||
        take_attr(r, node, "components", &d->components) < 0)
        return -1;
    int kinds = d->suite != NULL;
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        AUTO_STR before = d->source;
        d->source = NULL;
        if (take_attr(r, node, others[i].attr, &d->source) < 0)
            return -1;
        if (d->source) {
            d->from = others[i].from;
            kinds++;
        } else {
            d->source = move(before);
        }
    }
    if (kinds != 1)
        return bad(r, node,
                   "<from> needs exactly one of suite, oci, docker-archive, "
                   "tar, directory, raw, qcow2");
    if (d->suite && !is_word(d->suite))
        return bad(r, node, "<from>: '%s' is not a suite", d->suite);
    if (d->mirror && !str_starts(d->mirror, "http://") &&
        !str_starts(d->mirror, "https://") && !str_starts(d->mirror, "file:///"))
        return bad(r, node, "<from>: mirror '%s' is not http, https or file",
                   d->mirror);
    if (d->mirror && strpbrk(d->mirror, " \t\r\n[]"))
        return bad(r, node, "<from>: blank or bracket in mirror");
    if (d->components &&
        strspn(d->components, "abcdefghijklmnopqrstuvwxyz- ") != strlen(d->components))
        return bad(r, node, "<from>: components '%s'", d->components);
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
        if (one_of(r, node, r->def->prune.item[i], classes) < 0)
            return -1;
    return 0;
}

static int read_owner(struct reader *r, xmlNode *node, struct image_file *f)
{
    AUTO_STR owner = NULL;
    AUTO_STR mode = NULL;
    if (take_attr(r, node, "owner", &owner) < 0 ||
        take_attr(r, node, "mode", &mode) < 0)
        return -1;
    unsigned uid, gid, m;
    int used = 0;
    if (owner) {
        if (sscanf(owner, "%5u:%5u%n", &uid, &gid, &used) != 2 || owner[used] ||
            uid > 65534 || gid > 65534)
            return bad(r, node, "<file>: owner '%s' is not UID:GID in digits", owner);
        f->uid = uid;
        f->gid = gid;
    }
    f->mode = 0644;
    if (mode) {
        if (strspn(mode, "01234567") != strlen(mode) || sscanf(mode, "%5o", &m) != 1 ||
            m > 07777)
            return bad(r, node, "<file>: mode '%s' is not octal", mode);
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
    if (take_attr(r, node, "path", &f->path) < 0 ||
        take_attr(r, node, "source", &f->source) < 0 ||
        take_attr(r, node, "target", &f->target) < 0 || read_owner(r, node, f) < 0)
        return -1;
    if (!f->path || !is_inside(f->path))
        return bad(r, node, "<file>: path '%s' is not absolute and plain",
                   f->path ? f->path : "");
    char *text = (char *)xmlNodeGetContent(node);
    bool has_text = text && *text;
    if (!f->source && !f->target) {
        /* A line break right after the tag is layout, not content. */
        f->content = strdup(text ? text + (text[0] == '\n') : "");
    }
    xmlFree(text);
    if (has_text + (f->source != NULL) + (f->target != NULL) > 1)
        return bad(r, node, "<file path=\"%s\">: text, source or target, not several",
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
        if (take_attr(r, node, lists[i].attr, &text) < 0 ||
            (text && split(r, text, lists[i].to) < 0))
            return -1;
        for (size_t n = 0; n < lists[i].to->count; n++)
            if (!is_word(lists[i].to->item[n]))
                return bad(r, node, "<units>: '%s' is not a unit",
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
    return d->run[d->nrun - 1].count ? 0 : bad(r, node, "<run> is empty");
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
    return bad(r, node,
               "unknown element <%s> in <kernel>; known: initramfs, load, "
               "modules",
               node->name);
}

static int read_kernel(struct reader *r, xmlNode *node)
{
    if (take_attr(r, node, "package", &r->def->kernel) < 0 ||
        take_attr(r, node, "append", &r->def->append) < 0)
        return -1;
    if (!r->def->kernel || !is_word(r->def->kernel))
        return bad(r, node, "<kernel> needs the attribute package");
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
    if (take_attr(r, node, "format", &d->root_format) < 0 ||
        take_attr(r, node, "mode", &d->root_mode) < 0 ||
        take_attr(r, node, "verity", &d->verity) < 0)
        return -1;
    if ((d->root_format && one_of(r, node, d->root_format, formats) < 0) ||
        (d->root_mode && one_of(r, node, d->root_mode, modes) < 0) ||
        (d->verity && one_of(r, node, d->verity, verity) < 0))
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
    return is_inside(r->def->init)
               ? 0
               : bad(r, node, "<init>: '%s' is not a path", r->def->init);
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
        if (one_of(r, node, r->def->outputs.item[i], known) < 0)
            return -1;
    return 0;
}

static int read_check(struct reader *r, xmlNode *node)
{
    AUTO_STR max = NULL;
    AUTO_STR secrets = NULL;
    if (take_attr(r, node, "max-size", &max) < 0 ||
        take_attr(r, node, "secrets", &secrets) < 0)
        return -1;
    if (max && !str_to_bytes(max, 1 << 20, &r->def->max_bytes))
        return bad(r, node, "<check>: max-size '%s' is not a size", max);
    if (secrets && split(r, secrets, &r->def->secrets) < 0)
        return -1;
    for (size_t i = 0; i < r->def->secrets.count; i++)
        if (!is_inside(r->def->secrets.item[i]))
            return bad(r, node, "<check>: '%s' is not a path", r->def->secrets.item[i]);
    return 0;
}

static const struct element elements[] = {
    {"name", read_name, "", false},
    {"version", read_version, "", false},
    {"description", read_description, "", false},
    {"kind", read_kind, "", false},
    {"from", read_from,
     " suite mirror components oci docker-archive tar directory raw qcow2 ", false},
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
    {"check", read_check, " max-size secrets ", false},
};

static int check_attrs(struct reader *r, xmlNode *node, const char *allowed)
{
    for (xmlAttr *a = node->properties; a; a = a->next) {
        AUTO_STR word = str_printf(" %s ", a->name);
        if (!word)
            return err_oom(r->err);
        if (!strstr(allowed, word))
            return bad(r, node, "<%s> has no attribute '%s'%s%s", node->name, a->name,
                       *allowed ? "; known:" : "", allowed);
    }
    return 0;
}

static int read_element(struct reader *r, xmlNode *node, unsigned *seen)
{
    const char *names[ARRAY_SIZE(elements) + 1] = {NULL};
    for (size_t i = 0; i < ARRAY_SIZE(elements); i++) {
        names[i] = elements[i].name;
        if (strcmp((const char *)node->name, elements[i].name))
            continue;
        if ((*seen & 1u << i) && !elements[i].many)
            return bad(r, node, "<%s> comes twice", node->name);
        *seen |= 1u << i;
        if (check_attrs(r, node, elements[i].attrs) < 0)
            return -1;
        return elements[i].read(r, node);
    }
    const char *near = str_nearest((const char *)node->name, names);
    return bad(r, node,
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
        return bad(r, root, "<name> is missing");
    if (!d->suite && !d->source)
        return bad(r, root,
                   "<from> is missing: a suite, an OCI layout, a tar or a "
                   "directory");
    if (d->packages.count && d->from != FROM_DEBIAN)
        return bad(r, root,
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
        return bad(r, root,
                   "<root mode=\"plain\"> needs format=\"ext4\": %s cannot be "
                   "written",
                   d->root_format);
    if (d->verity &&
        (!strcmp(d->root_mode, "plain") || !strcmp(d->root_format, "none")))
        return bad(r, root,
                   "<root verity=...> needs a root that is only read: mode "
                   "tmpfs or scratch");
    return 0;
}

static int parse_error(const char *path, struct err *err)
{
    const xmlError *e = xmlGetLastError();
    AUTO_STR text = strdup(e && e->message ? e->message : "not XML");
    if (!text)
        return err_oom(err);
    text[strcspn(text, "\n")] = '\0';
    return err_set(err, E_INPUT, "%s:%d: %s", path, e ? e->line : 0, text);
}

static int read_document(struct reader *r, xmlDoc *doc)
{
    xmlNode *root = xmlDocGetRootElement(doc);
    if (doc->intSubset)
        return bad(r, root, "a DOCTYPE has no place here: definitions use no entities");
    if (strcmp((const char *)root->name, "image"))
        return bad(r, root, "the document is <%s>, not <image>", root->name);
    if (check_attrs(r, root, "") < 0)
        return -1;
    unsigned seen = 0;
    for (xmlNode *n = root->children; n; n = n->next) {
        if (n->type == XML_ELEMENT_NODE) {
            if (read_element(r, n, &seen) < 0)
                return -1;
        } else if (n->type == XML_TEXT_NODE && !xmlIsBlankNode(n)) {
            return bad(r, n, "text between the elements");
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
    AUTO_T(xmlDoc)
    doc = xmlReadMemory(text, (int)len, NULL, NULL,
                        XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING |
                            XML_PARSE_NOCDATA);
    if (!doc || !xmlDocGetRootElement(doc))
        return parse_error(path, err);
    struct reader r = {.def = d, .err = err};
    if (read_document(&r, doc) < 0)
        return -1;
    *out = move(d);
    return 0;
}

int image_def_load(const char *path, struct image_def **out, struct err *err)
{
    AUTO_STR text = NULL;
    size_t len;
    if (fd_read_file(path, DEF_MAX, &text, &len, err) < 0)
        return err_at(err, "definition");
    return image_def_parse(text, len, path, out, err);
}
