/* SPDX-License-Identifier: Apache-2.0 */
/* The steps that make the root file system, inside the sandbox. */
#include "image/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/dirs.h"
#include "base/fd.h"
#include "base/str.h"
#include "image/modules.h"

/* ---- from packages ------------------------------------------------------------- */

/* mmdebstrap with a repository of exactly the locked packages: nothing is chosen and
 * nothing comes over the network here. */
static int bootstrap_in(struct build *b, const char *repo, const char *tmp_dir,
                        const char *tar, struct err *err)
{
    AUTO_STR source = str_printf("deb [trusted=yes] copy:%s ./", repo);
    AUTO_BUF names = {0};
    str_buf_puts(&names, "--include=");
    for (size_t i = 0; i < b->pkgs->count; i++)
        str_buf_printf(&names, "%s%s", i ? "," : "", b->pkgs->item[i].name);
    AUTO_STR tmp = str_printf("TMPDIR=%s", tmp_dir);
    if (!source || !tmp || names.failed)
        return err_oom(err);
    const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
                               "SOURCE_DATE_EPOCH=" BUILD_EPOCH_TEXT, tmp, NULL};
    const struct run run = {.log = b->run.log, .env = env};
    return RUN(
        &run, err, "mmdebstrap", "--mode=root", "--variant=custom", "--format=tar",
        "--architectures=amd64", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        "--aptopt=APT::Install-Recommends \"false\"",
        "--aptopt=Dir::Cache::pkgcache \"\"", "--aptopt=Dir::Cache::srcpkgcache \"\"",
        "--aptopt=Acquire::Languages \"none\"", "--dpkgopt=force-unsafe-io", names.data,
        b->def->suite, tar, source);
}

/* A source line and a TMPDIR cannot hold blanks: then the work directory is also
 * mounted on /mnt, of the sandbox only. */
static int bootstrap_at(struct build *b, const char *fs, const char *tar,
                        struct err *err)
{
    AUTO_STR repo = str_printf("%s/repo", fs);
    AUTO_STR tmp = str_printf("%s/tmp", fs);
    if (!repo || !tmp)
        return err_oom(err);
    if (fd_mkdirs(tmp, 0755, err) < 0 ||
        pkgs_repo(b->pkgs, b->cache, repo, &b->run, err) < 0)
        return -1;
    return bootstrap_in(b, repo, tmp, tar, err);
}

int step_bootstrap(struct build *b, struct err *err)
{
    if (b->def->from != FROM_DEBIAN || access(b->layer, R_OK) == 0)
        return 0;
    AUTO_STR tar = str_printf("%s/layer.tar", b->ctmp);
    if (!tar)
        return err_oom(err);
    bool blank = strpbrk(b->fs, " \t\n[]%") != NULL;
    if (blank && mount(b->fs, "/mnt", NULL, MS_BIND, NULL) < 0)
        return err_sys(err, "mount on /mnt");
    int r = bootstrap_at(b, blank ? "/mnt" : b->fs, tar, err);
    if (blank && umount2("/mnt", MNT_DETACH) < 0 && r == 0)
        r = err_sys(err, "unmount /mnt");
    if (r < 0)
        return -1;
    return rename(tar, b->layer) < 0 ? err_sys(err, "keep '%s'", b->layer) : 0;
}

/* ---- paths inside the root ------------------------------------------------------- */

/* A descriptor of the directory `dir` inside the root; links are followed as the guest
 * would follow them. */
static int open_inside(const struct build *b, const char *dir, bool create,
                       struct err *err)
{
    AUTO_FD root = open(b->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return err_sys(err, "'%s'", b->root);
    AUTO_STR part = strdup(dir);
    if (!part)
        return err_oom(err);
    const struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                                 .resolve = RESOLVE_IN_ROOT};
    for (char *p = part + (*part == '/');; p++) {
        if (*p && *p != '/')
            continue;
        char was = *p;
        *p = '\0';
        AUTO_FD fd = syscall(SYS_openat2, root, *part ? part : "/", &how, sizeof how);
        if (fd < 0 && errno == ENOENT && create) {
            char *slash = strrchr(part, '/');
            AUTO_STR up = strndup(part, slash ? slash - part : 0);
            if (!up)
                return err_oom(err);
            AUTO_FD at = syscall(SYS_openat2, root, *up ? up : "/", &how, sizeof how);
            if (at < 0 || mkdirat(at, slash ? slash + 1 : part, 0755) < 0)
                return err_sys(err, "directory '%s' in the root", part);
            fd = syscall(SYS_openat2, root, part, &how, sizeof how);
        }
        if (fd < 0)
            return err_sys(err, "directory '%s' in the root", part);
        if (!was)
            return move_fd(fd);
        *p = was;
    }
}

/* The same for a file's directory; *leaf is the name in it. */
static int open_parent(const struct build *b, const char *path, bool create,
                       const char **leaf, struct err *err)
{
    const char *slash = strrchr(path, '/');
    AUTO_STR dir = strndup(path, slash - path);
    if (!dir)
        return err_oom(err);
    *leaf = slash + 1;
    return open_inside(b, dir, create, err);
}

int root_path(const struct build *b, const char *path, bool create, char **out,
              struct err *err)
{
    const char *leaf;
    AUTO_FD dir = open_parent(b, path, create, &leaf, err);
    char link[64], real[PATH_MAX];
    if (dir < 0)
        return -1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
    ssize_t n = readlink(link, real, sizeof real - 1);
    if (n < 0)
        return err_sys(err, "readlink");
    real[n] = '\0';
    return (*out = str_printf("%s/%s", real, leaf)) ? 0 : err_oom(err);
}

static int write_at(int dir, const char *leaf, const void *data, size_t len,
                    mode_t mode, uid_t uid, gid_t gid, struct err *err)
{
    if (unlinkat(dir, leaf, 0) < 0 && errno != ENOENT)
        return err_sys(err, "replace '%s'", leaf);
    AUTO_FD fd =
        openat(dir, leaf, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, "create '%s'", leaf);
    if (fd_write_all(fd, data, len, err) < 0)
        return -1;
    if (fchown(fd, uid, gid) < 0 || fchmod(fd, mode) < 0)
        return err_sys(err, "owner and mode of '%s'", leaf);
    return 0;
}

static int write_inside(const struct build *b, const char *path, const void *data,
                        size_t len, mode_t mode, uid_t uid, gid_t gid, struct err *err)
{
    const char *leaf;
    AUTO_FD dir = open_parent(b, path, true, &leaf, err);
    return dir < 0 ? -1 : write_at(dir, leaf, data, len, mode, uid, gid, err);
}

static int copy_inside(const struct build *b, const char *from, const char *path,
                       mode_t mode, uid_t uid, gid_t gid, struct err *err)
{
    enum { COPY_MAX = 1 << 30 };
    AUTO_STR data = NULL;
    size_t len;
    if (fd_read_file(from, COPY_MAX, &data, &len, err) < 0)
        return -1;
    return write_inside(b, path, data, len, mode, uid, gid, err);
}

/* ---- modules --------------------------------------------------------------------- */

/* Copy the modules, needed first, as DIR/NN-name.ko. `skip` are loaded before. */
static int numbered(const struct build *b, const struct words *names,
                    const struct words *skip, const char *dir, struct err *err)
{
    struct words paths = {0};
    if (!names->count)
        return 0;
    if (kernel_modules(b->kernel, names, &paths, err) < 0)
        return -1;
    int r = 0, n = 0;
    for (size_t i = 0; i < paths.count && r == 0; i++) {
        if (skip && words_has(skip, paths.item[i]))
            continue;
        AUTO_STR from = str_printf("%s/lib/modules/%s/%s", b->kernel->dir,
                                   b->kernel->release, paths.item[i]);
        AUTO_STR to =
            str_printf("%s/%02d-%s", dir, n++, strrchr(paths.item[i], '/') + 1);
        r = from && to ? copy_inside(b, from, to, 0644, 0, 0, err) : err_oom(err);
    }
    modules_free(&paths);
    return r;
}

static int copy_modules(const struct build *b, struct err *err)
{
    const struct words *names = &b->def->modules;
    AUTO_STR dir = str_printf("/lib/modules/%s", b->kernel->release);
    AUTO_STR from = str_printf("%s/lib/modules/%s", b->kernel->dir, b->kernel->release);
    AUTO_STR to = NULL;
    if (!dir || !from)
        return err_oom(err);
    if (root_path(b, dir, true, &to, err) < 0)
        return -1;
    if (words_has(names, "all"))
        return RUN(&b->run, err, "cp", "-r", "-T", "--", from, to);
    static const char *const lists[] = {"modules.order", "modules.builtin",
                                        "modules.builtin.modinfo"};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        AUTO_STR f = str_printf("%s/%s", from, lists[i]);
        AUTO_STR t = str_printf("%s/%s", dir, lists[i]);
        if (!f || !t)
            return err_oom(err);
        if (access(f, F_OK) == 0 && copy_inside(b, f, t, 0644, 0, 0, err) < 0)
            return -1;
    }
    struct words paths = {0};
    if (kernel_modules(b->kernel, names, &paths, err) < 0)
        return -1;
    int r = 0;
    for (size_t i = 0; i < paths.count && r == 0; i++) {
        AUTO_STR f = str_printf("%s/%s", from, paths.item[i]);
        AUTO_STR t = str_printf("%s/%s", dir, paths.item[i]);
        r = f && t ? copy_inside(b, f, t, 0644, 0, 0, err) : err_oom(err);
    }
    modules_free(&paths);
    return r < 0 ? -1
                 : RUN(&b->run, err, "/sbin/depmod", "-b", b->root, b->kernel->release);
}

/* Where stage-1, and <run>, mount. */
int root_mount_points(struct build *b, struct err *err)
{
    static const char *const empty[] = {"/dev", "/proc", "/sys", "/run", "/tmp"};
    for (size_t i = 0; i < ARRAY_SIZE(empty); i++) {
        AUTO_FD fd = open_inside(b, empty[i], true, err);
        if (fd < 0)
            return -1;
    }
    return 0;
}

/* A scratch disk is ext4. An image that wants one cannot do without; any other that has
 * an overlay gets one when a profile asks for it, if its kernel can. */
static int scratch_modules(const struct build *b, const struct words *early,
                           struct err *err)
{
    char ext4_name[] = "ext4", *ext4_list[] = {ext4_name, NULL};
    const struct words ext4 = {.item = ext4_list, .count = 1};
    const char *mode = b->def->root_mode;
    struct err why = {0};
    if (b->def->kind != IMAGE_GUEST || !strcmp(mode, "plain") ||
        numbered(b, &ext4, early, "/usr/lib/lodge/scratch", &why) == 0 ||
        (why.code == E_NOENT && strcmp(mode, "scratch") != 0))
        return 0;
    *err = why;
    return -1;
}

int step_modules(struct build *b, struct err *err)
{
    if (!b->kernel)
        return 0;
    struct words early = {0};
    if (kernel_modules(b->kernel, &b->def->initramfs, &early, err) < 0)
        return -1;
    int r = numbered(b, &b->def->load, &early, "/usr/lib/lodge/modules", err);
    if (r == 0)
        r = scratch_modules(b, &early, err);
    modules_free(&early);
    return r < 0 || !b->def->modules.count ? r : copy_modules(b, err);
}

/* ---- files, units, programs ------------------------------------------------------ */

static int put_file(struct build *b, const struct image_file *f, struct err *err)
{
    if (f->target) {
        const char *leaf;
        AUTO_FD dir = open_parent(b, f->path, true, &leaf, err);
        if (dir < 0)
            return -1;
        unlinkat(dir, leaf, 0);
        return symlinkat(f->target, dir, leaf) < 0 ? err_sys(err, "link '%s'", f->path)
                                                   : 0;
    }
    if (!f->source)
        return write_inside(b, f->path, f->content, strlen(f->content), f->mode, f->uid,
                            f->gid, err);
    const char *slash = strrchr(b->def->path, '/');
    AUTO_STR from = *f->source == '/' || !slash
                        ? strdup(f->source)
                        : str_printf("%.*s/%s", (int)(slash - b->def->path),
                                     b->def->path, f->source);
    if (!from)
        return err_oom(err);
    return copy_inside(b, from, f->path, f->mode, f->uid, f->gid, err);
}

int step_files(struct build *b, struct err *err)
{
    for (size_t i = 0; i < b->def->nfiles; i++)
        if (put_file(b, &b->def->files[i], err) < 0)
            return err_at(err, "file '%s'", b->def->files[i].path);
    return 0;
}

int step_units(struct build *b, struct err *err)
{
    const struct {
        const char *verb;
        const struct words *units;
    } all[] = {{"enable", &b->def->enable},
               {"disable", &b->def->disable},
               {"mask", &b->def->mask}};
    AUTO_STR root = str_printf("--root=%s", b->root);
    if (!root)
        return err_oom(err);
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        for (size_t n = 0; n < all[i].units->count; n++)
            if (RUN(&b->run, err, "systemctl", root, "--quiet", all[i].verb,
                    all[i].units->item[n]) < 0)
                return -1;
    return 0;
}

static int in_root(struct build *b, const struct words *program, struct err *err)
{
    const char *argv[64] = {"chroot", b->root};
    if (program->count > ARRAY_SIZE(argv) - 3)
        return err_set(err, E_INPUT, "<run> '%s' has too many words", program->item[0]);
    for (size_t i = 0; i < program->count; i++)
        argv[2 + i] = program->item[i];
    const char *const env[] = {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/root",
        "LC_ALL=C.UTF-8",
        "DEBIAN_FRONTEND=noninteractive",
        "SOURCE_DATE_EPOCH=" BUILD_EPOCH_TEXT,
        NULL};
    const struct run run = {.log = b->run.log, .env = env};
    return run_tool(&run, -1, -1, argv, err);
}

int step_run(struct build *b, struct err *err)
{
    if (!b->def->nrun)
        return 0;
    AUTO_STR proc = str_printf("%s/proc", b->root);
    AUTO_STR dev = str_printf("%s/dev", b->root);
    if (!proc || !dev)
        return err_oom(err);
    if (mount("proc", proc, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ||
        mount("/dev", dev, NULL, MS_BIND | MS_REC, NULL) < 0)
        return err_sys(err, "mount /proc and /dev for <run>");
    int r = 0;
    for (size_t i = 0; i < b->def->nrun && r == 0; i++)
        r = in_root(b, &b->def->run[i], err);
    if (umount2(dev, MNT_DETACH) < 0 || umount2(proc, MNT_DETACH) < 0)
        return r < 0 ? -1 : err_sys(err, "unmount /proc and /dev");
    return r;
}

/* ---- what every image gets ------------------------------------------------------- */

/* A node gets this very build of Lodge: what is not there (configured out) is not. */
static int put_node_programs(struct build *b, struct err *err)
{
    static const char *const programs[] = {"lodge-agent",  "lodge-vmm",
                                           "lodge-join",   "lodge-exec",
                                           "lodge-stage1", "lodge-guest"};
    for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
        AUTO_STR from = dirs_path(DIRS_LIBEXEC, "%s", programs[i]);
        AUTO_STR to = str_printf("/usr/libexec/lodge/%s", programs[i]);
        if (!from || !to)
            return err_oom(err);
        if (access(from, R_OK) == 0 && copy_inside(b, from, to, 0755, 0, 0, err) < 0)
            return -1;
    }
    return copy_inside(b, "/proc/self/exe", "/usr/bin/lodge", 0755, 0, 0, err);
}

int step_guest(struct build *b, struct err *err)
{
    AUTO_STR guest = dirs_path(DIRS_LIBEXEC, "lodge-guest");
    AUTO_STR about = str_printf("NAME=%s\nVERSION=%s\n", b->def->name, b->def->version);
    if (!guest || !about)
        return err_oom(err);
    if (b->def->kind == IMAGE_GUEST &&
        copy_inside(b, guest, "/usr/lib/lodge/lodge-guest", 0755, 0, 0, err) < 0)
        return err_at(err, "LODGE_LIBEXEC_DIR names where lodge-guest is");
    if (b->def->kind == IMAGE_HOST && put_node_programs(b, err) < 0)
        return -1;
    return write_inside(b, "/usr/lib/lodge/image", about, strlen(about), 0644, 0, 0,
                        err);
}
