/* SPDX-License-Identifier: Apache-2.0 */
/* Child processes by fork, exec and pidfd. The child reports a failed exec through a
 * close-on-exec pipe, so that the parent's error says what was wrong. */
#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <link.h>
#include <linux/close_range.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/str.h"

extern char **environ;

/* Put fds[i] at number i. They are first moved above all targets, so that none is
 * overwritten before it was copied. Returns 0 or -errno. */
static int place_fds(const int *fds, size_t nfds, int *report)
{
    int moved[FD_PASS_MAX + 3];
    if (nfds > sizeof moved / sizeof *moved)
        return -E2BIG;
    int high = fcntl(*report, F_DUPFD_CLOEXEC, (int)nfds + 3);
    if (high < 0)
        return -errno;
    *report = high;
    for (size_t i = 0; i < nfds; i++) {
        int from = fds[i];
        if (from < 0 && (from = open("/dev/null", O_RDWR | O_CLOEXEC)) < 0)
            return -errno;
        if ((moved[i] = fcntl(from, F_DUPFD_CLOEXEC, (int)nfds + 3)) < 0)
            return -errno;
    }
    for (size_t i = 0; i < nfds; i++)
        if (dup2(moved[i], (int)i) < 0)
            return -errno;
    return 0;
}

static int child_setup(const struct proc_spec *spec, pid_t parent, int *report)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int s = 1; s < NSIG; s++)
        if (s != SIGKILL && s != SIGSTOP)
            signal(s, SIG_DFL);
    if (spec->new_session && setsid() < 0)
        return -errno;
    int r = spec->nfds ? place_fds(spec->fds, spec->nfds, report) : 0;
    if (r < 0)
        return r;
    /* Also what our own parent let us inherit: some tools (dash) cannot write to a
     * descriptor above 9 that another had to use because of those. */
    close_range(spec->nfds > 3 ? spec->nfds : 3, ~0U, CLOSE_RANGE_CLOEXEC);
    if (spec->before_ids && (r = spec->before_ids(spec->arg)) < 0)
        return r;
    if (spec->set_ids && (setgroups(spec->ngroups, spec->groups) < 0 ||
                          setresgid(spec->gid, spec->gid, spec->gid) < 0 ||
                          setresuid(spec->uid, spec->uid, spec->uid) < 0))
        return -errno;
    if (spec->cwd && chdir(spec->cwd) < 0)
        return -errno;
    /* After the ids: changing them clears the death signal. */
    if (spec->die_with_us &&
        (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent))
        return -ESRCH;
    return spec->in_child ? spec->in_child(spec->arg) : 0;
}

static void child_main(const struct proc_spec *spec, pid_t parent, int report)
{
    int r = child_setup(spec, parent, &report);
    if (r == 0) {
        if (spec->env)
            environ = (char **)spec->env;
        execvp(spec->argv[0], (char *const *)spec->argv);
        r = -errno;
    }
    if (write(report, &r, sizeof r) < 0)
        _exit(126);
    _exit(127);
}

int proc_spawn(const struct proc_spec *spec, int *pidfd, pid_t *pid, struct err *err)
{
    int report[2];
    if (pipe2(report, O_CLOEXEC) < 0)
        return err_sys(err, "pipe");
    AUTO_FD from = report[0];
    AUTO_FD to = report[1];
    pid_t parent = getpid(), child = fork();
    if (child < 0)
        return err_sys(err, "fork");
    if (child == 0)
        child_main(spec, parent, to);
    close(move_fd(to));
    int r = 0;
    ssize_t n;
    while ((n = read(from, &r, sizeof r)) < 0 && errno == EINTR)
        ;
    if (n > 0) {
        waitpid(child, NULL, 0);
        errno = -r;
        return err_sys(err, "start '%s'", spec->argv[0]);
    }
    int fd = syscall(SYS_pidfd_open, child, 0);
    if (fd < 0) {
        err_sys(err, "pidfd of '%s'", spec->argv[0]);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        return -1;
    }
    *pidfd = fd;
    if (pid)
        *pid = child;
    return 0;
}

int proc_kill(int pidfd, int sig, struct err *err)
{
    if (syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) < 0 && errno != ESRCH)
        return err_sys(err, "kill");
    return 0;
}

int proc_wait(int pidfd, int timeout_ms, int *status, struct err *err)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    uint64_t end = clock_ms() + (timeout_ms > 0 ? timeout_ms : 0);
    for (;;) {
        int64_t left = timeout_ms < 0 ? -1 : (int64_t)(end - clock_ms());
        int n = poll(&p, 1, timeout_ms < 0 ? -1 : left > 0 ? (int)left : 0);
        if (n > 0)
            break;
        if (n == 0)
            return err_set(err, E_TIMEOUT, "still running after %d ms", timeout_ms);
        if (errno != EINTR)
            return err_sys(err, "poll");
    }
    siginfo_t info = {0};
    if (waitid(P_PIDFD, pidfd, &info, WEXITED) < 0)
        return err_sys(err, "wait");
    *status = info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status;
    return 0;
}

/* Collect what comes from fd until its end or the deadline. Returns false on time-out.
 */
static bool collect(int fd, uint64_t end, bool forever, struct str_buf *b)
{
    enum { KEEP = 1 << 20 };
    char part[8192];
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = (int64_t)(end - clock_ms());
        int n = poll(&p, 1, forever ? -1 : left > 0 ? (int)left : 0);
        if (n == 0)
            return false;
        ssize_t got = n < 0 ? -1 : read(fd, part, sizeof part);
        if (got == 0)
            return true;
        if (got > 0 && b->len + got <= KEEP)
            str_buf_add(b, part, got);
        if (got < 0 && errno != EINTR)
            return true;
    }
}

static void last_line(const char *out, char *line, size_t size)
{
    size_t end = strlen(out);
    while (end > 0 && (out[end - 1] == '\n' || out[end - 1] == ' '))
        end--;
    size_t start = end;
    while (start > 0 && out[start - 1] != '\n')
        start--;
    snprintf(line, size, "%.*s", (int)(end - start), out + start);
}

static int judge(const char *name, int status, const char *out, struct err *err)
{
    char line[300];
    last_line(out, line, sizeof line);
    const char *sep = *line ? ": " : "";
    if (WIFSIGNALED(status))
        return err_set(err, E_FAIL, "'%s' was killed by signal %d%s%s", name,
                       WTERMSIG(status), sep, line);
    if (WEXITSTATUS(status))
        return err_set(err, E_FAIL, "'%s' ended with status %d%s%s", name,
                       WEXITSTATUS(status), sep, line);
    return 0;
}

int proc_run(const struct proc_spec *spec, int timeout_ms, char **out, struct err *err)
{
    int both[2];
    if (pipe2(both, O_CLOEXEC) < 0)
        return err_sys(err, "pipe");
    AUTO_FD from = both[0];
    AUTO_FD to = both[1];
    AUTO_FD pidfd = -1;
    int input = spec->nfds ? spec->fds[0] : -1;
    struct proc_spec own = *spec;
    own.fds = (int[]){input, to, to};
    own.nfds = 3;
    if (proc_spawn(&own, &pidfd, NULL, err) < 0)
        return -1;
    close(move_fd(to));
    AUTO_BUF b = {0};
    bool in_time = collect(from, clock_ms() + timeout_ms, timeout_ms < 0, &b);
    if (!in_time)
        proc_kill(pidfd, SIGKILL, NULL);
    int status;
    if (proc_wait(pidfd, -1, &status, err) < 0)
        return -1;
    AUTO_STR text = str_buf_take(&b);
    if (!text)
        return err_oom(err);
    if (!in_time)
        return err_set(err, E_TIMEOUT, "'%s' took longer than %d ms and was killed",
                       spec->argv[0], timeout_ms);
    int r = judge(spec->argv[0], status, text, err);
    if (out)
        *out = move(text);
    return r;
}

uint64_t proc_start_time(pid_t pid)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    AUTO_STR stat = NULL;
    if (fd_read_file(path, 4096, &stat, NULL, NULL) < 0)
        return 0;
    /* The name in field 2 may hold anything: count from the last ')'. */
    char *p = strrchr(stat, ')');
    unsigned long long start = 0;
    if (!p || sscanf(p + 1,
                     " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
                     "%*d %*d %*d %llu",
                     &start) != 1)
        return 0;
    return start;
}

/* Segments that are not writable have nothing that the file has not. */
static int shed_object(struct dl_phdr_info *o, size_t size, void *arg)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
    for (unsigned i = 0; i < o->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &o->dlpi_phdr[i];
        if (p->p_type != PT_LOAD || p->p_flags & PF_W)
            continue;
        uintptr_t from = (o->dlpi_addr + p->p_vaddr) & ~page;
        uintptr_t to = (o->dlpi_addr + p->p_vaddr + p->p_memsz + page) & ~page;
        (void)madvise((void *)from, to - from, MADV_DONTNEED);
    }
    return 0;
}

void proc_shed(void)
{
    malloc_trim(0);
    dl_iterate_phdr(shed_object, NULL);
}
