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
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

OWN_CLEANUP(json_t, json_decref)

enum { EXT4_MAGIC_AT = 1024 + 56, SECTOR = 512 };

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
    AUTO_FD fd = memfd_create("output", MFD_CLOEXEC);
    AUTO_STR text = NULL;
    if (fd < 0)
        return err_sys(err, "memfd");
    if (run_tool(&b->run, -1, fd, argv, err) < 0)
        return -1;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return err_sys(err, "seek");
    if (fd_slurp(fd, argv[0], 1 << 20, &text, NULL, err) < 0)
        return -1;
    json_error_t je;
    *out = json_loads(text, 0, &je);
    return *out ? 0
                : err_set(err, E_FAIL, "'%s' printed no JSON: %s", argv[0], je.text);
}

static bool is_ext4(int fd, off_t at)
{
    unsigned char magic[2];
    return pread(fd, magic, 2, at + EXT4_MAGIC_AT) == 2 && magic[0] == 0x53 &&
           magic[1] == 0xef;
}

/* ---- partition tables ------------------------------------------------------------ */

static uint64_t little(const unsigned char *p, int n)
{
    uint64_t v = 0;
    while (n--)
        v = v << 8 | p[n];
    return v;
}

struct best {
    uint64_t at, sectors;
};

/* Remember the partition if it has an ext4 and is larger than the best so far. */
static void consider(int fd, uint64_t start, uint64_t sectors, struct best *best)
{
    if (start && sectors > best->sectors && start < INT64_MAX / SECTOR &&
        is_ext4(fd, (off_t)(start * SECTOR))) {
        best->at = start * SECTOR;
        best->sectors = sectors;
    }
}

static void look_gpt(int fd, struct best *best)
{
    unsigned char head[92], entry[128];
    if (pread(fd, head, sizeof head, SECTOR) != sizeof head ||
        memcmp(head, "EFI PART", 8))
        return;
    uint64_t at = little(head + 72, 8), count = little(head + 80, 4),
             size = little(head + 84, 4);
    if (at > INT64_MAX / SECTOR / 2 || count > 1024 || size < sizeof entry ||
        size > 4096)
        return;
    for (uint64_t i = 0; i < count; i++) {
        off_t where = (off_t)(at * SECTOR + i * size);
        if (pread(fd, entry, sizeof entry, where) != sizeof entry)
            return;
        uint64_t first = little(entry + 32, 8), last = little(entry + 40, 8);
        if (last >= first)
            consider(fd, first, last - first + 1, best);
    }
}

/* The four primary partitions. */
static void look_mbr(int fd, struct best *best)
{
    unsigned char mbr[SECTOR];
    if (pread(fd, mbr, sizeof mbr, 0) != sizeof mbr || mbr[510] != 0x55 ||
        mbr[511] != 0xaa)
        return;
    for (int i = 0; i < 4; i++) {
        const unsigned char *e = mbr + 446 + 16 * i;
        if (e[4] != 0xee) /* of a GPT */
            consider(fd, little(e + 8, 4), little(e + 12, 4), best);
    }
}

/* Where the largest ext4 of the disk begins: the whole disk, or a partition. */
static int find_ext4(const char *disk, off_t *at, struct err *err)
{
    AUTO_FD fd = open(disk, O_RDONLY | O_CLOEXEC);
    struct best best = {0};
    if (fd < 0)
        return err_sys(err, "'%s'", disk);
    *at = 0;
    if (is_ext4(fd, 0))
        return 0;
    look_gpt(fd, &best);
    look_mbr(fd, &best);
    *at = (off_t)best.at;
    return best.sectors
               ? 0
               : err_set(err, E_INPUT,
                         "neither the disk nor a partition of it is an ext4; --as-is "
                         "keeps it as it is, to boot by its own means");
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
    off_t at = 0;
    return find_ext4(from, &at, err) < 0 ? -1 : unpack_ext4(b, from, at, err);
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
