/* SPDX-License-Identifier: Apache-2.0 */
/* Child processes: an argument vector, never a shell string; watched by pidfd. */
#pragma once
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What to start. Everything may be left 0 but argv. */
struct proc_spec {
    const char *const *argv; /* argv[0] is looked up in PATH unless it has a '/' */
    const char *const *env;  /* NULL: inherit */
    const char *cwd;
    /* Descriptors the child gets: fds[i] becomes number i. Entries of -1 are /dev/null.
     * nfds 0 means: inherit 0, 1, 2. All others are closed (close-on-exec). */
    const int *fds;
    size_t nfds;
    bool new_session; /* setsid(): outlives us and our terminal */
    bool die_with_us; /* PR_SET_PDEATHSIG SIGKILL */
    bool set_ids;     /* setgroups(ids), setresgid(gid), setresuid(uid) */
    uid_t uid;
    gid_t gid;
    const gid_t *groups;
    size_t ngroups;
    /* Called in the child, after fork: only async-signal-safe calls. A negative errno
     * refuses. The first before the ids are changed (may be NULL), the other last before
     * exec. */
    int (*before_ids)(void *arg);
    int (*in_child)(void *arg);
    void *arg;
};

/* A pidfd in *pidfd (the caller's to close) and the pid in *pid (may be NULL). An exec
 * that fails is reported here, with what was tried. */
int proc_spawn(const struct proc_spec *spec, int *pidfd, pid_t *pid, struct err *err);
/* Wait at most timeout_ms (-1: for ever). *status is waitpid's. E_TIMEOUT if it still
 * runs. */
int proc_wait(int pidfd, int timeout_ms, int *status, struct err *err);
int proc_kill(int pidfd, int sig, struct err *err);

/* Run to the end; both outputs in *out (the caller's; may be NULL, then they are
 * dropped), at most 1 MiB kept. Killed after timeout_ms (-1: never). A status other
 * than 0 is an error that ends with the last line the program wrote. */
int proc_run(const struct proc_spec *spec, int timeout_ms, char **out, struct err *err);

/* The start time of a process in clock ticks since boot (field 22 of /proc/PID/stat):
 * with the pid it names a process for ever. 0 if there is none. */
uint64_t proc_start_time(pid_t pid);

/* Give back the memory that only starting up needed: unused heap, and pages of programs'
 * and libraries' code, which come back from the page cache when they are used again. */
void proc_shed(void);
