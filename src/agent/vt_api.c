/* SPDX-License-Identifier: Apache-2.0 */
/* Loading libvirt, and its daemon where no init starts it. In workers only. */
#include "agent/vt_api.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "agent/parts.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/proc.h"
#include "base/str.h"
#include "node/node.h"

#define SOCKET      "/run/libvirt/libvirt-sock"
#define QEMU_SOCKET "/run/libvirt/virtqemud-sock"
enum { START_MS = 30000 };

static void quiet(void *arg, virErrorPtr error)
{
}

const struct vt_api *vt_api(struct err *err)
{
    static struct vt_api api; /* a worker's: filled once */
    if (api.virConnectOpen)
        return &api;
    void *lib = dlopen("libvirt.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        err_set(err, E_UNAVAIL,
                "libvirt is not installed; install libvirt-daemon-system");
        return NULL;
    }
#define X(fn)                                                                          \
    if (!(api.fn = (__typeof__(api.fn))dlsym(lib, #fn))) {                             \
        err_set(err, E_UNAVAIL, "libvirt has no %s", #fn);                             \
        api.virConnectOpen = NULL;                                                     \
        return NULL;                                                                   \
    }
    VT_API(X)
#undef X
    api.virSetErrorFunc(NULL, quiet);
    return &api;
}

int vt_error(struct err *err, const char *what)
{
    const struct vt_api *v = vt_api(NULL);
    virErrorPtr e = v ? v->virGetLastError() : NULL;
    enum err_code code = E_FAIL;
    if (e && e->code == VIR_ERR_NO_DOMAIN)
        code = E_NOENT;
    else if (e && (e->code == VIR_ERR_AUTH_FAILED || e->code == VIR_ERR_ACCESS_DENIED))
        code = E_PERM;
    return err_set(err, code, "libvirt: %s: %s", what,
                   e && e->message ? e->message : "unknown error");
}

/* --- the daemon ------------------------------------------------------------------------ */

static bool answers(const char *path)
{
    AUTO_FD fd = fd_unix_connect(path, NULL);
    return fd >= 0;
}

struct view {
    bool hide_cgroup2, hide_kvm;
    pid_t agent;
};
#define OLD_DEV "/run/lodge-dev"

/* One entry of /dev, again. */
static int copy_node(const char *name)
{
    AUTO_STR from = str_printf(OLD_DEV "/%s", name);
    AUTO_STR to = str_printf("/dev/%s", name);
    struct stat st;
    char link[256];
    if (!from || !to || lstat(from, &st) < 0)
        return -1;
    if (S_ISDIR(st.st_mode))
        return mkdir(to, 0755) < 0 || mount(from, to, NULL, MS_BIND | MS_REC, NULL) < 0
                   ? -1
                   : 0;
    if (S_ISLNK(st.st_mode)) {
        ssize_t n = readlink(from, link, sizeof link - 1);
        link[n > 0 ? n : 0] = '\0';
        return n > 0 ? symlink(link, to) : -1;
    }
    if (mknod(to, st.st_mode, st.st_rdev) < 0 || lchown(to, st.st_uid, st.st_gid) < 0)
        return -1;
    return chmod(to, st.st_mode & 07777);
}

/* A /dev without kvm. (A file mounted on it would be in the way of libvirt, which makes
 * a /dev of its own for each machine from this one.) */
static int dev_without_kvm(void)
{
    if ((mkdir(OLD_DEV, 0700) < 0 && errno != EEXIST) ||
        mount("/dev", OLD_DEV, NULL, MS_BIND | MS_REC, NULL) < 0 ||
        mount("lodge-dev", "/dev", "tmpfs", MS_NOSUID, "mode=0755") < 0)
        return -errno;
    DIR *d = opendir(OLD_DEV);
    for (struct dirent *e; d && (e = readdir(d));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") &&
            strcmp(e->d_name, "kvm"))
            copy_node(e->d_name);
    if (d)
        closedir(d);
    umount2(OLD_DEV, MNT_DETACH);
    return 0;
}

/* In the child: the daemon's own view of the host. */
static int own_view(void *arg)
{
    const struct view *v = arg;
    /* The worker is in some VM's control groups: the daemon serves them all. */
    cgroup_follow(v->agent);
    if (!v->hide_cgroup2 && !v->hide_kvm)
        return 0;
    if (unshare(CLONE_NEWNS) < 0 ||
        mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return -errno;
    if (v->hide_cgroup2)
        umount2("/sys/fs/cgroup/unified", MNT_DETACH);
    return v->hide_kvm ? dev_without_kvm() : 0;
}

/* With control groups of both versions mounted, libvirt 9's containers fail on the
 * second. With a /dev/kvm that runs no Linux, it asks QEMU again about its features
 * before every start, which takes a minute and a half. */
static struct view judge_view(void)
{
    struct view v = {0};
    struct stat st;
    v.hide_cgroup2 = stat("/sys/fs/cgroup/unified", &st) == 0 &&
                     stat("/sys/fs/cgroup/memory", &st) == 0;
    AUTO(node_facts) facts = NULL;
    v.hide_kvm =
        stat("/dev/kvm", &st) == 0 &&
        node_facts_probe_some(1u << NODE_PROBE_KVM, NODE_PROBE_MS, &facts, NULL) == 0 &&
        !node_can_kvm(facts);
    return v;
}

static int start_daemon(const char *program, struct err *err)
{
    /* They end by themselves when nobody needs them. */
    const char *const argv[] = {program, "-d", "--timeout", "120", NULL};
    const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
                               NULL};
    struct view view = judge_view();
    view.agent = getppid();
    struct proc_spec spec = {.argv = argv,
                             .env = env,
                             .cwd = "/",
                             .new_session = true,
                             .in_child = own_view,
                             .arg = &view};
    AUTO_STR out = NULL;
    if (proc_run(&spec, START_MS, &out, err) < 0)
        return err_at(err, "start %s", program);
    return 0;
}

static int ensure(const char *program, const char *socket, struct err *err)
{
    if (answers(socket))
        return 0;
    /* Somebody else may be starting it too: what counts is that it answers. */
    struct err why = {0};
    int r = start_daemon(program, &why);
    for (uint64_t end = clock_ms() + (r < 0 ? 1000 : START_MS); !answers(socket);) {
        if (clock_ms() > end)
            return err_set(err, E_UNAVAIL, "%s does not answer%s%s", program,
                           *why.text ? ": " : "", why.text);
        usleep(20000);
    }
    return 0;
}

static int ensure_daemon(struct err *err)
{
    if (geteuid() != 0 || answers(QEMU_SOCKET))
        return 0;
    if (sd_booted() > 0)
        return 0; /* systemd starts it by its socket, or somebody has switched it off */
    AUTO_FD lock = open("/run/lodge-libvirtd.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock >= 0 && lockf(lock, F_LOCK, 0) < 0)
        return err_sys(err, "'/run/lodge-libvirtd.lock'");
    if (fd_mkdirs("/var/log/libvirt/qemu", 0755, err) < 0 ||
        ensure("virtlogd", "/run/libvirt/virtlogd-sock", err) < 0)
        return -1;
    return ensure("libvirtd", SOCKET, err);
}

virConnectPtr vt_connect(const char *uri, struct err *err)
{
    const struct vt_api *v = vt_api(err);
    if (!v || ensure_daemon(err) < 0)
        return NULL;
    virConnectPtr conn = v->virConnectOpen(uri);
    if (!conn)
        vt_error(err, uri);
    return conn;
}

int vt_join_daemon(struct err *err)
{
    if (ensure_daemon(err) < 0)
        return -1;
    AUTO_FD fd = fd_unix_connect(SOCKET, err);
    struct ucred cred;
    socklen_t len = sizeof cred;
    char path[40];
    if (fd < 0)
        return -1;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return err_sys(err, "libvirtd");
    snprintf(path, sizeof path, "/proc/%d/ns/mnt", (int)cred.pid);
    AUTO_FD ns = open(path, O_RDONLY | O_CLOEXEC);
    /* With a socket of systemd's the peer is pid 1: the namespace is the host's. */
    if (ns < 0 || setns(ns, CLONE_NEWNS) < 0)
        return err_sys(err, "mount namespace of libvirtd");
    return 0;
}
