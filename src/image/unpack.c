/* SPDX-License-Identifier: Apache-2.0 */
/* The step that unpacks whatever an image is made from into the root, inside the
 * sandbox. Others' archives and disks are not trusted: no backing files, no mounts, no
 * device nodes; their links are resolved within the root only (root.c). */
#include "image/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "image/disk.h"

OWN_CLEANUP(json_t, json_decref)

static int unpack_tar(struct build *b, const char *from, struct err *err)
{
    /* Device nodes come from devtmpfs at boot; without root they cannot be made. */
    return RUN(&b->run, err, "tar", "--extract", "--numeric-owner",
               "--preserve-permissions", "--same-owner", "--xattrs",
               "--xattrs-include=security.capability", "--anchored",
               "--exclude=./dev/*", "--exclude=dev/*", "--directory", b->root, "--file",
               from);
}

static int unpack_dir(struct build *b, const char *from, struct err *err)
{
    return RUN(&b->run, err, "cp", "-a", "--one-file-system", "-T", "--", from,
               b->root);
}

static int unpack_oci(struct build *b, const char *from, struct err *err)
{
    if (rmdir(b->root) < 0)
        return err_sys(err, "'%s'", b->root);
    if (b->opt->rootless)
        return RUN(&b->run, err, "umoci", "raw", "unpack", "--rootless", "--image",
                   from, b->root);
    return RUN(&b->run, err, "umoci", "raw", "unpack", "--image", from, b->root);
}

static int unpack_docker(struct build *b, const char *from, struct err *err)
{
    AUTO_STR source = str_printf("docker-archive:%s", from);
    AUTO_STR layout = str_printf("%s/oci:latest", b->fs);
    AUTO_STR to = str_printf("oci:%s/oci:latest", b->fs);
    if (!source || !layout || !to)
        return err_oom(err);
    if (RUN(&b->run, err, "skopeo", "--insecure-policy", "copy", "-q", source, to) < 0)
        return -1;
    return unpack_oci(b, layout, err);
}

static int capture_json(struct build *b, const char *const *argv, json_t **out,
                        struct err *err)
{
    AUTO_STR text = NULL;
    if (run_capture(&b->run, argv, 1 << 20, &text, err) < 0)
        return -1;
    json_error_t je;
    *out = json_loads(text, 0, &je);
    return *out ? 0
                : err_set(err, E_FAIL, "'%s' printed no JSON: %s", argv[0], je.text);
}

static int unpack_ext4(struct build *b, const char *disk, off_t at, struct err *err)
{
    AUTO_STR device =
        at ? str_printf("%s?offset=%lld", disk, (long long)at) : strdup(disk);
    AUTO_STR command = str_printf("rdump / \"%s\"", b->root);
    AUTO_STR lost = str_printf("%s/lost+found", b->root);
    if (!device || !command || !lost)
        return err_oom(err);
    if (RUN(&b->run, err, "debugfs", "-R", command, device) < 0)
        return -1;
    rmdir(lost);
    /* debugfs tells failures only in words. */
    return rmdir(b->root) == 0
               ? err_set(err, E_INPUT, "debugfs found no files in '%s'", device)
               : 0;
}

static int unpack_disk(struct build *b, const char *from, struct err *err)
{
    AUTO_FD fd = open(from, O_RDONLY | O_CLOEXEC);
    off_t at = 0;
    if (fd < 0)
        return err_sys(err, "'%s'", from);
    return disk_find_ext4(fd, &at, err) < 0 ? -1 : unpack_ext4(b, from, at, err);
}

int unpack_check_qcow2(struct build *b, const char *path, struct err *err)
{
    const char *const argv[] = {
        "qemu-img", "info", "--output=json", "-U", "-f", "qcow2", path, NULL};
    AUTO_T(json_t) info = NULL;
    if (capture_json(b, argv, &info, err) < 0)
        return -1;
    json_t *data = json_object_get(
        json_object_get(json_object_get(info, "format-specific"), "data"), "data-file");
    if (json_object_get(info, "backing-filename") || data)
        return err_set(err, E_INPUT,
                       "'%s' refers to another file; make it whole first: qemu-img "
                       "convert -O qcow2 IN OUT",
                       path);
    return 0;
}

static int unpack_qcow2(struct build *b, const char *from, struct err *err)
{
    AUTO_STR raw = str_printf("%s/disk.raw", b->fs);
    if (!raw)
        return err_oom(err);
    if (unpack_check_qcow2(b, from, err) < 0 ||
        RUN(&b->run, err, "qemu-img", "convert", "-f", "qcow2", "-O", "raw", from,
            raw) < 0)
        return -1;
    int r = unpack_disk(b, raw, err);
    unlink(raw);
    return r;
}

/* "%20" to " ", in place. */
static void unquote(char *s)
{
    char *to = s;
    unsigned c;
    for (; *s; s++) {
        if (*s == '%' && sscanf(s + 1, "%2x", &c) == 1) {
            *to++ = (char)c;
            s += 2;
        } else {
            *to++ = *s;
        }
    }
    *to = '\0';
}

/* fsck.erofs gives a file its owner after its mode, which clears set-id bits; the
 * image's list of files knows them. */
static int restore_modes(struct build *b, struct err *err)
{
    AUTO_STR list = NULL;
    if (!b->list)
        return 0;
    if (fd_read_file(b->list, 256 << 20, &list, NULL, err) < 0)
        return -1;
    char *rest = list;
    for (char *line; (line = strsep(&rest, "\n"));) {
        unsigned mode;
        AUTO_STR path = NULL;
        char *name = strrchr(line, ' ');
        if (sscanf(line, "f %o ", &mode) != 1 || !(mode & 06000) || !name)
            continue;
        unquote(++name);
        if (root_path(b, name, false, &path, err) < 0)
            return -1;
        if (chmod(path, mode & 07777) < 0)
            return err_sys(err, "mode of '%s'", name);
    }
    return 0;
}

/* A root of our own making. */
static int unpack_image(struct build *b, const char *from, struct err *err)
{
    if (!strcmp(b->def->root_format, "ext4"))
        return unpack_ext4(b, from, 0, err);
    if (rmdir(b->root) < 0)
        return err_sys(err, "'%s'", b->root);
    if (!strcmp(b->def->root_format, "squashfs"))
        return RUN(&b->run, err, "unsquashfs", "-no-progress", "-quiet", "-dest",
                   b->root, from);
    AUTO_STR to = str_printf("--extract=%s", b->root);
    if (!to)
        return err_oom(err);
    return RUN(&b->run, err, "fsck.erofs", "--preserve", to, from) < 0
               ? -1
               : restore_modes(b, err);
}

static int (*const kinds[])(struct build *b, const char *from, struct err *err) = {
    [FROM_DEBIAN] = unpack_tar,    [FROM_OCI] = unpack_oci,
    [FROM_DOCKER] = unpack_docker, [FROM_TAR] = unpack_tar,
    [FROM_DIR] = unpack_dir,       [FROM_DISK] = unpack_disk,
    [FROM_QCOW2] = unpack_qcow2,   [FROM_IMAGE] = unpack_image};

int step_unpack(struct build *b, struct err *err)
{
    if (mkdir(b->root, 0755) < 0)
        return err_sys(err, "'%s'", b->root);
    return kinds[b->def->from](b, b->layer, err) < 0 ? -1 : root_mount_points(b, err);
}
