/* SPDX-License-Identifier: Apache-2.0 */
/* lodge-guest: in the guest, the other end of lodge-agent's channel.
 *
 * The process that is started only supervises: it forks a worker and starts another
 * when that dies. As process 1 it also mounts what a system needs and reaps. All work
 * is the worker's (guest.c). */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/own.h"
#include "base/str.h"
#include "config.h"
#include "guest/call.h"
#include "guest/drivers.h"
#include "guest/guest.h"
#include "guest/monitor.h"

static const struct {
    const char *source, *target, *type, *data;
    unsigned long flags;
} mounts[] = {
    {"proc", "/proc", "proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
    {"sysfs", "/sys", "sysfs", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
    {"devtmpfs", "/dev", "devtmpfs", "mode=0755", MS_NOSUID},
    {"devpts", "/dev/pts", "devpts", "mode=0620,gid=5,ptmxmode=0666",
     MS_NOSUID | MS_NOEXEC},
    {"tmpfs", "/dev/shm", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV},
    {"tmpfs", "/run", "tmpfs", "mode=0755", MS_NOSUID | MS_NODEV},
    {"cgroup2", "/sys/fs/cgroup", "cgroup2", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
};

/* Is something else than its parent's file system there? */
static bool is_mount_point(const char *path)
{
    AUTO_STR up = str_printf("%s/..", path);
    struct stat a, b;
    return up && stat(path, &a) == 0 && stat(up, &b) == 0 && a.st_dev != b.st_dev;
}

static void mount_basics(void)
{
    static const char *const links[][2] = {{"/proc/self/fd", "/dev/fd"},
                                           {"/proc/self/fd/0", "/dev/stdin"},
                                           {"/proc/self/fd/1", "/dev/stdout"},
                                           {"/proc/self/fd/2", "/dev/stderr"},
                                           {"pts/ptmx", "/dev/ptmx"}};
    for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
        if (is_mount_point(mounts[i].target))
            continue;
        mkdir(mounts[i].target, 0755);
        if (mount(mounts[i].source, mounts[i].target, mounts[i].type, mounts[i].flags,
                  mounts[i].data) < 0)
            log_warn(NULL, "mount %s: %s", mounts[i].target, strerror(errno));
    }
    for (size_t i = 0; i < ARRAY_SIZE(links); i++)
        if (symlink(links[i][0], links[i][1]) < 0 && errno != EEXIST)
            log_debug(NULL, "link %s: %s", links[i][1], strerror(errno));
}

static int work(const struct guest_options *options)
{
    struct err err;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_NAME, "lodge-guest");
    if (guest_run(options, &err) < 0) {
        log_error(NULL, "%s", err.text);
        return err_exit_status(&err);
    }
    return 0;
}

static pid_t start_worker(const struct guest_options *options)
{
    pid_t parent = getpid(), pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(0);
    _exit(work(options));
}

/* The worker, its commands, and what they left behind, which came to us. */
static void end_all(pid_t worker)
{
    enum { STEPS = 40, STEP_US = 50000, HARD_AFTER = 20 };
    kill(worker, SIGTERM);
    for (int i = 0; i < STEPS; i++) {
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        if (waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD)
            return;
        monitor_kill_tree(i < HARD_AFTER ? SIGTERM : SIGKILL);
        usleep(STEP_US);
    }
}

/* Until the worker is not wanted any more; gives its exit status. */
static int supervise(const struct guest_options *options)
{
    enum { SOON_MS = 2000, PAUSE_US = 500000 };
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGPWR);
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (!options->pid1)
        prctl(PR_SET_CHILD_SUBREAPER, 1);
    uint64_t started = clock_ms();
    pid_t worker = start_worker(options);
    for (;;) {
        int sig = 0, status;
        pid_t pid;
        if (worker > 0 && sigwait(&set, &sig) == 0 && sig != SIGCHLD) {
            if (options->pid1) /* SIGINT: ctrl-alt-del or a container's reboot */
                power_down(true, sig == SIGINT);
            end_all(worker);
            return 0;
        }
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
            if (pid != worker)
                continue;
            worker = -1;
            if (WIFEXITED(status) && options->fd >= 0)
                return WEXITSTATUS(status);
        }
        if (worker > 0)
            continue;
        if (clock_ms() - started < SOON_MS)
            usleep(PAUSE_US);
        log_warn(NULL, "the worker ended: starting another");
        started = clock_ms();
        worker = start_worker(options);
    }
}

static const char usage[] =
    "usage: lodge-guest [--port NAME | --socket PATH | --listen PATH | --fd N]\n"
    "                   [--no-identity]\n"
    "Run commands for lodge-agent in a guest. As process 1 it is the guest's init.\n"
    "  --port NAME     virtio-console port to talk on (org.lodge.guest.0)\n"
    "  --socket PATH   unix socket to connect to\n"
    "  --listen PATH   unix socket to listen on, in a container; the last caller "
    "counts\n"
    "  --fd N          connected descriptor; ends with it\n"
    "  --no-identity   leave the machine's name, users, clock and power alone\n"
    "  --worker        no supervisor\n"
    "  --daemon        started beside another init: what is done anyway\n"
    "  --call-wait N   wait for an srun in this guest; lodge-exec starts it\n"
    "  --version\n";

/* -1: go on; else the exit status. */
static int read_options(int argc, char **argv, struct guest_options *o,
                        bool *worker_only)
{
    static const struct option longs[] = {{"port", required_argument, NULL, 'p'},
                                          {"socket", required_argument, NULL, 's'},
                                          {"listen", required_argument, NULL, 'l'},
                                          {"daemon", no_argument, NULL, 'd'},
                                          {"fd", required_argument, NULL, 'f'},
                                          {"no-identity", no_argument, NULL, 'n'},
                                          {"host", no_argument, NULL, 'n'},
                                          {"worker", no_argument, NULL, 'w'},
                                          {"version", no_argument, NULL, 'v'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    uint64_t number;
    int opt;
    while ((opt = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
        switch (opt) {
        case 'p':
            o->port = optarg;
            break;
        case 's':
            o->socket = optarg;
            break;
        case 'l':
            o->listen = optarg;
            break;
        case 'd':
            break;
        case 'f':
            if (!str_to_u64(optarg, &number) || number > 1 << 20 ||
                fcntl(number, F_SETFD, FD_CLOEXEC) < 0) {
                log_error(NULL, "--fd '%s' is not an open descriptor", optarg);
                return 64;
            }
            o->fd = number;
            break;
        case 'n':
            o->no_identity = true;
            break;
        case 'w':
            *worker_only = true;
            break;
        case 'v':
            puts("lodge-guest " PACKAGE_VERSION);
            return 0;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            if (o->pid1)
                break;
            fputs(usage, stderr);
            return 64;
        }
    }
    return -1;
}

int main(int argc, char **argv)
{
    struct guest_options o = {
        .port = "org.lodge.guest.0", .fd = -1, .pid1 = getpid() == 1};
    bool worker_only = false;
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    if (!o.pid1 && argc > 0 && !strcmp(slash ? slash + 1 : argv[0], "srun"))
        return call_srun(argc, argv);
    if (!o.pid1 && argc == 3 && !strcmp(argv[1], "--call-wait"))
        return call_wait(argv[2]);
    log_open("lodge-guest", LOG_L_INFO);
    /* The kernel gives an init words of its command line that it does not know; a
     * container's init is told where to listen. */
    bool told = !o.pid1 || (argc > 1 && !strcmp(argv[1], "--listen"));
    int status = told ? read_options(argc, argv, &o, &worker_only) : -1;
    if (status >= 0)
        return status;
    if (o.pid1)
        mount_basics();
    if (o.pid1 && !o.listen) /* a container sees the host's devices */
        drivers_load();
    if (!o.no_identity && geteuid() == 0)
        call_make_directory();
    return worker_only ? work(&o) : supervise(&o);
}
