/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that are made for a VM, and the owner's right to what a profile names. */
#include "agent/parts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/owner.h"
#include "agent/plan.h"
#include "agent/snap.h"
#include "base/dirs.h"
#include "base/fd.h"
#include "base/proc.h"
#include "base/str.h"

enum { MKFS_MS = 60000 };
#define SCRATCH_DEFAULT (8ull << 30)

static int make_file(struct vt_run *r, const char *path, uint64_t size, struct err *err)
{
    AUTO_FD fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_sys(err, "disk '%s'", path);
    if (ftruncate(fd, size) < 0 ||
        (geteuid() == 0 && fchown(fd, r->vm->uid, r->vm->gid) < 0))
        return err_sys(err, "disk '%s'", path);
    return 0;
}

static int make_scratch(struct vt_run *r, const struct plan_disk *d, struct err *err)
{
    uint64_t size =
        r->profile->scratch_bytes ? r->profile->scratch_bytes : SCRATCH_DEFAULT;
    if (make_file(r, d->path, size, err) < 0)
        return -1;
    const char *const argv[] = {"mke2fs",
                                "-F",
                                "-q",
                                "-t",
                                "ext4",
                                "-O",
                                "^has_journal",
                                "-E",
                                "lazy_itable_init=1,nodiscard",
                                "-L",
                                "lodge-scratch",
                                d->path,
                                NULL};
    struct proc_spec spec = {.argv = argv};
    return proc_run(&spec, MKFS_MS, NULL, err);
}

int scratch_make(struct vt_run *r, struct err *err)
{
    AUTO(plan) plan = NULL;
    AUTO_STR dir = dirs_path(DIRS_STATE, "scratch");
    AUTO_STR scratch = plan_scratch_path(r->vm);
    if (!dir || !scratch)
        return err_oom(err);
    if (access_check(r, err) < 0 || plan_make(r->vm, r->image, r->dir, &plan, err) < 0)
        return -1;
    size_t own = 0;
    for (size_t i = 0; i < plan->ndisks; i++) {
        const struct plan_disk *d = &plan->disks[i];
        AUTO_STR empty = plan_disk_path(r->vm, d->serial);
        /* By its very name: what a profile names is made by nobody. */
        bool is_scratch = !strcmp(d->path, scratch);
        if (!is_scratch && (!empty || strcmp(d->path, empty)))
            continue;
        /* 0711: QEMU, as the owner, must reach its own by name. */
        if (own++ == 0 && (fd_mkdirs(dir, 0711, err) < 0 || chmod(dir, 0711) < 0))
            return err_sys(err, "'%s'", dir);
        if (r->snap) {
            if (make_file(r, d->path, 0, err) < 0 ||
                snap_disk_back(r->snap, d->serial, d->path, err) < 0)
                return -1;
            continue;
        }
        if (is_scratch) {
            if (make_scratch(r, d, err) < 0)
                return -1;
            continue;
        }
        for (size_t k = 0; k < r->profile->disk_count; k++)
            if (!strcmp(r->profile->disks[k].id, d->serial) &&
                make_file(r, d->path, r->profile->disks[k].size_bytes, err) < 0)
                return -1;
    }
    return 0;
}

/* All files of this VM, also of an earlier profile. */
int scratch_clear(struct vt_run *r, struct err *err)
{
    AUTO_STR dir = dirs_path(DIRS_STATE, "scratch");
    DIR *d = dir ? opendir(dir) : NULL;
    int ret = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        AUTO_STR path = str_printf("%s/%s", dir, e->d_name);
        if (!strncmp(e->d_name, r->vm->id, VM_ID_LEN) && path && unlink(path) < 0 &&
            errno != ENOENT)
            ret = err_sys(err, "'%s'", path);
    }
    if (d)
        closedir(d);
    return ret;
}

/* --- what the owner may ---------------------------------------------------------------- */

struct named {
    const char *what, *path;
    bool write, dir;
};

static int open_as_owner(const struct named *n, struct err *err)
{
    int flags = (n->write ? O_RDWR : O_RDONLY) | (n->dir ? O_DIRECTORY : 0) |
                O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    AUTO_FD fd = open(n->path, flags);
    if (fd < 0)
        return err_sys(err, "%s '%s'", n->what, n->path);
    return 0;
}

/* Open all that the profile names, in a process that is the owner. */
static int try_all(struct vt_run *r, struct err *err)
{
    const struct profile *p = r->profile;
    for (size_t i = 0; i < p->disk_count; i++) {
        struct named n = {"disk", p->disks[i].path, !p->disks[i].readonly, false};
        if (n.path && open_as_owner(&n, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < p->share_count; i++) {
        struct named n = {"share", p->shares[i].source, false, true};
        if (open_as_owner(&n, err) < 0)
            return -1;
    }
    const struct named others[] = {{"kernel", p->kernel, false, false},
                                   {"initrd", p->initrd, false, false},
                                   {"cdrom", p->cdrom, false, false},
                                   {"image", p->image, false, false}};
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        if (others[i].path && *others[i].path == '/' &&
            open_as_owner(&others[i], err) < 0)
            return -1;
    return 0;
}

int access_check(struct vt_run *r, struct err *err)
{
    struct owner_was was;
    if (owner_enter(r->vm->uid, r->vm->gid, &was, err) < 0)
        return -1;
    int ret = try_all(r, err);
    owner_leave(&was);
    return ret;
}
