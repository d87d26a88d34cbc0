/* SPDX-License-Identifier: Apache-2.0 */
/* What a manifest says of a build; see the header. */
#include "image/describe.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "config.h"
#include "image/files.h"
#include "image/hash.h"
#include "image/manifest.h"

OWN_CLEANUP(json_t, json_decref)

static json_t *list_packages(const struct build *b)
{
    json_t *list = json_array();
    for (size_t i = 0; b->pkgs && i <= b->pkgs->count; i++) {
        const struct pkg *p = i < b->pkgs->count ? &b->pkgs->item[i] : &b->pkgs->kernel;
        if (p->name)
            json_array_append_new(
                list, json_pack("{s:s, s:s, s:s, s:s}", "name", p->name, "version",
                                p->version, "arch", p->arch, "sha256", p->sha256));
    }
    return list;
}

char *describe_append(const struct build *b)
{
    const struct image_def *d = b->def;
    AUTO_BUF a = {0};
    if (!strstr(d->append, "console="))
        str_buf_puts(&a, "console=ttyS0 ");
    if (!strstr(d->append, "panic="))
        str_buf_puts(&a, "panic=-1 ");
    str_buf_printf(&a, "%s%s", d->append, *d->append ? " " : "");
    if (strcmp(d->root_format, "none"))
        str_buf_printf(&a, "lodge.root=%s ", d->root_format);
    if (b->verity)
        str_buf_printf(&a, "lodge.verity=%s ", b->verity);
    str_buf_printf(&a, "lodge.mode=%s lodge.init=%s", d->root_mode, d->init);
    if (d->kind == IMAGE_HOST)
        str_buf_puts(&a, " lodge.guest=no");
    return str_buf_take(&a);
}

/* {"mmdebstrap": "1.3.5-7", ...}: of what had a hand in it, as far as dpkg knows. */
static json_t *list_tools(const struct build *b)
{
    static const char *const argv[] = {"dpkg-query",
                                       "-W",
                                       "-f",
                                       "${Package} ${Version}\n",
                                       "apt",
                                       "coreutils",
                                       "dpkg",
                                       "cryptsetup-bin",
                                       "e2fsprogs",
                                       "erofs-utils",
                                       "mmdebstrap",
                                       "qemu-utils",
                                       "squashfs-tools",
                                       "tar",
                                       "umoci",
                                       NULL};
    AUTO_FD fd = memfd_create("tools", MFD_CLOEXEC);
    AUTO_FD null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    AUTO_STR text = NULL;
    json_t *tools = json_object();
    const struct run run = {.log = null};
    if (fd < 0 || null < 0)
        return tools;
    run_tool(&run, -1, fd, argv, NULL); /* fails when one of them is not installed */
    if (lseek(fd, 0, SEEK_SET) < 0 ||
        fd_slurp(fd, "tools", 4096, &text, NULL, NULL) < 0)
        return tools;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        const char *name = strsep(&line, " ");
        if (!str_empty(line))
            json_object_set_new(tools, name, json_string(line));
    }
    return tools;
}

/* The digest of the version that this one takes the place of; NULL if it is the first. */
static char *parent_of(const struct build *b)
{
    AUTO_STR version = NULL;
    AUTO_T(json_t) m = NULL;
    if (files_tag(b->store, b->def->name, "latest", &version, NULL) < 0)
        return NULL;
    AUTO_STR path =
        str_printf("%s/manifests/%s/%s.json", b->store, b->def->name, version);
    return path && manifest_load(path, &m, NULL) == 0 ? manifest_digest(m) : NULL;
}

json_t *describe_manifest(const struct build *b, json_t *outputs)
{
    const struct image_def *d = b->def;
    AUTO_STR append = describe_append(b);
    struct utsname host = {0};
    char now[40];
    uname(&host);
    if (!append)
        return NULL;
    char hex[HASH_HEX_SIZE] = "";
    hash_file(d->path, hex, NULL, NULL);
    AUTO_STR real = realpath(d->path, NULL);
    AUTO_STR parent = parent_of(b);
    return json_pack(
        "{s:i, s:{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:O}, s:{s:s, s:s, s:s, "
        "s:s, s:b, s:s?, s:s?, s:o}}",
        "schema", 1, "content", "name", d->name, "version", d->version, "kind",
        image_kind_name(d->kind), "append", append, "init", d->init, "root_mode",
        d->root_mode, "root_format", d->root_format, "marker", d->marker, "packages",
        list_packages(b), "outputs", outputs, "build", "time",
        clock_iso(clock_wall_ms(), now, sizeof now), "host", host.nodename, "lodge",
        PACKAGE_VERSION, "definition", hex, "rootless", b->opt->rootless, "path", real,
        "parent", parent, "tools", list_tools(b));
}
