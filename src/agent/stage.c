/* SPDX-License-Identifier: Apache-2.0 */
/* Staging; see the header. The order of stage_make is the reverse of stage_clear. */
#include "agent/stage.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "agent/identity.h"
#include "agent/parts.h"
#include "agent/sock.h"
#include "base/clock.h"
#include "base/dirs.h"
#include "base/fd.h"
#include "base/proc.h"
#include "base/str.h"

extern char **environ;
enum {
    ENV_MAX = 256,
    GROUPS_MAX = 256,
    TREE_MAX = 64,
    KILL_MS = 10000,
    SETTLE_MS = 5000
};

static int make_dirs(struct vt_run *r, struct err *err)
{
    AUTO_STR own = str_printf("%s/own", r->dir);
    AUTO_STR all = dirs_path(DIRS_RUN, "vms");
    if (!own || !all)
        return err_oom(err);
    if (fd_mkdirs(all, 0755, err) < 0)
        return -1;
    if ((mkdir(r->dir, 0711) < 0 && errno != EEXIST) ||
        (mkdir(own, 0700) < 0 && errno != EEXIST))
        return err_sys(err, "directory '%s'", r->dir);
    if (geteuid() == 0 && lchown(own, r->vm->uid, r->vm->gid) < 0)
        return err_sys(err, "directory '%s'", own);
    return 0;
}

static bool is_ours(const struct vt_run *r, pid_t pid);

/* What is staged, in order; each part is made if the profile asks and cleared always.
 */
static const struct {
    int (*make)(struct vt_run *, struct err *);
    int (*clear)(struct vt_run *, struct err *);
} parts[] = {
    {cgroup_make, cgroup_clear},
    {scratch_make, scratch_clear},
    {net_make, net_clear},
    {share_make, share_clear},
};
/* Then who the guest is, which tells of all of them: identity_make(). */

int stage_make(struct vt_run *r, struct err *err)
{
    if (make_dirs(r, err) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (parts[i].make(r, err) < 0)
            return -1;
    return identity_make(r, err);
}

/* What the main process left when it was killed alone: its children still carry the
 * mark. */
static void kill_marked(const struct vt_run *r)
{
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && (e = readdir(d));) {
        pid_t pid = isdigit((unsigned char)*e->d_name) ? atoll(e->d_name) : 0;
        if (pid > 1 && pid != getpid() && is_ours(r, pid))
            kill(pid, SIGKILL);
    }
    if (d)
        closedir(d);
}

int stage_clear(struct vt_run *r, struct err *err)
{
    int ret = 0;
    kill_marked(r);
    for (size_t i = ARRAY_SIZE(parts); i-- > 0;) {
        /* Go on, so that one that sticks does not hold the others; tell the first. */
        if (parts[i].clear(r, ret == 0 ? err : NULL) < 0)
            ret = -1;
    }
    if (ret < 0)
        return -1;
    return fd_remove_tree(r->dir, err);
}

/* --- processes ---------------------------------------------------------------------
 */

static char *pid_path(const struct vt_run *r, const char *leaf)
{
    return str_printf("%s/%s.pid", r->dir, leaf);
}

struct in_child {
    int pid_file;
    const struct stage_proc *proc;
};

/* In the child, before exec: the pid is on disk before the program is there. */
static int note_pid(void *arg)
{
    const struct in_child *c = arg;
    char text[16];
    int n = 0, v = getpid();
    for (int d = 1000000000; d > 0; d /= 10)
        if (v / d || d == 1)
            text[n++] = '0' + v / d % 10;
    if (write(c->pid_file, text, n) != n)
        return -errno;
    return c->proc->in_child ? c->proc->in_child(c->proc->arg) : 0;
}

static int before_ids(void *arg)
{
    const struct in_child *c = arg;
    return c->proc->before_ids ? c->proc->before_ids(c->proc->arg) : 0;
}

static size_t make_env(const struct vt_run *r, char *mark, size_t mark_size,
                       const char **env)
{
    size_t n = 0;
    snprintf(mark, mark_size, "LODGE_VM=%s", r->vm->id);
    for (char **e = environ; *e && n < ENV_MAX; e++)
        if (!str_starts(*e, "LODGE_VM="))
            env[n++] = *e;
    env[n++] = mark;
    env[n] = NULL;
    return n;
}

int stage_spawn(struct vt_run *r, const struct stage_proc *p, pid_t *pid,
                struct err *err)
{
    AUTO_STR path = pid_path(r, p->leaf);
    if (!path)
        return err_oom(err);
    AUTO_FD file =
        open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0)
        return err_sys(err, "'%s'", path);
    AUTO_STR log_path = str_printf("%s/%s.log", r->dir, p->leaf);
    AUTO_FD log =
        log_path ? open(log_path,
                        O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600)
                 : -1;
    char mark[32];
    const char *env[ENV_MAX + 2];
    make_env(r, mark, sizeof mark, env);
    gid_t groups[GROUPS_MAX];
    int ngroups = GROUPS_MAX;
    struct passwd *pw = getpwuid(r->vm->uid);
    if (!pw || getgrouplist(pw->pw_name, r->vm->gid, groups, &ngroups) < 0) {
        groups[0] = r->vm->gid;
        ngroups = 1;
    }
    struct stat dev;
    if (p->device && stat(p->device, &dev) == 0 && (dev.st_mode & 0060) == 0060 &&
        ngroups < GROUPS_MAX)
        groups[ngroups++] = dev.st_gid;
    struct in_child in_child = {.pid_file = file, .proc = p};
    int fds[3 + STAGE_FDS_MAX] = {p->input ? *p->input : -1, log, log};
    size_t nfds = p->nfds < STAGE_FDS_MAX ? p->nfds : STAGE_FDS_MAX;
    for (size_t i = 0; i < nfds; i++)
        fds[3 + i] = p->fds[i];
    struct proc_spec spec = {.argv = p->argv,
                             .env = env,
                             .cwd = p->cwd,
                             .fds = fds,
                             .nfds = 3 + nfds,
                             .new_session = true,
                             .set_ids = !p->as_agent && geteuid() == 0,
                             .uid = r->vm->uid,
                             .gid = r->vm->gid,
                             .groups = groups,
                             .ngroups = ngroups,
                             .before_ids = before_ids,
                             .in_child = note_pid,
                             .arg = &in_child};
    AUTO_FD pidfd = -1;
    pid_t got;
    /* The worker goes first, so that all the child ever takes is counted there. */
    if (cgroup_move(r, getpid(), err) < 0 || proc_spawn(&spec, &pidfd, &got, err) < 0)
        return -1;
    if (pid)
        *pid = got;
    return 0;
}

/* Is pid one that we started for this VM? 1 if its environment has the mark, 0 if not,
 * -1 if it has none now: at its end, and for a moment in each execve(), between the new
 * memory and the new environment. */
static int has_mark(const struct vt_run *r, pid_t pid)
{
    char path[40], mark[32];
    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    snprintf(mark, sizeof mark, "LODGE_VM=%s", r->vm->id);
    AUTO_STR env = NULL;
    size_t len;
    if (fd_read_file(path, 1 << 20, &env, &len, NULL) < 0)
        return 0;
    for (char *e = env; e < env + len; e += strlen(e) + 1)
        if (!strcmp(e, mark))
            return 1;
    return len ? 0 : -1;
}

static bool is_ours(const struct vt_run *r, pid_t pid)
{
    return has_mark(r, pid) == 1;
}

/* As is_ours(), for a process that may be in the midst of execve(). */
static bool is_ours_settled(const struct vt_run *r, pid_t pid, int pidfd)
{
    int mark;
    for (int i = 0; (mark = has_mark(r, pid)) < 0 && i < SETTLE_MS; i++) {
        struct pollfd p = {.fd = pidfd, .events = POLLIN};
        if (poll(&p, 1, 1) > 0)
            return false;
    }
    return mark == 1;
}

/* A pidfd of DIR/LEAF.pid's process, -1 if there is none. */
static int find_proc(struct vt_run *r, const char *leaf, pid_t *out)
{
    AUTO_STR path = pid_path(r, leaf);
    AUTO_STR text = NULL;
    uint64_t pid;
    if (!path || fd_read_file(path, 64, &text, NULL, NULL) < 0 ||
        !str_to_u64(text, &pid) || pid < 2 || pid > 1 << 30)
        return -1;
    int fd = syscall(SYS_pidfd_open, (pid_t)pid, 0);
    *out = pid;
    if (fd < 0 || is_ours_settled(r, pid, fd))
        return fd;
    close(fd);
    return -1;
}

/* Processes to wait for. */
struct tree {
    int pidfd[TREE_MAX];
    size_t n;
};

/* The process and all below it, the top first; to kill, the top last: its children are
 * found only as long as it lives. All are put into `met`, if it is there. */
static void signal_tree(pid_t pid, int sig, struct tree *met, int depth)
{
    enum { DEPTH_MAX = 32 };
    char path[64];
    AUTO_STR text = NULL;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    if (sig != SIGKILL)
        kill(pid, sig);
    if (depth < DEPTH_MAX)
        fd_read_file(path, 1 << 20, &text, NULL, NULL);
    char *at = text;
    for (char *end; at && *at; at = end) {
        long child = strtol(at, &end, 10);
        if (end == at)
            break;
        if (child > 1)
            signal_tree(child, sig, met, depth + 1);
    }
    int fd = met && met->n < TREE_MAX ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    if (fd >= 0)
        met->pidfd[met->n++] = fd;
    if (sig == SIGKILL)
        kill(pid, sig);
}

int stage_signal(struct vt_run *r, const char *leaf, int sig, struct err *err)
{
    pid_t pid;
    AUTO_FD fd = find_proc(r, leaf, &pid);
    if (fd < 0)
        return err_set(err, E_STATE, "its process '%s' is not there any more", leaf);
    signal_tree(pid, sig, NULL, 0);
    return 0;
}

int stage_kill(struct vt_run *r, const char *leaf, struct err *err)
{
    pid_t pid;
    AUTO_FD fd = find_proc(r, leaf, &pid);
    struct tree killed = {.n = 0};
    bool gone = true;
    if (fd < 0)
        return 0;
    /* Stopped first, so that nothing is started behind our back. */
    signal_tree(pid, SIGSTOP, NULL, 0);
    signal_tree(pid, SIGKILL, &killed, 0);
    /* Not our child after a restart: a pidfd is readable at the end all the same. All of
     * them: a child may have the memory and the devices, and give them back for long. */
    for (uint64_t end = clock_ms() + KILL_MS; killed.n > 0; killed.n--) {
        struct pollfd p = {.fd = killed.pidfd[killed.n - 1], .events = POLLIN};
        uint64_t now = clock_ms();
        gone = poll(&p, 1, now < end ? (int)(end - now) : 0) > 0 && gone;
        close(p.fd);
    }
    return gone ? 0 : err_set(err, E_TIMEOUT, "process '%s' does not end", leaf);
}

static int ended_at_once(const struct vt_run *r, const char *leaf, struct err *err)
{
    AUTO_STR log = str_printf("%s/%s.log", r->dir, leaf);
    AUTO_STR text = NULL;
    if (log && fd_read_file(log, 65536, &text, NULL, NULL) == 0 && *text)
        return err_set(err, E_FAIL, "'%s' ended at once: %.300s", leaf, text);
    return err_set(err, E_FAIL, "'%s' ended at once", leaf);
}

int stage_settle(struct vt_run *r, const char *leaf, unsigned ms, struct err *err)
{
    pid_t pid;
    AUTO_FD alive = find_proc(r, leaf, &pid);
    struct pollfd p = {.fd = alive, .events = POLLIN};
    if (alive < 0 || poll(&p, 1, ms) > 0)
        return ended_at_once(r, leaf, err);
    return 0;
}

int stage_await_socket(struct vt_run *r, const char *leaf, const char *path,
                       unsigned wait_ms, struct err *err)
{
    uint64_t end = clock_ms() + wait_ms;
    for (unsigned nap_us = 1000;; nap_us = nap_us < 50000 ? nap_us * 2 : nap_us) {
        struct stat st;
        if (lstat(path, &st) == 0)
            return 0;
        pid_t pid;
        AUTO_FD alive = find_proc(r, leaf, &pid);
        struct pollfd p = {.fd = alive, .events = POLLIN};
        if (alive < 0 || poll(&p, 1, 0) > 0)
            return ended_at_once(r, leaf, err);
        if (clock_ms() > end)
            return err_set(err, E_TIMEOUT, "'%s' did not open '%s' in %u s", leaf, path,
                           wait_ms / 1000);
        usleep(nap_us);
    }
}
