/* SPDX-License-Identifier: Apache-2.0 */
/* The steps that write what is kept, inside the sandbox: initramfs, root file system,
 * dm-verity tree, other formats. Every time stamp, UUID and order is fixed. */
#include "image/steps.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/dirs.h"
#include "base/fd.h"
#include "base/str.h"
#include "image/cpio.h"
#include "image/list.h"
#include "image/modules.h"
#include "image/oci.h"

enum { BLOCK = 4096, INITRAMFS_MAX = 512 << 10 };

int step_list(struct build *b, struct err *err)
{
    AUTO_STR path = str_printf("%s/files", b->out);
    return path ? list_write(b->root, path, err) : err_oom(err);
}

/* ---- initramfs ------------------------------------------------------------------- */

static int add_modules(struct build *b, struct cpio *c, const struct words *names,
                       struct err *err)
{
    AUTO_STR base = str_printf("%s/lib/modules/%s", b->kernel->dir, b->kernel->release);
    struct words paths = {0};
    if (!base)
        return err_oom(err);
    if (kernel_modules(b->kernel, names, &paths, err) < 0)
        return -1;
    int r = 0;
    for (size_t i = 0; i < paths.count && r == 0; i++) {
        AUTO_STR from = str_printf("%s/%s", base, paths.item[i]);
        AUTO_STR to =
            str_printf("modules/%02zu-%s", i, strrchr(paths.item[i], '/') + 1);
        r = from && to ? cpio_file(c, to, 0644, from, err) : err_oom(err);
    }
    modules_free(&paths);
    return r;
}

/* For a guest: stage-1, the modules it needs, and (guest_too) lodge-guest, for a root
 * that does not have it. */
static int make_initramfs(struct build *b, bool guest_too, const char *path,
                          struct err *err)
{
    static const char *const dirs[] = {"dev",  "proc", "sys",    "base",
                                       "over", "root", "modules"};
    struct cpio c = {0};
    AUTO_STR stage1 = dirs_path(DIRS_LIBEXEC, "lodge-stage1");
    AUTO_STR guest = dirs_path(DIRS_LIBEXEC, "lodge-guest");
    int r = stage1 && guest ? 0 : err_oom(err);
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
        cpio_dir(&c, dirs[i]);
    cpio_node(&c, "dev/console", S_IFCHR | 0600, 5, 1);
    if (r == 0)
        r = cpio_file(&c, "init", 0755, stage1, err);
    if (r == 0 && guest_too)
        r = cpio_file(&c, "lodge-guest", 0755, guest, err);
    if (r == 0)
        r = add_modules(b, &c, &b->def->initramfs, err);
    if (r == 0)
        r = cpio_write(&c, path, err);
    str_buf_done(&c.data);
    return r;
}

int step_initramfs(struct build *b, struct err *err)
{
    if (!b->kernel)
        return 0;
    AUTO_STR path = str_printf("%s/initramfs", b->out);
    struct stat st;
    if (!path)
        return err_oom(err);
    if (make_initramfs(b, !strcmp(b->def->root_format, "none"), path, err) < 0)
        return -1;
    if (stat(path, &st) < 0)
        return err_sys(err, "'%s'", path);
    if (st.st_size > INITRAMFS_MAX)
        return err_set(err, E_INPUT,
                       "the initramfs has %lld bytes, more than %d; name fewer modules "
                       "in <initramfs>, put others in <load>",
                       (long long)st.st_size, INITRAMFS_MAX);
    return 0;
}

/* ---- root file systems ----------------------------------------------------------- */

static int make_erofs(struct build *b, const char *path, struct err *err)
{
    return RUN(&b->run, err, "mkfs.erofs", "--quiet", "-T" BUILD_EPOCH_TEXT, "-U",
               b->uuid, path, b->root);
}

static int make_squashfs(struct build *b, const char *path, struct err *err)
{
    return RUN(&b->run, err, "mksquashfs", b->root, path, "-noappend", "-quiet",
               "-no-progress", "-comp", "zstd", "-Xcompression-level", "3",
               "-mkfs-time", BUILD_EPOCH_TEXT, "-all-time", BUILD_EPOCH_TEXT);
}

static int make_tar(struct build *b, const char *path, struct err *err)
{
    return RUN(&b->run, err, "tar", "--create", "--format=pax", "--sort=name",
               "--numeric-owner", "--xattrs", "--xattrs-include=security.capability",
               "--mtime=@" BUILD_EPOCH_TEXT,
               "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
               "--directory", b->root, "--file", path, ".");
}

/* How many KiB an ext4 of this root needs: what is there, a fifth more, 32 MiB. */
static int ext4_size(struct build *b, char *out, size_t size, struct err *err)
{
    AUTO_STR text = NULL;
    const char *const argv[] = {"du", "-s", "-k", "--apparent-size", b->root, NULL};
    if (run_capture(&b->run, argv, 4096, &text, err) < 0)
        return -1;
    unsigned long long kib = strtoull(text, NULL, 10);
    snprintf(out, size, "%lluk", (kib + kib / 5 + 32768) / 4 * 4);
    return 0;
}

/* A copy of the root whose files were made in the order of their names: mke2fs takes
 * them as the directory gives them, and a tmpfs gives them by age. */
static int sorted_copy(struct build *b, const char *to, struct err *err)
{
    AUTO_STR tar = str_printf("%s/sorted.tar", b->fs);
    if (!tar)
        return err_oom(err);
    if (mkdir(to, 0755) < 0)
        return err_sys(err, "'%s'", to);
    int r = make_tar(b, tar, err) < 0
                ? -1
                : RUN(&b->run, err, "tar", "--extract", "--numeric-owner",
                      "--preserve-permissions", "--same-owner", "--xattrs",
                      "--xattrs-include=security.capability", "--directory", to,
                      "--file", tar);
    unlink(tar);
    return r;
}

/* How many inodes the file system uses; they are the first ones. */
static int inodes_used(const char *path, uint32_t *used, struct err *err)
{
    enum { SUPER = 1024, COUNT = 0, FREE = 16 };
    unsigned char super[32];
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || pread(fd, super, sizeof super, SUPER) != sizeof super)
        return err_sys(err, "'%s'", path);
    uint32_t count, free_count;
    memcpy(&count, super + COUNT, 4);
    memcpy(&free_count, super + FREE, 4);
    *used = le32toh(count) - le32toh(free_count);
    return 0;
}

/* mke2fs takes times of change and access from the source, which are now. */
static int set_times(const struct run *run, const char *path, const char *script,
                     struct err *err)
{
    enum { ROOT = 2, FIRST = 11 };
    static const char *const fields[] = {"atime", "ctime", "mtime", "crtime"};
    AUTO_BUF text = {0};
    uint32_t used = 0;
    if (inodes_used(path, &used, err) < 0)
        return -1;
    for (uint32_t i = ROOT; i <= used; i = i == ROOT ? FIRST : i + 1)
        for (size_t k = 0; k < ARRAY_SIZE(fields); k++)
            str_buf_printf(&text, "set_inode_field <%u> %s @" BUILD_EPOCH_TEXT "\n", i,
                           fields[k]);
    if (text.failed)
        return err_oom(err);
    if (fd_replace_file(script, text.data, text.len, 0600, err) < 0)
        return -1;
    int r = RUN(run, err, "debugfs", "-w", "-f", script, path);
    unlink(script);
    return r;
}

static int make_ext4(struct build *b, const char *path, struct err *err)
{
    char size[32];
    AUTO_STR seed = str_printf("hash_seed=%s,lazy_itable_init=0", b->uuid);
    AUTO_STR from = str_printf("%s/sorted", b->fs);
    AUTO_STR script = str_printf("%s/times", b->fs);
    if (!seed || !from || !script)
        return err_oom(err);
    const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                               "E2FSPROGS_FAKE_TIME=" BUILD_EPOCH_TEXT, NULL};
    /* What debugfs says of each line is of no use. */
    AUTO_FD null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    const struct run run = {.log = b->run.log, .env = env};
    const struct run quiet = {.log = null, .env = env};
    if (null < 0)
        return err_sys(err, "/dev/null");
    int r = ext4_size(b, size, sizeof size, err);
    if (r == 0)
        r = sorted_copy(b, from, err);
    if (r == 0)
        r = RUN(&run, err, "mke2fs", "-q", "-t", "ext4", "-d", from, "-U", b->uuid,
                "-E", seed, "-O", "^has_journal,^metadata_csum_seed", "-m", "0", "-F",
                path, size);
    if (r == 0)
        r = set_times(&quiet, path, script, err);
    return fd_remove_tree(from, r < 0 ? NULL : err) < 0 ? -1 : r;
}

static int make_qcow2(struct build *b, const char *path, struct err *err)
{
    AUTO_STR raw = str_printf("%s/ext4.raw", b->fs);
    if (!raw)
        return err_oom(err);
    if (make_ext4(b, raw, err) < 0)
        return -1;
    int r = RUN(&b->run, err, "qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2",
                raw, path);
    unlink(raw);
    return r;
}

/* The layout as one archive: what skopeo calls oci-archive. */
static int make_oci(struct build *b, const char *path, struct err *err)
{
    AUTO_STR tar = str_printf("%s/layer.tar", b->fs);
    AUTO_STR dir = str_printf("%s/layout", b->fs);
    if (!tar || !dir)
        return err_oom(err);
    if (make_tar(b, tar, err) < 0 || oci_write(tar, dir, b->def->version, err) < 0)
        return -1;
    unlink(tar);
    int r = RUN(&b->run, err, "tar", "--create", "--format=pax", "--sort=name",
                "--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX",
                "--mtime=@" BUILD_EPOCH_TEXT,
                "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
                "--directory", dir, "--file", path, ".");
    return fd_remove_tree(dir, r < 0 ? NULL : err) < 0 ? -1 : r;
}

static const struct {
    const char *name;
    int (*make)(struct build *b, const char *path, struct err *err);
} formats[] = {{"erofs", make_erofs}, {"squashfs", make_squashfs}, {"ext4", make_ext4},
               {"qcow2", make_qcow2}, {"tar", make_tar},           {"oci", make_oci}};

int output_make(struct build *b, const char *name, struct err *err)
{
    AUTO_STR path = str_printf("%s/%s", b->out, name);
    if (!path)
        return err_oom(err);
    if (access(path, F_OK) == 0)
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
        if (!strcmp(formats[i].name, name))
            return formats[i].make(b, path, err);
    return 0; /* the kernel and the initramfs are there by other steps */
}

/* ---- dm-verity ------------------------------------------------------------------- */

/* Append the tree to the file; what stage-1 needs to know goes to b->verity. */
static int add_verity(struct build *b, const char *path, struct err *err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return err_sys(err, "'%s'", path);
    off_t size = (st.st_size + BLOCK - 1) / BLOCK * BLOCK;
    if (truncate(path, size) < 0)
        return err_sys(err, "'%s'", path);
    char salt[65] = "", offset[32], blocks[32];
    for (size_t i = 0, n = 0; b->uuid[i]; i++)
        if (b->uuid[i] != '-')
            salt[n++] = b->uuid[i];
    snprintf(offset, sizeof offset, "%lld", (long long)size);
    snprintf(blocks, sizeof blocks, "%lld", (long long)(size / BLOCK));
    AUTO_STR hash = str_printf("%s/verity", b->fs);
    AUTO_STR hash_option = hash ? str_printf("--root-hash-file=%s", hash) : NULL;
    AUTO_STR root = NULL;
    AUTO_STR at = str_printf("--hash-offset=%s", offset);
    AUTO_STR count = str_printf("--data-blocks=%s", blocks);
    AUTO_STR salted = str_printf("--salt=%s", salt);
    AUTO_STR uuid = str_printf("--uuid=%s", b->uuid);
    if (!hash_option || !at || !count || !salted || !uuid)
        return err_oom(err);
    if (RUN(&b->run, err, "veritysetup", "format", at, count, salted, uuid, hash_option,
            path, path) < 0 ||
        fd_read_file(hash, 256, &root, NULL, err) < 0)
        return -1;
    root[strspn(root, "0123456789abcdef")] = '\0';
    if (strlen(root) != 64)
        return err_set(err, E_FAIL, "veritysetup gave no root hash");
    bool full = !strcmp(b->def->verity, "full");
    b->verity = str_printf("%s,%s,%s%s", root, blocks, salt, full ? ",full" : "");
    AUTO_STR keep = str_printf("%s/verity", b->work);
    if (!b->verity || !keep)
        return err_oom(err);
    return fd_replace_file(keep, b->verity, strlen(b->verity), 0644, err);
}

static int check_size(struct build *b, const char *path, struct err *err)
{
    struct stat st;
    char is[16], max[16];
    if (!b->def->max_bytes || stat(path, &st) < 0 ||
        (uint64_t)st.st_size <= b->def->max_bytes)
        return 0;
    return err_set(err, E_INPUT, "the root has %s, more than the %s of <check>",
                   str_from_bytes(st.st_size, is, sizeof is),
                   str_from_bytes(b->def->max_bytes, max, sizeof max));
}

int step_root(struct build *b, struct err *err)
{
    if (!strcmp(b->def->root_format, "none"))
        return 0;
    AUTO_STR path = str_printf("%s/%s", b->out, b->def->root_format);
    if (!path)
        return err_oom(err);
    /* One time for all, also for formats that copy the source's. */
    if (output_make(b, b->def->root_format, err) < 0 || check_size(b, path, err) < 0)
        return -1;
    return b->def->verity ? add_verity(b, path, err) : 0;
}

int step_outputs(struct build *b, struct err *err)
{
    for (size_t i = 0; i < b->def->outputs.count; i++)
        if (output_make(b, b->def->outputs.item[i], err) < 0)
            return -1;
    return 0;
}
