/* SPDX-License-Identifier: Apache-2.0 */
/* Namespaces for building; see the header. Three processes: the caller, a middle one
 * that unshares, and the first process of the new namespace, which works. Each dies
 * with the one before, and all die with the first process of the namespace. */
#include "image/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/own.h"
#include "base/proc.h"
#include "base/str.h"

struct range {
    uint64_t first, count;
};

/* Our range in /etc/subuid or /etc/subgid: "name:100000:65536", by name or number. */
static int sub_range(const char *file, struct range *out, struct err *err)
{
    AUTO_STR text = NULL;
    const struct passwd *pw = getpwuid(getuid());
    char number[24];
    snprintf(number, sizeof number, "%u", (unsigned)getuid());
    if (fd_read_file(file, 1 << 20, &text, NULL, NULL) == 0) {
        char *rest = text;
        for (char *line; (line = strsep(&rest, "\n"));) {
            char *who = strsep(&line, ":"), *first = strsep(&line, ":");
            if (!line || (strcmp(who, number) && (!pw || strcmp(who, pw->pw_name))))
                continue;
            if (str_to_u64(first, &out->first) && str_to_u64(line, &out->count) &&
                out->count >= 65535)
                return 0;
        }
    }
    return err_set(err, E_CONFIG,
                   "user %s has no 65536 ids in %s, which a build without root needs; "
                   "an administrator adds them: usermod --add-subuids 100000-165535 "
                   "--add-subgids 100000-165535 %s",
                   pw ? pw->pw_name : number, file, pw ? pw->pw_name : number);
}

/* 0 is us, 1 and up are the granted range, for the process. */
static int map_ids(pid_t child, struct err *err)
{
    static const struct {
        const char *tool, *file;
    } maps[] = {{"newuidmap", "/etc/subuid"}, {"newgidmap", "/etc/subgid"}};
    for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
        struct range r;
        if (sub_range(maps[i].file, &r, err) < 0)
            return -1;
        char pid[24], own[24], first[24], count[24];
        snprintf(pid, sizeof pid, "%d", (int)child);
        snprintf(own, sizeof own, "%u", (unsigned)(i ? getgid() : getuid()));
        snprintf(first, sizeof first, "%llu", (unsigned long long)r.first);
        snprintf(count, sizeof count, "%llu",
                 (unsigned long long)(r.count < 65536 ? r.count : 65536));
        const char *const argv[] = {maps[i].tool, pid,   "0",   own, "1",
                                    "1",          first, count, NULL};
        const struct proc_spec spec = {.argv = argv, .die_with_us = true};
        if (proc_run(&spec, 10000, NULL, err) < 0)
            return err_at(err, "user namespace (Debian package uidmap)");
    }
    return 0;
}

static void report(int fd, const struct err *err)
{
    fd_write_all(fd, err, sizeof *err, NULL);
}

static int prepare(const struct sandbox_spec *spec, struct err *err)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return err_sys(err, "make mounts private");
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return err_sys(err, "mount /proc");
    if (spec->dir && mount("lodge-build", spec->dir, "tmpfs", 0, "mode=0755") < 0)
        return err_sys(err, "mount a tmpfs on '%s'", spec->dir);
    return 0;
}

/* The first process of the namespace. */
static void __attribute__((noreturn)) inner(const struct sandbox_spec *spec, int result)
{
    struct err e = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int r = prepare(spec, &e);
    if (r == 0)
        r = spec->work(spec->arg, &e);
    if (r < 0)
        report(result, &e);
    _exit(r < 0);
}

static void __attribute__((noreturn))
middle(const struct sandbox_spec *spec, pid_t parent, int go, int ready, int result)
{
    struct err e = {0};
    char c;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    int flags = CLONE_NEWNS | CLONE_NEWPID | (spec->rootless ? CLONE_NEWUSER : 0);
    if (unshare(flags) < 0) {
        err_sys(&e, "new namespaces%s",
                spec->rootless ? "" : " (not root? then --rootless is needed)");
        report(result, &e);
        _exit(1);
    }
    if (fd_write_all(ready, "r", 1, NULL) < 0 || fd_read_all(go, &c, 1, NULL) < 0)
        _exit(1);
    if (spec->rootless) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* changing ids has cleared it */
        if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0) {
            err_sys(&e, "become root of the user namespace");
            report(result, &e);
            _exit(1);
        }
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_DUMPABLE, 1);
    }
    pid_t child = fork();
    if (child < 0) {
        err_sys(&e, "fork");
        report(result, &e);
        _exit(1);
    }
    if (child == 0)
        inner(spec, result);
    int status;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

static int follow(const struct sandbox_spec *spec, pid_t child, int ready, int go,
                  struct err *err)
{
    char c;
    if (read(ready, &c, 1) != 1)
        return 0; /* it has reported why */
    if (spec->rootless && map_ids(child, err) < 0)
        return -1;
    return fd_write_all(go, "g", 1, err);
}

int sandbox_run(const struct sandbox_spec *spec, struct err *err)
{
    int a[2], b[2], c[2];
    if (pipe2(a, O_CLOEXEC) < 0)
        return err_sys(err, "pipe");
    AUTO_FD go_r = a[0];
    AUTO_FD go_w = a[1];
    if (pipe2(b, O_CLOEXEC) < 0)
        return err_sys(err, "pipe");
    AUTO_FD ready_r = b[0];
    AUTO_FD ready_w = b[1];
    if (pipe2(c, O_CLOEXEC) < 0)
        return err_sys(err, "pipe");
    AUTO_FD result_r = c[0];
    AUTO_FD result_w = c[1];
    fflush(NULL);
    pid_t parent = getpid(), child = fork();
    if (child < 0)
        return err_sys(err, "fork");
    if (child == 0) {
        close(go_w);
        close(ready_r);
        close(result_r);
        middle(spec, parent, go_r, ready_w, result_w);
    }
    close(move_fd(ready_w));
    close(move_fd(result_w));
    close(move_fd(go_r));
    int r = follow(spec, child, ready_r, go_w, err);
    if (r < 0)
        kill(child, SIGKILL);
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return err_sys(err, "wait");
    if (r < 0)
        return -1;
    struct err got;
    if (read(result_r, &got, sizeof got) == sizeof got) {
        got.text[sizeof got.text - 1] = '\0';
        if (err)
            *err = got;
        return -1;
    }
    if (WIFSIGNALED(status) || WEXITSTATUS(status))
        return err_set(err, E_FAIL, "the build process was killed");
    return 0;
}
