/* SPDX-License-Identifier: Apache-2.0 */
/* Types kvm, qemu, xen, xenhvm and lxc: one set of verbs, rows that differ in text. The
 * domain is transient, so libvirt keeps nothing after its end. In workers only. */
#include "agent/vt.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/owner.h"
#include "agent/parts.h"
#include "agent/plan.h"
#include "agent/rootfs.h"
#include "agent/vt_api.h"
#include "agent/vt_domain.h"
#include "agent/vt_xml.h"
#include "base/fd.h"
#include "base/proc.h"
#include "base/str.h"

enum { ANSWER_MS = 20000 };

const char *vt_domain_uri(const struct vt_run *r)
{
    return geteuid() == 0 ? r->ops->uri : r->ops->user_uri;
}

void vt_domain_name(const struct vt_run *r, char name[32])
{
    snprintf(name, 32, "lodge-%s", r->vm->id);
}

static int check(const struct profile *p, struct err *err)
{
    const struct vt_dialect *d = vt_dialect_of(p->type);
    const struct vt_ops *ops = vt_find(p->type);
    if (geteuid() != 0 && !ops->user_uri)
        return err_set(err, E_PERM, "type '%s' needs an agent that runs as root",
                       ops->name);
    for (size_t i = 0; i < p->nic_count; i++)
        if (p->nics[i].type == PROFILE_NIC_USER && !d->user_nic)
            return err_set(err, E_INPUT,
                           "type '%s' has no nic of type 'user'; use "
                           "'isolated', 'tap-nat' or 'bridged-tap'",
                           ops->name);
    if (p->share_count && !d->memfd && !d->container)
        return err_set(err, E_INPUT, "type '%s' cannot share directories", ops->name);
    if (d->container && p->device_count)
        return err_set(err, E_INPUT, "type 'lxc' passes no devices through");
    for (size_t i = 0; i < p->device_count; i++)
        if (!p->devices[i].address)
            return err_set(err, E_INPUT,
                           "type '%s' wants the address of a device, not its class",
                           ops->name);
    return 0;
}

/* --- who is the VM's process ------------------------------------------------------------ */

static bool is_qemu_of(pid_t pid, const char *name)
{
    char path[40];
    AUTO_STR line = NULL;
    size_t len;
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    if (fd_read_file(path, 1 << 20, &line, &len, NULL) < 0)
        return false;
    AUTO_STR want = str_printf("guest=%s,", name);
    bool qemu = strstr(line, "qemu") != NULL;
    for (char *arg = line; want && qemu && arg < line + len; arg += strlen(arg) + 1)
        if (str_starts(arg, want))
            return true;
    return false;
}

static pid_t read_pid(const char *path)
{
    AUTO_STR text = NULL;
    if (fd_read_file(path, 64, &text, NULL, NULL) < 0)
        return 0;
    long pid = strtol(text, NULL, 10);
    return pid > 1 ? pid : 0;
}

static pid_t qemu_pid(const char *name)
{
    char path[96];
    snprintf(path, sizeof path, "/run/libvirt/qemu/%s.pid", name);
    pid_t pid = geteuid() == 0 ? read_pid(path) : 0;
    if (pid)
        return pid;
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && !pid && (e = readdir(d));) {
        struct stat st;
        uint64_t number;
        snprintf(path, sizeof path, "/proc/%.20s", e->d_name);
        if (str_to_u64(e->d_name, &number) && stat(path, &st) == 0 &&
            (geteuid() == 0 || st.st_uid == geteuid()) &&
            is_qemu_of((pid_t)number, name))
            pid = (pid_t)number;
    }
    if (d)
        closedir(d);
    return pid;
}

/* A terminal's path from the live XML: <console type='pty' tty='/dev/pts/3'>. */
static char *pty_of(const char *xml)
{
    const char *at = strstr(xml, "tty='/dev/pts/");
    if (!at)
        return NULL;
    at += strlen("tty='");
    return strndup(at, strcspn(at, "'"));
}

static int find_process(struct vt_run *r, virDomainPtr dom, const char *name,
                        struct err *err)
{
    const struct vt_api *v = vt_api(err);
    const struct vt_dialect *d = vt_dialect_of(r->profile->type);
    if (d->memfd)
        r->pid = qemu_pid(name);
    else
        r->pid = d->container ? (pid_t)v->virDomainGetID(dom) : 0;
    if (r->pid <= 0)
        return err_set(err, E_FAIL,
                       "its process ended at once; see "
                       "/var/log/libvirt for what it said");
    return 0;
}

static int tell_paths(struct vt_run *r, const struct plan *plan, virDomainPtr dom,
                      struct err *err)
{
    const struct vt_api *v = vt_api(err);
    const struct vt_dialect *d = vt_dialect_of(r->profile->type);
    AUTO_STR guest = d->container ? str_printf("%s/host/guest.sock", plan->dir)
                                  : strdup(plan->guest_socket);
    json_object_set_new(r->vt, "guest", guest ? json_string(guest) : NULL);
    if (d->memfd)
        return json_object_set_new(r->vt, "console", json_string(plan->console_socket));
    char *xml = v->virDomainGetXMLDesc(dom, 0);
    AUTO_STR pty = xml ? pty_of(xml) : NULL;
    free(xml);
    if (pty)
        json_object_set_new(r->vt, "console", json_string(pty));
    return 0;
}

/* --- verbs ---------------------------------------------------------------------------- */

/* Container: the image's root, mounted where libvirtd sees it. */
static int prepare(struct vt_run *r, const struct plan *plan, struct err *err)
{
    /* QEMU, as the owner, has to pass through here to its own directory. */
    static const char own[] = "/var/lib/libvirt/qemu";
    struct stat st;
    if (geteuid() == 0 && r->vm->uid && stat(own, &st) == 0 &&
        !(st.st_mode & S_IXOTH) && chmod(own, (st.st_mode & 07777) | S_IXOTH) < 0)
        return err_sys(err, "'%s'", own);
    if (!vt_dialect_of(r->profile->type)->container)
        return 0;
    AUTO_STR host = str_printf("%s/host", plan->dir);
    if (!host || (mkdir(host, 0700) < 0 && errno != EEXIST))
        return err_sys(err, "'%s'", host ? host : plan->dir);
    if (vt_join_daemon(err) < 0)
        return -1;
    return rootfs_mount(r, plan, err);
}

static int start(struct vt_run *r, const struct plan *plan, virConnectPtr conn,
                 struct err *err)
{
    const struct vt_api *v = vt_api(err);
    AUTO_STR xml = NULL;
    char name[32];
    vt_domain_name(r, name);
    if (vt_xml(plan, &xml, err) < 0)
        return -1;
    bool qemu = vt_dialect_of(r->profile->type)->memfd;
    /* Paused, so that it is in its control groups before it takes memory. */
    bool paused = qemu && cgroup_wanted(r);
    virDomainPtr dom =
        r->snap
            ? vt_domain_restore(r, conn, xml, paused, err)
            : v->virDomainCreateXML(conn, xml, paused ? VIR_DOMAIN_START_PAUSED : 0);
    if (!dom)
        return r->snap ? -1 : vt_error(err, "start");
    int ret = find_process(r, dom, name, err);
    if (ret == 0)
        ret = tell_paths(r, plan, dom, err);
    if (ret == 0 && cgroup_wanted(r)) {
        ret = cgroup_move(r, r->pid, err);
        if (ret == 0 && qemu && v->virDomainResume(dom) < 0)
            ret = vt_error(err, "resume");
    }
    if (ret < 0)
        v->virDomainDestroy(dom);
    v->virDomainFree(dom);
    return ret;
}

/* A tmpfs, or an overlay on one, knows no O_DIRECT. */
static int look_at_disks(struct vt_run *r, struct plan *plan, struct err *err)
{
    const int how = O_RDONLY | O_DIRECT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    struct owner_was was;
    if (owner_enter(r->vm->uid, r->vm->gid, &was, err) < 0)
        return -1;
    for (size_t i = 0; i < plan->ndisks; i++) {
        AUTO_FD fd = open(plan->disks[i].path, how);
        plan->disks[i].buffered = fd < 0 && errno == EINVAL;
    }
    owner_leave(&was);
    return 0;
}

static int boot(struct vt_run *r, struct err *err)
{
    AUTO(plan) plan = NULL;
    if (plan_make(r->vm, r->image, r->dir, &plan, err) < 0 ||
        prepare(r, plan, err) < 0 || look_at_disks(r, plan, err) < 0)
        return -1;
    plan->machine = r->snap ? vt_domain_machine(r->snap) : NULL;
    virConnectPtr conn = vt_connect(vt_domain_uri(r), err);
    if (!conn)
        return -1;
    int ret = start(r, plan, conn, err);
    vt_api(NULL)->virConnectClose(conn);
    return ret;
}

/* Run fn on the domain; a domain that is not there is `absent`. */
static int with_domain(struct vt_run *r, const char *what,
                       int (*fn)(const struct vt_api *, virDomainPtr, struct vt_run *),
                       int absent, struct err *err)
{
    const struct vt_api *v = vt_api(err);
    char name[32];
    vt_domain_name(r, name);
    if (!v)
        return -1;
    virConnectPtr conn = vt_connect(vt_domain_uri(r), err);
    if (!conn)
        return -1;
    virDomainPtr dom = v->virDomainLookupByName(conn, name);
    int ret;
    if (dom) {
        ret = fn(v, dom, r) < 0 ? vt_error(err, what) : 0;
        v->virDomainFree(dom);
    } else {
        virErrorPtr e = v->virGetLastError();
        ret = e && e->code == VIR_ERR_NO_DOMAIN ? absent : -1;
        if (ret < 0)
            vt_error(err, what);
    }
    v->virConnectClose(conn);
    return ret;
}

static int fn_destroy(const struct vt_api *v, virDomainPtr dom, struct vt_run *r)
{
    return v->virDomainDestroy(dom);
}

static int fn_pause(const struct vt_api *v, virDomainPtr dom, struct vt_run *r)
{
    return v->virDomainSuspend(dom);
}

static int fn_resume(const struct vt_api *v, virDomainPtr dom, struct vt_run *r)
{
    return v->virDomainResume(dom);
}

static int fn_shutdown(const struct vt_api *v, virDomainPtr dom, struct vt_run *r)
{
    return v->virDomainShutdown(dom);
}

static int fn_stats(const struct vt_api *v, virDomainPtr dom, struct vt_run *r)
{
    virDomainInfo i;
    if (v->virDomainGetInfo(dom, &i) < 0)
        return -1;
    return json_object_set_new(r->vt, "stats",
                               json_pack("{s:I, s:I, s:i}", "cpu_ms",
                                         (json_int_t)(i.cpuTime / 1000000),
                                         "memory_bytes", (json_int_t)i.memory << 10,
                                         "vcpus", (int)i.nrVirtCpu));
}

/* In a process of its own: a call to a libvirtd that does not answer never ends. */
static int destroy_in_time(struct vt_run *r, struct err *err)
{
    int ends[2];
    struct err why = {0};
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, "pipe");
    pid_t pid = fork();
    if (pid == 0) {
        with_domain(r, "destroy", fn_destroy, 0, &why);
        _exit(write(ends[1], &why, sizeof why) != sizeof why);
    }
    close(ends[1]);
    struct pollfd p = {.fd = ends[0], .events = POLLIN};
    if (pid < 0)
        err_sys(&why, "fork");
    else if (poll(&p, 1, ANSWER_MS) <= 0)
        err_set(&why, E_TIMEOUT, "libvirtd does not answer");
    else if (read(ends[0], &why, sizeof why) != sizeof why)
        err_set(&why, E_FAIL, "libvirt: destroy: the worker died");
    close(ends[0]);
    if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    if (why.code && err)
        *err = why;
    return why.code ? -1 : 0;
}

static int destroy(struct vt_run *r, struct err *err)
{
    /* Never started and nothing there: do not wake libvirt. */
    struct stat st;
    if (stat(r->dir, &st) < 0)
        return 0;
    const struct vt_dialect *d = vt_dialect_of(r->profile->type);
    if (d->container && vt_join_daemon(err) < 0)
        return -1;
    if (destroy_in_time(r, err) < 0) {
        /* A libvirtd that is away or sick does not keep a QEMU alive. */
        char name[32];
        vt_domain_name(r, name);
        pid_t pid = d->memfd ? qemu_pid(name) : 0;
        if (!d->memfd)
            return -1;
        if (pid && is_qemu_of(pid, name) && kill(pid, SIGKILL) < 0 && errno != ESRCH)
            return err_sys(err, "kill QEMU");
    }
    return d->container ? rootfs_unmount(r, err) : 0;
}

static int pause_(struct vt_run *r, struct err *err)
{
    return with_domain(r, "pause", fn_pause, -1, err);
}

static int resume(struct vt_run *r, struct err *err)
{
    return with_domain(r, "resume", fn_resume, -1, err);
}

static int powerdown(struct vt_run *r, struct err *err)
{
    return with_domain(r, "power down", fn_shutdown, 0, err);
}

static int stats(struct vt_run *r, struct err *err)
{
    return with_domain(r, "statistics", fn_stats, -1, err);
}

#define SNAPS                                                                          \
    .checkpoint = vt_domain_checkpoint, .restore = boot, .recover = vt_domain_recover
#define VERBS                                                                          \
    .needs_image = true, .check = check, .boot = boot, .destroy = destroy,             \
    .pause = pause_, .resume = resume, .powerdown = powerdown, .stats = stats

const struct vt_ops vt_kvm = {.name = "kvm",
                              .uri = "qemu:///system",
                              .user_uri = "qemu:///session",
                              VERBS,
                              SNAPS};
const struct vt_ops vt_qemu = {.name = "qemu",
                               .uri = "qemu:///system",
                               .user_uri = "qemu:///session",
                               VERBS,
                               SNAPS};
const struct vt_ops vt_xen = {.name = "xen", .uri = "xen:///system", VERBS};
const struct vt_ops vt_xenhvm = {.name = "xenhvm", .uri = "xen:///system", VERBS};
const struct vt_ops vt_lxc = {.name = "lxc", .uri = "lxc:///system", VERBS};
