/* SPDX-License-Identifier: Apache-2.0 */
/* lodge-slurm: what the plugin has done by a process of its own.
 *
 *   sentinel JOBID NAME SOCKET PROFILE
 *       A child of the external step's slurmstepd, in that step's tracking group:
 * Slurm's suspend sends TSTP to it before it freezes the rest, resume CONT after. They
 *       become vm.pause and vm.resume of all the job's machines. First tells slurmctld
 *       the profile, unless it is empty, as comments of the job. A child of it waits
 *       for the machines to come up: see watch().
 *   keep PROGRAM ARG...
 *       Run the program; when it has ended, stay until the job does, so that its machines
 *       can be looked at.
 *   name JOBID
 *       "42_7" for an array task, else the number.
 *   drain JOBID REASON, requeue JOBID REASON
 *       This node has a fault: drain it, with the reason; requeue also sends the job
 *       elsewhere (or fails it, if it cannot be requeued). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/own.h"
#include "base/proc.h"
#include "base/str.h"
#include "fault.h"
#include "proto/client.h"

enum { SCONTROL_MS = 8000, VERB_MS = 60000, BEGIN_MS = 3600000 };

/* Where squeue's users look: AdminComment, which only scontrol shows, and the comment,
 * unless the user has made one. */
static void tell_profile(const char *id, const char *profile)
{
    const char *const show[] = {"scontrol", "-o", "show", "job", id, NULL};
    const struct proc_spec look = {.argv = show, .die_with_us = true};
    AUTO_STR job = str_printf("JobId=%s", id);
    AUTO_STR admin = str_printf("AdminComment=lodge profile=%s", profile);
    AUTO_STR comment = str_printf("Comment=vm-profile=%s", profile);
    AUTO_STR text = NULL;

    if (!job || !admin || !comment || proc_run(&look, SCONTROL_MS, &text, NULL) < 0)
        return;
    const char *const words[] = {
        "scontrol", "update", job, admin, strstr(text, " Comment=") ? NULL : comment,
        NULL};
    const struct proc_spec update = {.argv = words, .die_with_us = true};
    proc_run(&update, SCONTROL_MS, NULL, NULL);
}

static int scontrol(const char *a, const char *b, const char *c, const char *d,
                    struct err *err)
{
    const char *const argv[] = {"scontrol", a, b, c, d, NULL};
    const struct proc_spec spec = {.argv = argv, .die_with_us = true};

    return proc_run(&spec, SCONTROL_MS, NULL, err);
}

static const char *node_name(char *host, size_t size)
{
    const char *node = getenv("SLURMD_NODENAME");

    if (!str_empty(node))
        return node;
    gethostname(host, size - 1);
    host[strcspn(host, ".")] = '\0';
    return host;
}

static int drain(const char *reason, struct err *err)
{
    char host[256] = "";
    AUTO_STR node = str_printf("NodeName=%s", node_name(host, sizeof host));
    AUTO_STR why = str_printf("Reason=lodge: %.200s", reason);

    if (!node || !why)
        return err_oom(err);
    return scontrol("update", node, "State=DRAIN", why, err);
}

static int verb_drain(int argc, char **argv, struct err *err)
{
    return drain(argv[1], err);
}

static int verb_requeue(int argc, char **argv, struct err *err)
{
    if (drain(argv[1], err) < 0)
        return -1;
    return scontrol("requeue", argv[0], NULL, NULL, err);
}

/* --- name --- */
static bool field(const char *text, const char *name, uint64_t *out)
{
    char word[24];
    const char *at = strstr(text, name);

    if (!at)
        return false;
    at += strlen(name);
    snprintf(word, sizeof word, "%.*s", (int)strcspn(at, " \n"), at);
    return str_to_u64(word, out);
}

static int verb_name(int argc, char **argv, struct err *err)
{
    const char *const words[] = {"scontrol", "-o", "show", "job", argv[0], NULL};
    const struct proc_spec spec = {.argv = words, .die_with_us = true};
    AUTO_STR text = NULL;
    uint64_t array, task;

    if (proc_run(&spec, SCONTROL_MS, &text, err) < 0)
        return -1;
    if (field(text, "ArrayJobId=", &array) && field(text, "ArrayTaskId=", &task))
        printf("%" PRIu64 "_%" PRIu64 "\n", array, task);
    else
        printf("%s\n", argv[0]);
    return 0;
}

/* --- sentinel ----------------------------------------------------------------------
 */
/* The freezer group of process pid ("/..."); the caller's. NULL: none. */
static char *freezer_of(const char *pid)
{
    AUTO_STR path = str_printf("/proc/%s/cgroup", pid);
    AUTO_STR text = NULL;
    char *at;

    if (!path || fd_read_file(path, 65536, &text, NULL, NULL) < 0)
        return NULL;
    at = strstr(text, ":freezer:");
    return at ? strndup(at + 9, strcspn(at + 9, "\n")) : NULL;
}

/* Slurm signals what is in the step's freezer group and a child of slurmstepd. We are its
 * child; go to the group where our sibling, the step's own task, is. */
static bool join(void)
{
    AUTO_STR path = str_printf("/proc/%d/task/%d/children", getppid(), getppid());
    AUTO_STR text = NULL;
    char me[16], *rest;

    snprintf(me, sizeof me, "%d", (int)getpid());
    if (!path || fd_read_file(path, 65536, &text, NULL, NULL) < 0)
        return false;
    rest = text;
    for (char *pid; (pid = strsep(&rest, " "));) {
        AUTO_STR group = *pid && strcmp(pid, me) != 0 ? freezer_of(pid) : NULL;
        if (!group || !str_ends(group, "/step_extern"))
            continue;
        AUTO_STR procs = str_printf("/sys/fs/cgroup/freezer%s/cgroup.procs", group);
        AUTO_FD fd = procs ? open(procs, O_WRONLY | O_CLOEXEC) : -1;
        return fd >= 0 && write(fd, me, strlen(me)) > 0;
    }
    return false;
}

/* Ask for all machines first, then wait for each: they pause side by side. */
static int all(const char *socket, const char *job, const char *verb, struct err *err)
{
    const struct rpc_client_opts opts = {.timeout_ms = VERB_MS};
    AUTO(rpc_client) c = NULL;
    AUTO_JSON list = NULL;
    json_t *vm;
    size_t i;
    int rc = 0;

    if (rpc_client_connect(socket, &c, err) < 0 ||
        rpc_client_call(c, "vm.list", json_pack("{s:s}", "job", job), &opts, &list,
                        err) < 0)
        return -1;
    json_array_foreach (json_object_get(list, "vms"), i, vm) {
        const char *id = json_string_value(json_object_get(vm, "id"));
        if (id && rpc_client_call(c, verb, json_pack("{s:s}", "vm", id), &opts, NULL,
                                  err) < 0)
            rc = -1;
    }
    return rc;
}

/* The first machine of the job that failed by the node's fault: why; the caller's. */
static char *node_fault(const char *socket, const char *job, bool *known)
{
    const struct rpc_client_opts opts = {.timeout_ms = VERB_MS};
    AUTO(rpc_client) c = NULL;
    AUTO_JSON list = NULL;
    json_t *vm;
    size_t i;

    *known = rpc_client_connect(socket, &c, NULL) == 0 &&
             rpc_client_call(c, "vm.list", json_pack("{s:s}", "job", job), &opts, &list,
                             NULL) == 0;
    json_array_foreach (json_object_get(list, "vms"), i, vm) {
        json_t *why = json_object_get(vm, "why");
        const char *code = json_string_value(json_object_get(why, "code"));
        const char *text = json_string_value(json_object_get(why, "text"));
        if (code && text && fault_of_machine(err_code_parse(code)))
            return strdup(text);
    }
    return NULL;
}

/* Wait until the job's machines are up or failed; what the node is to blame for drains it
 * and sends the job elsewhere. The agent may be away for a moment meanwhile. */
static void watch(const char *id, const char *job, const char *socket)
{
    enum { TRIES = 100, PAUSE_MS = 300 };
    const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
    const struct rpc_client_opts opts = {.timeout_ms = BEGIN_MS};
    bool known = false;

    for (int i = 0; i < TRIES && !known; i++) {
        AUTO(rpc_client) c = NULL;
        if (rpc_client_connect(socket, &c, NULL) == 0 &&
            rpc_client_call(c, "job.begin", json_pack("{s:s}", "job", job), &opts, NULL,
                            NULL) == 0)
            return;
        AUTO_STR why = node_fault(socket, job, &known);
        char *words[] = {(char *)id, why, NULL};
        struct err err = {0};
        if (why && verb_requeue(2, words, &err) < 0)
            fprintf(stderr, "lodge-slurm: requeue of job %s: %s\n", id, err.text);
        if (!known)
            nanosleep(&pause, NULL);
    }
}

static int verb_sentinel(int argc, char **argv, struct err *err)
{
    const char *id = argv[0], *job = argv[1], *socket = argv[2];
    const struct timespec pause = {.tv_nsec = 100 * 1000000L};
    bool paused = false;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTSTP);
    sigaddset(&set, SIGCONT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGHUP, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* The machines come up meanwhile; the watch ends with the step, as we do. */
    if (fork() == 0) {
        watch(id, job, socket);
        _exit(0);
    }
    /* The task is put there a little after us; without cgroups it never is. */
    for (int i = 0; i < 20 && !join(); i++)
        nanosleep(&pause, NULL);
    if (*argv[3]) /* only one node does */
        tell_profile(id, argv[3]);
    for (;;) {
        int sig = sigwaitinfo(&set, NULL);
        if (sig == SIGTERM)
            return 0;
        /* CONT comes at the end of every step too: only a pause of ours is undone. */
        if (sig == SIGTSTP) {
            paused = true;
            all(socket, job, "vm.pause", NULL);
        } else if (sig == SIGCONT && paused) {
            paused = false;
            all(socket, job, "vm.resume", NULL);
        }
    }
}

/* --- keep ----------------------------------------------------------------------------
 */
static pid_t kept;
static void pass_on(int sig)
{
    if (kept > 0)
        kill(kept, sig);
    else
        _exit(128 + sig);
}

static int verb_keep(int argc, char **argv, struct err *err)
{
    static const int passed[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGQUIT};
    int status = 0;

    kept = fork();
    if (kept < 0)
        return err_sys(err, "fork");
    if (kept == 0) {
        execv(argv[0], argv);
        fprintf(stderr, "lodge: '%s': %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    for (size_t i = 0; i < ARRAY_SIZE(passed); i++)
        signal(passed[i], pass_on);
    while (waitpid(kept, &status, 0) < 0 && errno == EINTR)
        ;
    kept = 0;
    fprintf(
        stderr,
        "lodge: the script ended with status %d; its machines stay until job %s ends: "
        "'lodge vm list', 'scancel %s'\n",
        WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
        getenv("SLURM_JOB_ID") ? getenv("SLURM_JOB_ID") : "?",
        getenv("SLURM_JOB_ID") ? getenv("SLURM_JOB_ID") : "?");
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int args; /* at least */
        int (*run)(int argc, char **argv, struct err *err);
    } verbs[] = {
        {"sentinel", 4, verb_sentinel}, {"keep", 1, verb_keep},
        {"name", 1, verb_name},         {"drain", 2, verb_drain},
        {"requeue", 2, verb_requeue},
    };
    struct err err = {0};

    /* Slurm gives prologs and its own steps no PATH. Never the user's: we may be root. */
    if (argc > 1 && strcmp(argv[1], "keep") != 0)
        setenv("PATH", "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin",
               1);
    for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(verbs); i++) {
        if (strcmp(argv[1], verbs[i].name) != 0 || argc - 2 < verbs[i].args)
            continue;
        if (verbs[i].run(argc - 2, argv + 2, &err) == 0)
            return 0;
        fprintf(stderr, "lodge-slurm: %s: %s\n", argv[1], err.text);
        return err_exit_status(&err);
    }
    fputs("lodge-slurm is run by the Slurm plugin: see lodge-slurm(8)\n", stderr);
    return 64;
}
