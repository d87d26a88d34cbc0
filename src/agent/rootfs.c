/* SPDX-License-Identifier: Apache-2.0 */
/* Mounts below DIR: base (the image by a loop device), over (tmpfs), root (overlay). */
#include "agent/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/parts.h"
#include "base/dirs.h"
#include "base/fd.h"
#include "base/str.h"

/* A read-only loop device that goes away with its last user. The descriptor in *fd must
 * stay open until it is mounted. */
static int attach_loop(const char *file, char *dev, size_t size, int *fd,
                       struct err *err)
{
    AUTO_FD back = open(file, O_RDONLY | O_CLOEXEC);
    AUTO_FD control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (back < 0)
        return err_sys(err, "'%s'", file);
    if (control < 0)
        return err_sys(err, "'/dev/loop-control'");
    for (int i = 0; i < 64; i++) {
        int n = ioctl(control, LOOP_CTL_GET_FREE);
        if (n < 0)
            return err_sys(err, "no loop device is free");
        snprintf(dev, size, "/dev/loop%d", n);
        AUTO_FD loop = open(dev, O_RDWR | O_CLOEXEC);
        if (loop < 0)
            return err_sys(err, "'%s'", dev);
        struct loop_config config = {
            .fd = back, .info = {.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR}};
        if (ioctl(loop, LOOP_CONFIGURE, &config) == 0) {
            *fd = move_fd(loop);
            return 0;
        }
        if (errno != EBUSY)
            return err_sys(err, "'%s'", dev);
    }
    return err_set(err, E_BUSY, "no loop device could be had");
}

static int make_dir(const char *path, struct err *err)
{
    return mkdir(path, 0755) < 0 && errno != EEXIST ? err_sys(err, "'%s'", path) : 0;
}

static int mount_base(const struct image *image, const char *at, struct err *err)
{
    char dev[32];
    AUTO_FD loop = -1;
    if (attach_loop(image->root, dev, sizeof dev, &loop, err) < 0)
        return -1;
    if (mount(dev, at, image->root_format, MS_RDONLY | MS_NODEV, NULL) < 0)
        return err_sys(err, "mount image '%s'", image->name);
    return 0;
}

static int copy_file(const char *from, const char *to, struct err *err)
{
    enum { PROGRAM_MAX = 64 << 20 };
    AUTO_STR data = NULL;
    size_t len;
    if (fd_read_file(from, PROGRAM_MAX, &data, &len, err) < 0)
        return -1;
    AUTO_FD out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0755);
    if (out < 0)
        return err_sys(err, "'%s'", to);
    return fd_write_all(out, data, len, err);
}

/* The program that the container starts: ours of today, whatever the image has. */
static int rootfs_guest(struct vt_run *r, const struct plan *plan, struct err *err)
{
    AUTO_STR ours = dirs_path(DIRS_LIBEXEC, "lodge-guest");
    AUTO_STR dir = str_printf("%s/usr/lib/lodge", plan->root_dir);
    AUTO_STR program = str_printf("%s/usr/lib/lodge/lodge-guest", plan->root_dir);
    AUTO_STR host = str_printf("%s/.lodge", plan->root_dir);
    if (!ours || !dir || !program || !host)
        return err_oom(err);
    if (fd_mkdirs(dir, 0755, err) < 0 || fd_mkdirs(host, 0755, err) < 0)
        return -1;
    return copy_file(ours, program, err);
}

int rootfs_mount(struct vt_run *r, const struct plan *plan, struct err *err)
{
    AUTO_STR base = str_printf("%s/base", r->dir);
    AUTO_STR over = str_printf("%s/over", r->dir);
    AUTO_STR upper = str_printf("%s/over/up", r->dir);
    AUTO_STR work = str_printf("%s/over/work", r->dir);
    AUTO_STR options =
        str_printf("lowerdir=%s/base,upperdir=%s/over/up,workdir=%s/over/work", r->dir,
                   r->dir, r->dir);
    if (!base || !over || !upper || !work || !options)
        return err_oom(err);
    if (!r->image->root || !strcmp(r->image->root_format, "none") ||
        !strcmp(r->image->root_format, "raw") ||
        !strcmp(r->image->root_format, "qcow2"))
        return err_set(err, E_INPUT, "image '%s' has no file system for a container",
                       r->image->name);
    if (rootfs_unmount(r, err) < 0 || make_dir(base, err) < 0 ||
        make_dir(over, err) < 0 || make_dir(plan->root_dir, err) < 0 ||
        mount_base(r->image, base, err) < 0)
        return -1;
    char size[64];
    snprintf(size, sizeof size, "mode=0755,size=%llu",
             (unsigned long long)r->profile->memory_bytes);
    if (mount("lodge", over, "tmpfs", MS_NOSUID | MS_NODEV, size) < 0)
        return err_sys(err, "mount '%s'", over);
    if (make_dir(upper, err) < 0 || make_dir(work, err) < 0)
        return -1;
    /* Its root is the host's: nobody becomes it in there. */
    if (mount("overlay", plan->root_dir, "overlay", MS_NODEV | MS_NOSUID, options) < 0)
        return err_sys(err, "mount '%s'", plan->root_dir);
    return rootfs_guest(r, plan, err) < 0 ? -1 : share_mount(r, plan, err);
}

/* As often as it was mounted. Gives what umount2() said last. */
static int unmount_all(const char *path)
{
    while (umount2(path, UMOUNT_NOFOLLOW | MNT_DETACH) == 0)
        ;
    return errno;
}

int rootfs_unmount(struct vt_run *r, struct err *err)
{
    static const char *const at[] = {"root", "over", "base"};
    int code = EINVAL;
    for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
        AUTO_STR path = str_printf("%s/%s", r->dir, at[i]);
        if (!path)
            return err_oom(err);
        if ((code = unmount_all(path)) != EINVAL && code != ENOENT)
            return err_sys(err, "unmount '%s'", path);
    }
    /* Without its profile, too: until there is no such directory. */
    code = EINVAL;
    for (size_t i = 0; code == EINVAL; i++) {
        AUTO_STR path = str_printf("%s/share%zu", r->dir, i);
        if (!path)
            return err_oom(err);
        if ((code = unmount_all(path)) != EINVAL && code != ENOENT)
            return err_sys(err, "unmount '%s'", path);
    }
    return 0;
}
