/* SPDX-License-Identifier: Apache-2.0 */
/* Shares: one virtiofsd each, with the owner's ids, sandboxed as far as that allows; it
 * outlives the agent and ends with the VM. Containers bind-mount instead. Either way the
 * directory is opened once, as the owner, looked at, and then mounted where nobody but
 * root can change what its path means. */
#include "agent/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/owner.h"
#include "agent/plan.h"
#include "agent/stage.h"
#include "agent/vt_xml.h"
#include "base/conf.h"
#include "base/fd.h"
#include "base/str.h"
#include "proto/rpc.h"

enum { SETTLE_MS = 30 };

/* Does `real` lie below one of the directories of this list? */
static bool is_below(const char *real, const char *list)
{
    for (const char *at = list; *at;) {
        size_t len = strcspn(at, ":"), n = len;
        while (n > 1 && at[n - 1] == '/')
            n--;
        if (*at == '/' && !strncmp(real, at, n) &&
            (n == 1 || !real[n] || real[n] == '/'))
            return true;
        at += len + (at[len] == ':');
    }
    return false;
}

/* The directory, opened with the rights of whoever calls; -errno. Nothing is asked by
 * its path after this: that may be another's by then. */
static int open_allowed(const char *source, const char *list)
{
    char link[40], real[PATH_MAX];
    int fd = open(source, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, real, sizeof real - 1);
    real[n > 0 ? n : 0] = '\0';
    if (n > 0 && is_below(real, list))
        return fd;
    close(fd);
    return -EPERM;
}

/* The opened directory at `at` too, with more that may not be done there; -errno. */
static int bind_at(int fd, const char *at, bool whole, uint64_t attrs)
{
    char from[40];
    struct mount_attr a = {.attr_set = attrs};
    snprintf(from, sizeof from, "/proc/self/fd/%d", fd);
    if (mount(from, at, NULL, MS_BIND | (whole ? MS_REC : 0), NULL) < 0)
        return -errno;
    return a.attr_set && mount_setattr(AT_FDCWD, at, AT_RECURSIVE, &a, sizeof a) < 0
               ? -errno
               : 0;
}

/* The site says in lodge.conf ("shares") below which directories shares may lie. */
static int refuse(const char *source, int code, const char *list, struct err *err)
{
    if (code == -EPERM)
        return err_set(err, E_PERM,
                       "share '%s': this site allows only what lies below '%s' (shares "
                       "in lodge.conf)",
                       source, list);
    errno = -code;
    return err_sys(err, "share '%s'", source);
}

static int open_as_owner(const struct vt_run *r, const char *source, const char *list,
                         struct err *err)
{
    struct owner_was was;
    if (owner_enter(r->vm->uid, r->vm->gid, &was, err) < 0)
        return -1;
    int fd = open_allowed(source, list);
    owner_leave(&was);
    return fd < 0 ? refuse(source, fd, list, err) : fd;
}

static const char *program(void)
{
    static const char *const at[] = {"/usr/libexec/virtiofsd",
                                     "/usr/lib/qemu/virtiofsd", "/usr/lib/virtiofsd"};
    for (size_t i = 0; i < ARRAY_SIZE(at); i++)
        if (access(at[i], X_OK) == 0)
            return at[i];
    return NULL;
}

/* --- virtiofsd's view ---------------------------------------------------------------- */

struct jail {
    const char *source, *at, *list;
    bool readonly;
    char uid_map[40], gid_map[40];
    int helper; /* of root's agent: writes the maps when it is told to; -1: none */
};

static int put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = write(fd, text, strlen(text));
    int r = n < 0 ? -errno : 0;
    close(fd);
    return r;
}

/* All that its own user namespace allows, kept over exec: it means something only for
 * files of the owner. */
static int keep_caps(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &head, data) < 0)
        return -errno;
    for (int i = 0; i < 2; i++)
        data[i].inheritable = data[i].permitted;
    if (syscall(SYS_capset, &head, data) < 0)
        return -errno;
    for (int cap = 0; cap < 64; cap++)
        if (data[cap / 32].permitted & 1u << cap % 32)
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
    return 0;
}

/* virtiofsd gives its groups up, which nobody may in a user namespace of an ordinary
 * user; they are the owner's, so it shall keep them: setgroups() does nothing, well. */
static int keep_groups(void)
{
    static struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setgroups, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    static const struct sock_fprog filter = {.len = ARRAY_SIZE(code), .filter = code};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0 ? -errno : 0;
}

/* Gives the process its ids in its namespace. */
static int put_maps(const struct jail *j, pid_t pid)
{
    static const char *const files[] = {"setgroups", "uid_map", "gid_map"};
    const char *const texts[] = {"deny", j->uid_map, j->gid_map};
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(files) && r == 0; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, files[i]);
        r = put(path, texts[i]);
    }
    return r;
}

/* In the child while it is root's: somebody must write its maps when it is not. It could
 * itself, were it dumpable; but then its owner could look into this copy of our memory. */
static int start_helper(void *arg)
{
    struct jail *j = arg;
    int pair[2], r;
    pid_t child = getpid(), pid;
    if (!*j->uid_map || geteuid() != 0)
        return 0;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        close(pair[1]);
        if (read(pair[0], &r, sizeof r) == sizeof r) {
            r = put_maps(j, child);
            if (write(pair[0], &r, sizeof r) < 0)
                _exit(1);
        }
        _exit(0);
    }
    close(pair[0]);
    j->helper = pair[1];
    return 0;
}

static int ask_helper(const struct jail *j)
{
    int r = 0;
    if (write(j->helper, &r, sizeof r) != sizeof r ||
        read(j->helper, &r, sizeof r) != sizeof r)
        r = -EIO;
    close(j->helper);
    /* Nobody else's child: gone before virtiofsd is there. */
    while (wait(NULL) < 0 && errno == EINTR)
        ;
    return r;
}

/* In the child, which is the owner: a namespace in which it may chroot and mount, but
 * where only the owner exists. Root's own needs none. */
static int enter(void *arg)
{
    struct jail *j = arg;
    if (unshare(geteuid() ? CLONE_NEWUSER | CLONE_NEWNS : CLONE_NEWNS) < 0)
        return -errno;
    int r = 0;
    if (*j->uid_map && (r = j->helper < 0 ? put_maps(j, getpid()) : ask_helper(j)) < 0)
        return r;
    if (mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return -errno;
    int dir = open_allowed(j->source, j->list);
    if (dir < 0)
        return dir;
    if ((r = bind_at(dir, j->at, true, j->readonly ? MOUNT_ATTR_RDONLY : 0)) < 0)
        return r;
    close(dir);
    if (!*j->uid_map)
        return 0;
    return (r = keep_groups()) < 0 ? r : keep_caps();
}

/* Where share i is mounted: root's alone to change. */
static char *mount_point(const struct vt_run *r, size_t i, struct err *err)
{
    char *at = str_printf("%s/share%zu", r->dir, i);
    if (!at)
        err_oom(err);
    else if (mkdir(at, 0755) == 0 || errno == EEXIST)
        return at;
    else
        err_sys(err, "'%s'", at);
    free(at);
    return NULL;
}

static int serve(struct vt_run *r, const struct plan_share *s, size_t i,
                 const char *list, struct err *err)
{
    const char *fsd = program();
    if (!fsd)
        return err_set(err, E_UNAVAIL,
                       "virtiofsd is not installed; on Debian: "
                       "apt-get install qemu-system-common");
    char leaf[16];
    snprintf(leaf, sizeof leaf, "fs%zu", i);
    AUTO_STR at = mount_point(r, i, err);
    AUTO_STR source = at ? str_printf("source=%s", at) : NULL;
    if (!source)
        return at ? err_oom(err) : -1;
    unlink(s->socket);
    /* Made by us: virtiofsd's own way wants to write below /run. */
    AUTO_FD listen = fd_unix_listen(s->socket, 0600, err);
    if (listen < 0)
        return -1;
    if (geteuid() == 0 && chown(s->socket, r->vm->uid, r->vm->gid) < 0)
        return err_sys(err, "'%s'", s->socket);
    struct jail jail = {.source = s->source,
                        .at = at,
                        .list = list,
                        .readonly = s->readonly,
                        .helper = -1};
    if (r->vm->uid || geteuid()) {
        snprintf(jail.uid_map, sizeof jail.uid_map, "%u %u 1", (unsigned)r->vm->uid,
                 (unsigned)r->vm->uid);
        snprintf(jail.gid_map, sizeof jail.gid_map, "%u %u 1", (unsigned)r->vm->gid,
                 (unsigned)r->vm->gid);
    }
    const char *const argv[] = {
        fsd, "--fd=3", "-o", source, "-o", "sandbox=chroot", "-o", "cache=auto", NULL};
    struct stage_proc p = {.leaf = leaf,
                           .argv = argv,
                           .fds = &listen,
                           .nfds = 1,
                           .cwd = "/",
                           .before_ids = start_helper,
                           .in_child = enter,
                           .arg = &jail};
    if (stage_spawn(r, &p, NULL, err) < 0)
        return err_at(err, "share '%s'", s->source);
    return stage_settle(r, leaf, SETTLE_MS, err);
}

int share_make(struct vt_run *r, struct err *err)
{
    AUTO(plan) plan = NULL;
    AUTO(conf) conf = NULL;
    const struct vt_dialect *d = vt_dialect_of(r->profile->type);
    if (!r->profile->share_count || r->profile->type == PROFILE_FAKE)
        return 0;
    if (plan_make(r->vm, r->image, r->dir, &plan, err) < 0 ||
        conf_load(NULL, &conf, err) < 0)
        return -1;
    const char *list = conf_text(conf, CONF_SHARES);
    AUTO_JSON mounts = json_array();
    for (size_t i = 0; i < plan->nshares; i++) {
        const struct plan_share *s = &plan->shares[i];
        AUTO_FD fd = open_as_owner(r, s->source, list, err);
        if (fd < 0)
            return -1;
        if (d && d->container)
            continue; /* share_mount() where libvirtd sees it */
        if (serve(r, s, i, list, err) < 0)
            return -1;
        json_array_append_new(mounts, json_pack("{s:s, s:s, s:s, s:b}", "tag", s->tag,
                                                "target", s->target, "type", "virtiofs",
                                                "readonly", s->readonly));
    }
    return json_object_set(r->vt, "mounts", mounts);
}

int share_clear(struct vt_run *r, struct err *err)
{
    for (size_t i = 0; i < r->profile->share_count; i++) {
        char leaf[16];
        snprintf(leaf, sizeof leaf, "fs%zu", i);
        if (stage_kill(r, leaf, err) < 0)
            return -1;
    }
    return 0;
}

int share_mount(struct vt_run *r, const struct plan *plan, struct err *err)
{
    AUTO(conf) conf = NULL;
    if (conf_load(NULL, &conf, err) < 0)
        return -1;
    for (size_t i = 0; i < plan->nshares; i++) {
        const struct plan_share *s = &plan->shares[i];
        AUTO_STR at = mount_point(r, i, err);
        AUTO_FD fd =
            at ? open_as_owner(r, s->source, conf_text(conf, CONF_SHARES), err) : -1;
        if (fd < 0)
            return -1;
        /* Nobody becomes root by a file that lies there. */
        int bad = bind_at(fd, at, false,
                          MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                              (s->readonly ? MOUNT_ATTR_RDONLY : 0));
        if (bad < 0) {
            errno = -bad;
            return err_sys(err, "share '%s'", s->source);
        }
    }
    return 0;
}
