/* SPDX-License-Identifier: Apache-2.0 */
/* Forked workers; see the header. */
#include "agent/work.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "proto/rpc.h"

struct work {
    struct work_spec spec;
    pid_t pid;
    int pipe;
    sd_event_source *io, *timer;
    struct rpc_lines lines;
    json_t *result; /* the last word, when it came */
    struct err why;
    bool ended;
};

/* In the child only. */
static int tell_fd = -1;

static void tell(json_t *note)
{
    AUTO_JSON own = note;
    AUTO_STR line = NULL;
    size_t len;
    if (own && rpc_encode(own, &line, &len, NULL) == 0)
        fd_write_all(tell_fd, line, len, NULL);
}

static void child_main(const struct work_spec *spec, int out)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGCHLD, SIG_DFL);
    /* Keep 0, 1, 2 and the pipe, which becomes 3. */
    if (out != 3) {
        dup2(out, 3);
        close(out);
    }
    fcntl(3, F_SETFD, FD_CLOEXEC);
    syscall(SYS_close_range, 4u, ~0u, 0);
    tell_fd = 3;
    struct err err = {0};
    json_t *result = NULL;
    if (spec->run(spec->arg, tell, &result, &err) < 0)
        tell(rpc_refusal("", &err));
    else
        tell(rpc_answer("", result));
    _exit(0);
}

static void work_free(struct work *w)
{
    sd_event_source_disable_unref(w->io);
    sd_event_source_disable_unref(w->timer);
    if (w->pipe >= 0)
        close(w->pipe);
    rpc_lines_done(&w->lines);
    json_decref(w->result);
    free(w);
}

static void reap(struct work *w)
{
    /* Only its own group: what it started for a VM has its own session. */
    kill(-w->pid, SIGKILL);
    kill(w->pid, SIGKILL);
    while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

void work_cancel(struct work *w)
{
    if (!w)
        return;
    reap(w);
    work_free(w);
}

static void finish(struct work *w)
{
    reap(w);
    if (!w->result && !w->why.code)
        err_set(&w->why, E_FAIL, "%s: the worker died", w->spec.what);
    w->spec.done(w->spec.done_arg, w->why.code ? NULL : w->result,
                 w->why.code ? &w->why : NULL);
    work_free(w);
}

static bool take(struct work *w, json_t *message)
{
    if (rpc_error_of(message, &w->why) < 0)
        return true;
    json_t *result = json_object_get(message, "result");
    if (result) {
        w->result = json_incref(result);
        return true;
    }
    if (w->spec.note)
        w->spec.note(w->spec.done_arg, message);
    return false;
}

static int on_pipe(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    struct work *w = arg;
    char *room = rpc_lines_room(&w->lines, 4096);
    ssize_t n = room ? read(fd, room, 4096) : 0;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0) {
        finish(w);
        return 0;
    }
    rpc_lines_added(&w->lines, n);
    for (;;) {
        AUTO_JSON message = NULL;
        int r = rpc_lines_next(&w->lines, &message, &w->why);
        if (r == 0)
            return 0;
        if (r < 0 || take(w, message)) {
            finish(w);
            return 0;
        }
    }
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *arg)
{
    struct work *w = arg;
    err_set(&w->why, E_TIMEOUT, "%s took longer than %u s and was given up",
            w->spec.what, w->spec.timeout_ms / 1000);
    finish(w);
    return 0;
}

int work_start(const struct work_spec *spec, struct work **out, struct err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, "pipe");
    struct work *w = calloc(1, sizeof *w);
    if (!w) {
        close(ends[0]);
        close(ends[1]);
        return err_oom(err);
    }
    *w = (struct work){.spec = *spec, .pipe = ends[0]};
    pid_t parent = getpid();
    w->pid = fork();
    if (w->pid == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        close(ends[0]);
        child_main(spec, ends[1]);
    }
    close(ends[1]);
    if (w->pid < 0) {
        err_sys(err, "fork");
        work_free(w);
        return -1;
    }
    setpgid(w->pid, w->pid);
    if (sd_event_add_io(spec->event, &w->io, w->pipe, EPOLLIN, on_pipe, w) < 0 ||
        sd_event_add_time_relative(spec->event, &w->timer, CLOCK_MONOTONIC,
                                   spec->timeout_ms * 1000ull, 0, on_timeout, w) < 0) {
        work_cancel(w);
        return err_set(err, E_SYS, "%s: no memory for a worker", spec->what);
    }
    *out = w;
    return 0;
}
