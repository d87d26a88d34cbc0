/* SPDX-License-Identifier: Apache-2.0 */
/* The monitor of a command; see the header. Runs in a fork of lodge-guest. */
#include "guest/monitor.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "guest/call.h"
#include "guest/users.h"

enum { GRACE_MS = 500 };

void monitor_tell(int control, enum monitor_kind kind, int64_t a, int64_t b,
                  const char *text)
{
    struct monitor_note note = {.kind = kind, .a = a, .b = b};
    if (text)
        snprintf(note.text, sizeof note.text, "%s", text);
    bool important = kind == MONITOR_EXIT || kind == MONITOR_FAILED;
    send(control, &note, sizeof note, MSG_NOSIGNAL | (important ? 0 : MSG_DONTWAIT));
}

/* --- the command's own process, before it becomes the command ------------------------
 */

static struct rlimit usual_files; /* RLIMIT_NOFILE as it was */
static bool spared;               /* from the out-of-memory killer */

static void set_oom(const char *value)
{
    AUTO_FD fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, value, strlen(value)) < 0)
        return;
}

void monitor_prepare(bool machine)
{
    enum { FILES = 16384 };
    struct rlimit more = {FILES, FILES};
    getrlimit(RLIMIT_NOFILE, &usual_files);
    if (setrlimit(RLIMIT_NOFILE, &more) < 0) {
        more = (struct rlimit){usual_files.rlim_max, usual_files.rlim_max};
        setrlimit(RLIMIT_NOFILE, &more);
    }
    spared = machine && geteuid() == 0;
    if (spared)
        set_oom("-1000");
}

static int set_limits(const struct command *c)
{
    if (!c->has_limit[RLIMIT_NOFILE])
        setrlimit(RLIMIT_NOFILE, &usual_files);
    if (spared)
        set_oom("0");
    for (int i = 0; i < RLIMIT_NLIMITS; i++) {
        struct rlimit now;
        struct rlimit want = c->limit[i];
        if (!c->has_limit[i] || setrlimit(i, &want) == 0 || getrlimit(i, &now) < 0)
            continue;
        /* What this machine does not allow becomes the most it allows. */
        if (want.rlim_max > now.rlim_max)
            want.rlim_max = now.rlim_max;
        if (want.rlim_cur > want.rlim_max)
            want.rlim_cur = want.rlim_max;
        setrlimit(i, &want);
    }
    return 0;
}

static int set_ids(const struct command *c)
{
    if (!c->has_ids)
        return 0;
    if (geteuid() != 0)
        return c->uid == geteuid() ? 0 : -EPERM;
    if (setgroups(c->ngroups, c->groups) < 0 || setresgid(c->gid, c->gid, c->gid) < 0 ||
        setresuid(c->uid, c->uid, c->uid) < 0)
        return -errno;
    return 0;
}

static const char *env_value(char **env, const char *name)
{
    size_t n = strlen(name);
    for (char **e = env; e && *e; e++)
        if (!strncmp(*e, name, n) && (*e)[n] == '=')
            return *e + n + 1;
    return NULL;
}

/* A file the kernel takes for no program is a script without a first line: to sh. */
static void exec_file(const char *path, char **argv, char **env)
{
    execve(path, argv, env);
    if (errno != ENOEXEC)
        return;
    size_t n = 0;
    while (argv[n])
        n++;
    char **with = calloc(n + 2, sizeof *with);
    if (!with)
        return;
    with[0] = "/bin/sh";
    with[1] = (char *)path;
    memcpy(with + 2, argv + 1, n * sizeof *argv);
    execve(with[0], with, env);
    free(with);
}

/* Gives errno. */
static int exec_command(char **argv, char **env)
{
    if (!strcmp(argv[0], "@lodge-guest")) {
        exec_file("/proc/self/exe", argv, env);
        return errno;
    }
    if (strchr(argv[0], '/') || !*argv[0]) {
        exec_file(argv[0], argv, env);
        return errno;
    }
    const char *path = env_value(env, "PATH");
    int why = ENOENT;
    for (const char *p = path ? path : "/usr/local/bin:/usr/bin:/bin"; *p;) {
        size_t n = strcspn(p, ":");
        AUTO_STR file = n ? str_printf("%.*s/%s", (int)n, p, argv[0]) : strdup(argv[0]);
        if (!file)
            return ENOMEM;
        exec_file(file, argv, env);
        if (errno != ENOENT && errno != ENOTDIR)
            why = errno;
        p += n;
        p += *p == ':';
    }
    return why;
}

/* The script lives in memory only: nothing is left behind whatever happens. Its
 * interpreter opens it by descriptor, so that one stays open. Gives errno. */
static int run_script(const struct command *c, char **env)
{
    int fd = memfd_create("script", 0);
    AUTO_STR path = str_printf("/proc/self/fd/%d", fd);
    if (fd < 0 || !path || fd_write_all(fd, c->script, c->script_len, NULL) < 0)
        return errno ? errno : ENOMEM;
    /* What runs must not be open for writing: Text file busy. */
    int again = open(path, O_RDONLY);
    if (again < 0 || dup2(again, fd) < 0)
        return errno;
    close(again);
    exec_file(path, c->argv, env);
    return errno;
}

static char **default_env(const struct command *c)
{
    struct user user = {0};
    users_find(c->has_ids ? c->uid : geteuid(), &user);
    char **env = calloc(7, sizeof *env);
    if (!env)
        return NULL;
    env[0] =
        strdup("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    env[1] = str_printf("HOME=%s", user.home);
    env[2] = str_printf("USER=%s", user.name);
    env[3] = str_printf("LOGNAME=%s", user.name);
    env[4] = str_printf("SHELL=%s", user.shell);
    env[5] = c->pty ? strdup("TERM=xterm") : NULL;
    return env;
}

/* Where there is no such directory it is the home, else the root; the reason goes to the
 * command's own stderr. */
static void go_to(const char *cwd, char **env)
{
    const char *home = env_value(env, "HOME");
    if (cwd && chdir(cwd) == 0)
        return;
    if (cwd)
        dprintf(STDERR_FILENO, "lodge: cannot change to '%s' in the guest: %s\n", cwd,
                strerror(errno));
    if ((!home || chdir(home) < 0) && chdir("/") < 0)
        return;
}

/* A command that may call out finds our srun first. */
static void put_call_path(char **env)
{
    char *path = call_path(env);
    for (char **e = env; path && *e; e++)
        if (str_starts(*e, "PATH=")) {
            *e = path; /* both are this process's until exec */
            return;
        }
    free(path);
}

static void plain_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void fail(int control, int why, const char *what)
{
    monitor_tell(control, MONITOR_FAILED, why, 0, what);
    _exit(why == ENOENT || why == ENOTDIR ? 127 : 126);
}

static void become(const struct monitor_start *start, int control)
{
    const struct command *c = start->command;
    if (c->pty) {
        setsid();
        ioctl(start->fds[0], TIOCSCTTY, 0);
    } else {
        setpgid(0, 0);
    }
    for (int i = 0; i < 3; i++)
        if (dup2(start->fds[i], i) < 0)
            fail(control, errno, "standard input and output");
    /* All else closes at exec; `inside` keeps only the control socket. */
    close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
    set_limits(c);
    char **env = c->env ? c->env : default_env(c);
    if (!env)
        fail(control, ENOMEM, "environment");
    int r = set_ids(c);
    if (r < 0)
        fail(control, -r, "change to the user");
    umask(c->umask >= 0 ? c->umask : 022);
    put_call_path(env);
    go_to(c->cwd, env);
    plain_signals();
    if (start->inside)
        _exit(start->inside(control, c));
    if (c->script)
        fail(control, run_script(c, env), "script");
    r = exec_command(c->argv, env);
    fail(control, r, c->argv[0]);
}

/* --- the monitor
 * ---------------------------------------------------------------------- */

struct monitor {
    int control, signals;
    pid_t leader;
    bool pty, exited, killing;
    uint64_t kill_hard_at;
};

/* Parent of a process, or 0. */
static pid_t parent_of(pid_t pid)
{
    char path[40], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    char *p = strrchr(text, ')');
    /* Behind the name: " S 123 ...", state and parent. */
    return p && strlen(p) > 4 ? strtol(p + 4, NULL, 10) : 0;
}

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* Signal all descendants of ours. A process whose parent we signalled too is found
 * whatever the order: the chain of parents is followed up to us. */
void monitor_kill_tree(int sig)
{
    enum { DEEP = 1000 };
    pid_t own = getpid();
    DIR *proc = opendir("/proc");
    struct dirent *d;
    while (proc && (d = readdir(proc))) {
        if (!isdigit((unsigned char)d->d_name[0]))
            continue;
        pid_t pid = strtol(d->d_name, NULL, 10), up = pid;
        for (int i = 0; i < DEEP && up > 1 && up != own; i++)
            up = parent_of(up);
        if (up == own && pid != own)
            kill(pid, sig);
    }
    if (proc)
        closedir(proc);
}

/* Reap what ended; true while children are left. */
static bool reap(struct monitor *m)
{
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid < 0)
            return errno == EINTR;
        if (pid == 0)
            return true;
        if (pid == m->leader) {
            m->exited = true;
            monitor_tell(m->control, MONITOR_EXIT, status, 0, NULL);
        }
    }
}

static void start_killing(struct monitor *m)
{
    if (m->killing)
        return;
    m->killing = true;
    m->kill_hard_at = clock_ms() + GRACE_MS;
    monitor_kill_tree(SIGTERM);
    monitor_kill_tree(SIGCONT);
}

/* To the foreground group of its terminal if that is known, else to its own group. */
static void send_signal(struct monitor *m, int sig, pid_t group)
{
    if (m->exited || sig <= 0 || sig >= NSIG)
        return;
    if (kill(-(group > 1 ? group : m->leader), sig) < 0)
        kill(m->leader, sig);
}

/* False: lodge-guest let go of us, or died. */
static bool take_note(struct monitor *m)
{
    struct monitor_note note;
    ssize_t n = recv(m->control, &note, sizeof note, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n != sizeof note) {
        if (!m->exited)
            start_killing(m);
        return false;
    }
    if (note.kind == MONITOR_LET_GO)
        return false;
    if (note.kind == MONITOR_SIGNAL)
        send_signal(m, note.a, note.b);
    else if (note.kind == MONITOR_KILL)
        start_killing(m);
    return true;
}

static void watch_over(struct monitor *m)
{
    bool held = true, children = true;
    while (held || (m->killing && children)) {
        struct pollfd p[2] = {{.fd = m->signals, .events = POLLIN},
                              {.fd = held ? m->control : -1, .events = POLLIN}};
        poll(p, 2, m->killing ? 50 : -1);
        struct signalfd_siginfo info[8];
        if (p[0].revents && read(m->signals, info, sizeof info) < 0 && errno != EINTR)
            break;
        children = reap(m);
        if (p[1].revents)
            held = take_note(m);
        if (m->killing && clock_ms() >= m->kill_hard_at)
            monitor_kill_tree(SIGKILL);
    }
}

static void close_but(const int *keep, size_t n)
{
    int sorted[8], from = 3;
    memcpy(sorted, keep, n * sizeof *keep);
    qsort(sorted, n, sizeof *sorted, by_number);
    for (size_t i = 0; i < n; i++) {
        if (sorted[i] > from)
            close_range(from, sorted[i] - 1, 0);
        if (sorted[i] >= from)
            from = sorted[i] + 1;
    }
    close_range(from, ~0u, 0);
}

static void monitor_main(const struct monitor_start *start, int control)
{
    sigset_t set;
    int keep[] = {control, start->fds[0], start->fds[1], start->fds[2]};
    close_but(keep, ARRAY_SIZE(keep));
    plain_signals();
    /* Our death is the command's: nobody would be left to tell its end. */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_NAME, "lodge-monitor");
    setsid();
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    struct monitor m = {.control = control,
                        .signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
                        .pty = start->command->pty};
    m.leader = fork();
    if (m.leader == 0)
        become(start, control);
    for (int i = 0; i < 3; i++)
        if (start->fds[i] > 2)
            close(start->fds[i]);
    if (m.leader < 0 || m.signals < 0) {
        monitor_tell(control, MONITOR_FAILED, errno, 0, "fork");
        monitor_tell(control, MONITOR_EXIT, 126 << 8, 0, NULL);
        _exit(1);
    }
    if (!m.pty)
        setpgid(m.leader, m.leader);
    monitor_tell(control, MONITOR_STARTED, m.leader, 0, NULL);
    watch_over(&m);
    _exit(0);
}

int monitor_start(const struct monitor_start *start, int *control, struct err *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, "socketpair");
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[0]);
        monitor_main(start, pair[1]);
    }
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        return err_sys(err, "fork");
    }
    *control = pair[0];
    return 0;
}
