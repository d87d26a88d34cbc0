/* SPDX-License-Identifier: Apache-2.0 */
/* The sandbox. Two processes: the one that was started stays outside and does nothing but
 * pass signals on and give back the status; the machine lives in a pid namespace of its
 * own (KVM ties a machine to the process that made it, so the fork comes first). Once all
 * is open the machine gives up the rest: an empty read-only root, no network, no IPC, own
 * ids, no capability, limits; and each kind of thread a list of the system calls it
 * makes. Others are refused; those that only an attacker wants end the process. */
#include "vmm/sandbox.h"
#include "vmm/vm.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FILTER_MAX = 4096, OPEN_FILES = 4096 };

struct sandbox {
    struct sock_fprog program[SANDBOX_KINDS];
};

#define WAY_OUT "; --no-sandbox runs without it"

/* --- outside ------------------------------------------------------------------- */

static int write_file(const char *path, const char *text)
{
    AUTO_FD fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -1;
}

/* A user namespace that maps only our own ids to themselves. */
static int map_ids(uid_t uid, gid_t gid, struct err *err)
{
    char map[64];
    write_file("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "%u %u 1", uid, uid);
    if (write_file("/proc/self/uid_map", map) < 0)
        return err_sys(err, "sandbox: user namespace" WAY_OUT);
    snprintf(map, sizeof map, "%u %u 1", gid, gid);
    if (write_file("/proc/self/gid_map", map) < 0)
        return err_sys(err, "sandbox: user namespace" WAY_OUT);
    return 0;
}

/* The parent: never returns. */
static void stand_by(const struct config *c, pid_t child, const sigset_t *set)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {0};
    if (geteuid() != 0) /* what the user namespace gave; root needs kill() */
        syscall(SYS_capset, &head, none);
    /* The machine's start goes first. */
    const struct timespec start = {.tv_sec = 1};
    bool shed = false;
    for (;;) {
        siginfo_t si;
        int status, sig = shed ? sigwaitinfo(set, &si) : sigtimedwait(set, &si, &start);
        if (sig < 0 && errno == EAGAIN) {
            proc_shed();
            shed = true;
            continue;
        }
        if (sig != SIGCHLD && sig > 0)
            kill(child, sig);
        if (sig != SIGCHLD || waitpid(child, &status, WNOHANG) != child)
            continue;
        /* The machine cannot reach its paths from its empty root. */
        if (c->control_path)
            fd_unix_remove(c->control_path);
        for (size_t i = 0; i < c->ndevices; i++)
            if (c->devices[i].ops->forget)
                c->devices[i].ops->forget(c->devices[i].in);
        if (WIFEXITED(status))
            _exit(WEXITSTATUS(status));
        log_error(NULL, "the machine's process was ended by signal %d%s",
                  WTERMSIG(status),
                  WTERMSIG(status) == SIGSYS ? " (a forbidden system call)" : "");
        _exit(128 + WTERMSIG(status));
    }
}

int sandbox_enter(const struct config *c, struct err *err)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    int flags = CLONE_NEWPID | (uid != 0 ? CLONE_NEWUSER : 0), alive[2];
    sigset_t set, old;
    if (!c->sandbox.enable)
        return 0;
    if (c->sandbox.set_ids && uid != 0 &&
        (c->sandbox.uid != uid || c->sandbox.gid != gid))
        return err_set(err, E_PERM, "sandbox: only root can become uid %u",
                       (unsigned)c->sandbox.uid);
    if (unshare(flags) < 0)
        return err_sys(err, "sandbox: namespaces" WAY_OUT);
    if (uid != 0 && map_ids(uid, gid, err) < 0)
        return -1;
    sigemptyset(&set);
    const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        sigaddset(&set, signals[i]);
    sigprocmask(SIG_BLOCK, &set, &old);
    if (pipe2(alive, O_CLOEXEC) < 0)
        return err_sys(err, "sandbox");
    pid_t child = fork();
    if (child < 0)
        return err_sys(err, "sandbox: fork");
    if (child > 0) {
        /* What it was given belongs to the machine: ends of file must be seen. The
         * write end of the pipe stays, so that it tells of our death. */
        close(alive[0]);
        if (alive[1] > 3)
            close_range(3, (unsigned)alive[1] - 1, 0);
        close_range((unsigned)alive[1] + 1, ~0u, 0);
        stand_by(c, child, &set);
    }
    sigprocmask(SIG_SETMASK, &old, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(alive[1]);
    struct pollfd p = {.fd = alive[0], .events = POLLIN};
    if (poll(&p, 1, 0) != 0)
        _exit(71); /* the parent is gone already */
    close(alive[0]);
    return 0;
}

/* --- closing ------------------------------------------------------------------- */

static int empty_root(struct err *err)
{
    if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
                CLONE_NEWCGROUP) < 0)
        return err_sys(err, "sandbox: namespaces" WAY_OUT);
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", "/proc", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "size=4k,nr_inodes=1,mode=0555") < 0 ||
        chdir("/proc") < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
        umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return err_sys(err, "sandbox: empty root" WAY_OUT);
    if (mount(NULL, "/", NULL,
              MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
              NULL) < 0)
        return err_sys(err, "sandbox: read-only root" WAY_OUT);
    return 0;
}

static int drop_rights(const struct config *c, struct err *err)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {0};
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return err_sys(err, "sandbox: capability %d", cap);
    if (c->sandbox.set_ids && geteuid() == 0 &&
        (setgroups(0, NULL) < 0 ||
         setresgid(c->sandbox.gid, c->sandbox.gid, c->sandbox.gid) < 0 ||
         setresuid(c->sandbox.uid, c->sandbox.uid, c->sandbox.uid) < 0))
        return err_sys(err, "sandbox: become uid %u", (unsigned)c->sandbox.uid);
    if (syscall(SYS_capset, &head, none) < 0)
        return err_sys(err, "sandbox: capabilities");
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    /* Changing ids took this away; it matters more than before. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_sys(err, "sandbox: no new privileges");
    const struct rlimit core = {0, 0};
    struct rlimit files;
    if (setrlimit(RLIMIT_CORE, &core) < 0 || getrlimit(RLIMIT_NOFILE, &files) < 0)
        return err_sys(err, "sandbox: limits");
    if (files.rlim_max == RLIM_INFINITY || files.rlim_max > OPEN_FILES)
        files.rlim_cur = files.rlim_max = OPEN_FILES;
    return setrlimit(RLIMIT_NOFILE, &files) < 0 ? err_sys(err, "sandbox: limits") : 0;
}

/* --- system calls --------------------------------------------------------------- */

#define CONTROL (1 << SANDBOX_CONTROL)
#define VCPU    (1 << SANDBOX_VCPU)
#define IO      (1 << SANDBOX_IO)
#define ALL     (CONTROL | VCPU | IO)

static const struct {
    int call;
    int kinds;
} allowed[] = {
    {SCMP_SYS(read), ALL},
    {SCMP_SYS(write), ALL},
    {SCMP_SYS(close), ALL},
    {SCMP_SYS(futex), ALL},
    {SCMP_SYS(exit), ALL},
    {SCMP_SYS(exit_group), ALL},
    {SCMP_SYS(rt_sigreturn), ALL},
    {SCMP_SYS(rt_sigprocmask), ALL},
    {SCMP_SYS(restart_syscall), ALL},
    {SCMP_SYS(sched_yield), ALL},
    {SCMP_SYS(madvise), ALL},
    {SCMP_SYS(munmap), ALL},
    {SCMP_SYS(rseq), ALL},
    {SCMP_SYS(set_robust_list), ALL},
    {SCMP_SYS(getpid), ALL},
    {SCMP_SYS(gettid), ALL},
    {SCMP_SYS(clock_gettime), ALL},
    {SCMP_SYS(gettimeofday), ALL},
    {SCMP_SYS(sendmsg), ALL},
    {SCMP_SYS(recvmsg), ALL},
    {SCMP_SYS(sendto), ALL},
    {SCMP_SYS(recvfrom), ALL},
    {SCMP_SYS(poll), ALL},
    {SCMP_SYS(ppoll), ALL},
    {SCMP_SYS(epoll_ctl), ALL},
    {SCMP_SYS(io_uring_enter), ALL},
    {SCMP_SYS(prctl), ALL},   /* PR_SET_NAME; no_new_privs holds */
    {SCMP_SYS(seccomp), ALL}, /* can only be made narrower */
    {SCMP_SYS(epoll_wait), CONTROL | IO},
    {SCMP_SYS(epoll_pwait), CONTROL | IO},
    {SCMP_SYS(brk), CONTROL | IO},
    {SCMP_SYS(mremap), CONTROL | IO},
    {SCMP_SYS(readv), CONTROL | IO},
    {SCMP_SYS(writev), CONTROL | IO},
    {SCMP_SYS(pread64), ALL},
    {SCMP_SYS(pwrite64), ALL},
    {SCMP_SYS(preadv), CONTROL | IO},
    {SCMP_SYS(pwritev), CONTROL | IO},
    {SCMP_SYS(preadv2), CONTROL | IO},
    {SCMP_SYS(pwritev2), CONTROL | IO},
    {SCMP_SYS(fdatasync), CONTROL | IO},
    {SCMP_SYS(fsync), CONTROL | IO},
    {SCMP_SYS(fallocate), CONTROL | IO},
    {SCMP_SYS(getrandom), CONTROL | IO},
    {SCMP_SYS(accept4), CONTROL | IO},
    {SCMP_SYS(shutdown), CONTROL | IO},
    {SCMP_SYS(getsockopt), CONTROL | IO},
    {SCMP_SYS(fcntl), CONTROL | IO},
    {SCMP_SYS(fstat), CONTROL | IO},
    {SCMP_SYS(newfstatat), CONTROL | IO},
    {SCMP_SYS(lseek), CONTROL | IO},
    {SCMP_SYS(ftruncate), CONTROL | IO},
    {SCMP_SYS(clock_nanosleep), CONTROL | IO},
    {SCMP_SYS(tgkill), CONTROL}, /* in this pid namespace there is only us */
    {SCMP_SYS(timerfd_settime), CONTROL},
    {SCMP_SYS(sched_setaffinity), CONTROL},
    {SCMP_SYS(move_pages), CONTROL},
    {SCMP_SYS(eventfd2), CONTROL},
#ifdef __SANITIZE_ADDRESS__
    /* What AddressSanitizer asks in each thread. Such a build is for tests. */
    {SCMP_SYS(sigaltstack), ALL},
    {SCMP_SYS(mmap), ALL},
    {SCMP_SYS(prlimit64), ALL},
    {SCMP_SYS(sched_getaffinity), ALL},
#endif
};

/* What no code of ours calls from here on: the process ends, and the log tells. */
static const int deadly[] = {
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(mount),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(unshare),
    SCMP_SYS(setns),
    SCMP_SYS(bpf),
    SCMP_SYS(init_module),
    SCMP_SYS(kexec_load),
    SCMP_SYS(finit_module),
    SCMP_SYS(keyctl),
    SCMP_SYS(pivot_root),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(add_key),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(open_by_handle_at),
};

/* Requests of ioctl by their type byte; or whole. */
static const struct {
    uint64_t mask, value;
} ioctls[] = {
    {0xff00, 0xae00},         /* KVM */
    {0xff00, 0xaf00},         /* vhost */
    {0xffffffff, 0x3b6e},     /* VFIO_DEVICE_SET_IRQS */
    {0xff00, 0xaa00},         /* userfaultfd, of one opened before */
    {0xff00, 0x1200},         /* block devices: discard, zero */
    {0xffffffff, 0x400454d0}, /* TUNSETOFFLOAD */
    {0xffffffff, 0x5421},     /* FIONBIO */
    {0xffffffff, 0x5413},     /* TIOCGWINSZ */
};

static int fill_filter(scmp_filter_ctx f, enum sandbox_kind kind)
{
    int bad = 0;
    for (size_t i = 0; i < ARRAY_SIZE(allowed); i++)
        if (allowed[i].kinds & 1 << kind)
            bad |= seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed[i].call, 0);
    for (size_t i = 0; i < ARRAY_SIZE(deadly); i++)
        bad |= seccomp_rule_add(f, SCMP_ACT_KILL_PROCESS, deadly[i], 0);
    for (size_t i = 0; i < ARRAY_SIZE(ioctls); i++)
        bad |= seccomp_rule_add(
            f, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
            SCMP_A1(SCMP_CMP_MASKED_EQ, ioctls[i].mask, ioctls[i].value));
    /* Memory, but never executable. */
    if (kind != SANDBOX_VCPU) {
        bad |= seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                                SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
        bad |= seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                                SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    }
    return bad;
}

/* The filter as a program in memory, so that threads load it without allocating. */
static int compile(struct sandbox *s, enum sandbox_kind kind, struct err *err)
{
    AUTO_FD fd = memfd_create("filter", MFD_CLOEXEC);
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    struct sock_filter *code = calloc(FILTER_MAX, sizeof *code);
    int r = -1;
    if (fd < 0 || !f || !code || fill_filter(f, kind) != 0 ||
        seccomp_export_bpf(f, fd) != 0)
        goto out;
    ssize_t n = pread(fd, code, FILTER_MAX * sizeof *code, 0);
    if (n <= 0 || (size_t)n == FILTER_MAX * sizeof *code)
        goto out;
    s->program[kind] = (struct sock_fprog){
        .len = (unsigned short)((size_t)n / sizeof *code), .filter = code};
    code = NULL;
    r = 0;
out:
    if (f)
        seccomp_release(f);
    free(code);
    return r < 0 ? err_set(err, E_SYS, "sandbox: cannot build the system call filters")
                 : 0;
}

static int load(const struct sandbox *s, enum sandbox_kind kind)
{
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &s->program[kind], 0, 0);
}

int sandbox_close(struct vm *vm, struct err *err)
{
    if (!vm->config->sandbox.enable)
        return 0;
    struct sandbox *s = calloc(1, sizeof *s);
    if (!s)
        return err_oom(err);
    vm->sandbox = s;
    for (int kind = 0; kind < SANDBOX_KINDS; kind++)
        if (compile(s, (enum sandbox_kind)kind, err) < 0)
            return -1;
    return empty_root(err) < 0 ? -1 : drop_rights(vm->config, err);
}

int sandbox_filters(struct vm *vm, struct err *err)
{
    if (vm->sandbox && load(vm->sandbox, SANDBOX_CONTROL) < 0)
        return err_sys(err, "sandbox: system call filter");
    return 0;
}

int sandbox_thread(const struct vm *vm, enum sandbox_kind kind)
{
    return vm->sandbox ? load(vm->sandbox, kind) : 0;
}

void sandbox_free(struct vm *vm)
{
    for (int kind = 0; vm->sandbox && kind < SANDBOX_KINDS; kind++)
        free(vm->sandbox->program[kind].filter);
    free(vm->sandbox);
    vm->sandbox = NULL;
}
