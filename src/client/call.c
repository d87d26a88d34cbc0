/* SPDX-License-Identifier: Apache-2.0 */
/* Calls out of a guest; see the header. One process waits: it keeps one lodge-guest
 * --call-wait in the guest, and forks a process for each call. */
#include "client/call.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/proc.h"
#include "base/str.h"
#include "proto/call.h"
#include "proto/rpc.h"

extern char **environ;

enum {
    TOKEN = 16,
    FAILURES_MAX = 5,
    SOON_MS = 2000,
    FROM_MAX = 120 * 1024, /* the kernel takes no longer string */
    AHEAD = 4 * CALL_PART, /* output kept for a guest that does not read */
    PATIENCE_MS = 30000,   /* for srun, when its caller is gone */
};

/* --- the options ---------------------------------------------------------------------- */

enum { NONE, VALUE, MAYBE };
static const struct {
    const char *name;
    char letter;
    int takes;
} allowed[] = {
    {"ntasks", 'n', VALUE},
    {"nodes", 'N', VALUE},
    {"cpus-per-task", 'c', VALUE},
    {"ntasks-per-node", 0, VALUE},
    {"ntasks-per-core", 0, VALUE},
    {"ntasks-per-socket", 0, VALUE},
    {"nodelist", 'w', VALUE},
    {"exclude", 'x', VALUE},
    {"relative", 'r', VALUE},
    {"distribution", 'm', VALUE},
    {"cpu-bind", 0, VALUE},
    {"cpu_bind", 0, VALUE},
    {"mem-bind", 0, VALUE},
    {"hint", 0, VALUE},
    {"threads-per-core", 0, VALUE},
    {"cores-per-socket", 0, VALUE},
    {"mem", 0, VALUE},
    {"mem-per-cpu", 0, VALUE},
    {"gres", 0, VALUE},
    {"gpus", 'G', VALUE},
    {"gpus-per-task", 0, VALUE},
    {"gpus-per-node", 0, VALUE},
    {"exact", 0, NONE},
    {"overlap", 0, NONE},
    {"overcommit", 'O', NONE},
    {"exclusive", 0, MAYBE},
    {"oversubscribe", 's', NONE},
    {"external-launcher", 0, NONE},
    {"time", 't', VALUE},
    {"wait", 'W', VALUE},
    {"kill-on-bad-exit", 'K', MAYBE},
    {"immediate", 'I', MAYBE},
    {"label", 'l', NONE},
    {"unbuffered", 'u', NONE},
    {"quiet", 'Q', NONE},
    {"verbose", 'v', NONE},
    {"job-name", 'J', VALUE},
    {"mpi", 0, VALUE},
    {"no-kill", 'k', MAYBE},
    {"resv-ports", 0, MAYBE},
    {"use-min-nodes", 0, NONE},
};

static int refuse(const char *word, struct err *err)
{
    return err_set(err, E_PERM,
                   "srun: '%.60s' is not for srun in a machine, since it is about the "
                   "host; run the script on the host with --vm-script=host",
                   word);
}

static int long_option(char *const *argv, size_t *i, struct err *err)
{
    const char *name = argv[*i] + 2, *is = strchrnul(name, '=');
    for (size_t k = 0; k < ARRAY_SIZE(allowed); k++) {
        size_t len = strlen(allowed[k].name);
        if (len != (size_t)(is - name) || strncmp(allowed[k].name, name, len))
            continue;
        if (*is && allowed[k].takes == NONE)
            return refuse(argv[*i], err);
        if (!*is && allowed[k].takes == VALUE && !argv[++*i])
            return err_set(err, E_USAGE, "srun: '--%s' needs a value", allowed[k].name);
        const char *value = *is ? is + 1 : allowed[k].takes == VALUE ? argv[*i] : "";
        /* With a slash it is a file for srun to read, or a plugin to load. */
        return strchr(value, '/') ? refuse(value, err) : 0;
    }
    return refuse(argv[*i], err);
}

static int letters(char *const *argv, size_t *i, struct err *err)
{
    for (const char *p = argv[*i] + 1; *p; p++) {
        size_t k = 0;
        while (k < ARRAY_SIZE(allowed) && allowed[k].letter != *p)
            k++;
        if (k == ARRAY_SIZE(allowed))
            return refuse(argv[*i], err);
        if (allowed[k].takes == NONE)
            continue;
        const char *value = p + 1;
        if (!*value && allowed[k].takes == VALUE && !(value = argv[++*i]))
            return err_set(err, E_USAGE, "srun: '-%c' needs a value", *p);
        return strchr(value, '/') ? refuse(value, err) : 0;
    }
    return 0;
}

int call_check(char *const *argv, size_t *command, struct err *err)
{
    size_t i = 1;
    for (; argv[0] && argv[i] && argv[i][0] == '-' && argv[i][1]; i++) {
        if (!strcmp(argv[i], "--")) {
            i++;
            break;
        }
        if ((argv[i][1] == '-' ? long_option : letters)(argv, &i, err) < 0)
            return -1;
    }
    if (!argv[0] || !argv[i])
        return err_set(err, E_USAGE, "srun: no command");
    for (size_t k = i; argv[k]; k++)
        if (!strcmp(argv[k], ":")) /* srun would read on: options of another job */
            return refuse(argv[k], err);
    *command = i;
    return 0;
}

/* --- one call --------------------------------------------------------------------------- */

struct call {
    int from, to;        /* of the guest */
    int in, out, errors; /* srun's standard files */
    int pidfd;
    struct call_reader reader;
    struct call_writer guest, input;
    bool input_over, guest_gone, exited;
    int status;
    uint64_t kill_at; /* 0: not */
};

static void close_it(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void tell(struct call *c, const char *text)
{
    call_put(&c->guest, CALL_ERR, text, strlen(text));
    call_put(&c->guest, CALL_ERR, "\n", 1);
}

static char **environment(const char *from)
{
    size_t n = 0, k = 0;
    while (environ[n])
        n++;
    char **env = calloc(n + 2, sizeof *env);
    for (size_t i = 0; env && i < n; i++)
        if (!str_starts(environ[i], CALL_ENV "=") &&
            !str_starts(environ[i], CALL_ENV_FROM "="))
            env[k++] = environ[i];
    if (env)
        env[k] = str_printf(CALL_ENV_FROM "=%s", from);
    return env;
}

/* Signals as any program has them: we ignore what is meant for the script. */
static int plain(void *arg)
{
    sigset_t none;
    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    return 0;
}

static int run(struct call *c, char *const *argv, const char *from, struct err *err)
{
    int p[3][2];
    for (int i = 0; i < 3; i++)
        if (pipe2(p[i], O_CLOEXEC) < 0)
            return err_sys(err, "pipe");
    const int fds[] = {p[0][0], p[1][1], p[2][1]};
    char **env = environment(from);
    struct proc_spec spec = {.argv = (const char *const *)argv,
                             .env = (const char *const *)env,
                             .fds = fds,
                             .nfds = 3,
                             .die_with_us = true,
                             .in_child = plain};
    if (!env)
        return err_oom(err);
    int rc = proc_spawn(&spec, &c->pidfd, NULL, err);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    c->in = p[0][1];
    c->out = p[1][0];
    c->errors = p[2][0];
    fd_set_nonblock(c->in, true, NULL);
    return rc;
}

static int open_call(struct call *c, const char *data, size_t len, struct err *err)
{
    AUTO_JSON o = json_loadb(data, len, JSON_REJECT_DUPLICATES, NULL);
    AUTO(command) cmd = NULL;
    size_t at;
    if (!json_is_object(o))
        return err_set(err, E_PROTO, "srun: the call is damaged");
    AUTO_JSON found = json_incref(json_object_get(o, "found"));
    json_object_del(o, "found");
    if (command_decode(o, &cmd, err) < 0)
        return -1;
    if (!cmd->argv)
        return err_set(err, E_PROTO, "srun: the call is damaged");
    if (call_check(cmd->argv, &at, err) < 0)
        return -1;
    const char *is = json_string_value(json_object_get(found, cmd->argv[at]));
    if (is && *is == '/') {
        free(cmd->argv[at]);
        if (!(cmd->argv[at] = strdup(is)))
            return err_oom(err);
    }
    free(cmd->argv[0]);
    if (!(cmd->argv[0] = strdup("srun")))
        return err_oom(err);
    json_object_del(o, "argv");
    AUTO_STR text = json_dumps(o, JSON_COMPACT);
    AUTO_STR from = text ? base64_encode(text, strlen(text)) : NULL;
    if (!from)
        return err_oom(err);
    if (strlen(from) > FROM_MAX)
        return err_set(err, E_INPUT,
                       "srun: the environment is too large to take it along");
    return run(c, cmd->argv, from, err);
}

/* Frames of a running call. -1: nonsense. */
static int take_frames(struct call *c)
{
    char kind;
    const char *data;
    size_t len;
    int rc = 0;
    while (!call_pending(&c->input) &&
           (rc = call_next(&c->reader, &kind, &data, &len)) == 1) {
        if (kind == CALL_SIGNAL)
            proc_kill(c->pidfd, data[0], NULL);
        else if (kind == CALL_INPUT && len && !c->input_over)
            call_put_raw(&c->input, data, len);
        else if (kind == CALL_INPUT)
            c->input_over = true;
        else
            return -1;
        call_drop(&c->reader);
    }
    return rc < 0 ? -1 : 0;
}

/* The caller is gone, or talks nonsense: so goes what it called. */
static void lose_guest(struct call *c)
{
    c->guest_gone = c->input_over = true;
    close_it(&c->from);
    proc_kill(c->pidfd, SIGTERM, NULL);
    c->kill_at = clock_ms() + PATIENCE_MS;
}

/* As many frames as srun takes: what stays behind waits for it, not for the guest. */
static void pass_frames(struct call *c)
{
    size_t before;
    do {
        before = c->reader.len;
        if (!c->guest_gone && take_frames(c) < 0)
            lose_guest(c);
        if (call_pending(&c->input) && call_flush(&c->input, c->in) < 0)
            call_writer_done(&c->input);
    } while (!call_pending(&c->input) && c->reader.len != before);
}

static void take_output(struct call *c, int *fd, char kind)
{
    char part[CALL_PART];
    ssize_t n = read(*fd, part, sizeof part);
    if (n > 0 && !c->guest_gone)
        call_put(&c->guest, kind, part, (size_t)n);
    else if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
        close_it(fd);
}

static void turn(struct call *c)
{
    /* Before anything is waited for: frames may have come together with the first one. */
    pass_frames(c);
    if (c->input_over && !call_pending(&c->input))
        close_it(&c->in);
    bool room = c->guest.len - c->guest.at < AHEAD;
    struct pollfd p[] = {
        {.fd = call_pending(&c->input) ? -1 : c->from, .events = POLLIN},
        {.fd = call_pending(&c->guest) ? c->to : -1, .events = POLLOUT},
        {.fd = call_pending(&c->input) ? c->in : -1, .events = POLLOUT},
        {.fd = room ? c->out : -1, .events = POLLIN},
        {.fd = room ? c->errors : -1, .events = POLLIN},
        {.fd = c->exited ? -1 : c->pidfd, .events = POLLIN},
    };
    if (poll(p, ARRAY_SIZE(p), c->kill_at ? 1000 : -1) < 0)
        return;
    if (c->kill_at && clock_ms() >= c->kill_at)
        proc_kill(c->pidfd, SIGKILL, NULL);
    if (p[0].revents) {
        int n = call_read(&c->reader, c->from);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            lose_guest(c);
    }
    if (p[1].revents && call_flush(&c->guest, c->to) < 0) {
        call_writer_done(&c->guest);
        if (!c->guest_gone)
            lose_guest(c);
    }
    if (p[3].revents)
        take_output(c, &c->out, CALL_OUT);
    if (p[4].revents)
        take_output(c, &c->errors, CALL_ERR);
    if (p[5].revents)
        c->exited = proc_wait(c->pidfd, 0, &c->status, NULL) == 0;
}

/* All of one call, in a process of its own; data is its CALL_OPEN. */
static void __attribute__((noreturn)) handle(struct call *c)
{
    char kind;
    const char *data;
    size_t len;
    struct err err = {0};
    signal(SIGCHLD, SIG_DFL);
    fd_set_nonblock(c->from, true, NULL);
    fd_set_nonblock(c->to, true, NULL);
    if (call_next(&c->reader, &kind, &data, &len) != 1 ||
        open_call(c, data, len, &err) < 0) {
        tell(c, err.text);
        c->status = 1 << 8;
        c->exited = true;
    } else {
        call_drop(&c->reader);
    }
    while (!c->exited || c->out >= 0 || c->errors >= 0)
        turn(c);
    call_put(&c->guest, CALL_EXIT, &c->status, 4);
    fd_set_nonblock(c->to, false, NULL);
    while (!c->guest_gone && call_pending(&c->guest) &&
           call_flush(&c->guest, c->to) == 0)
        ;
    _exit(0);
}

/* --- waiting for calls ------------------------------------------------------------------ */

struct server {
    const char *vm, *job;
    char name[2 * TOKEN + 16];
};

/* lodge-guest --call-wait in the guest, its standard files ours. */
static int start_waiter(const struct server *s, struct call *c, struct err *err)
{
    int in[2], out[2];
    const char *argv[] = {"/proc/self/exe",
                          s->vm ? "--vm" : "--job",
                          s->vm ? s->vm : s->job,
                          "--no-pty",
                          "--",
                          "@lodge-guest",
                          "--call-wait",
                          s->name,
                          NULL};
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
        return err_sys(err, "pipe");
    const int fds[] = {in[0], out[1], -1};
    struct proc_spec spec = {
        .argv = argv, .fds = fds, .nfds = 3, .die_with_us = true, .in_child = plain};
    AUTO_FD pidfd = -1;
    int rc = proc_spawn(&spec, &pidfd, NULL, err);
    close(in[0]);
    close(out[1]);
    c->to = in[1];
    c->from = out[0];
    return rc;
}

/* Until a call is there. False: it ended instead. */
static bool await_call(struct call *c)
{
    char kind;
    const char *data;
    size_t len;
    int rc;
    while ((rc = call_next(&c->reader, &kind, &data, &len)) == 0)
        if (call_read(&c->reader, c->from) <= 0 && errno != EINTR)
            return false;
    return rc == 1 && kind == CALL_OPEN;
}

static void __attribute__((noreturn)) serve(const struct server *s)
{
    static const int not_ours[] = {SIGTERM, SIGINT,  SIGHUP,  SIGQUIT,
                                   SIGUSR1, SIGUSR2, SIGTSTP, SIGPIPE};
    for (size_t i = 0; i < ARRAY_SIZE(not_ours); i++)
        signal(not_ours[i], SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    /* The script's files are not kept open by who only waits. */
    AUTO_FD null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3 && null >= 0; fd++)
        dup2(null, fd);
    for (int failed = 0; failed < FAILURES_MAX;) {
        struct call c = {
            .in = -1, .out = -1, .errors = -1, .pidfd = -1, .from = -1, .to = -1};
        uint64_t began = clock_ms();
        if (start_waiter(s, &c, NULL) == 0 && await_call(&c)) {
            failed = 0;
            if (fork() == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                handle(&c);
            }
        } else if (clock_ms() - began < SOON_MS) {
            failed++;
        }
        close_it(&c.from);
        close_it(&c.to);
        call_reader_done(&c.reader);
    }
    _exit(0);
}

int call_serve(const char *vm, const char *job, struct err *err)
{
    struct server s = {.vm = vm, .job = job};
    unsigned char b[TOKEN];
    if (getrandom(b, sizeof b, 0) != sizeof b)
        return err_sys(err, "random numbers");
    char *at = s.name + snprintf(s.name, sizeof s.name, "lodge-call-");
    for (size_t i = 0; i < sizeof b; i++)
        at += snprintf(at, 3, "%02x", b[i]);
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        return err_sys(err, "fork");
    if (pid == 0) {
        unsetenv(CALL_ENV_FROM);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(0);
        serve(&s);
    }
    return setenv(CALL_ENV, s.name, 1) < 0 ? err_oom(err) : 0;
}

/* --- in a task that was called for -------------------------------------------------------- */

/* What Slurm says of this task, and what is told of this machine. */
static bool is_of_task(const char *entry)
{
    static const char *const prefixes[] = {
        "SLURM", "LODGE_", "PMI", "CUDA_VISIBLE_", "ROCR_VISIBLE_", "GPU_DEVICE_"};
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
        if (str_starts(entry, prefixes[i]))
            return !str_starts(entry, CALL_ENV "=") &&
                   !str_starts(entry, CALL_ENV_FROM "=");
    return false;
}

static bool is_reserved(const char *entry)
{
    return is_of_task(entry) || str_starts(entry, CALL_ENV "=") ||
           str_starts(entry, CALL_ENV_FROM "=");
}

static size_t count(char *const *list)
{
    size_t n = 0;
    while (list && list[n])
        n++;
    return n;
}

/* Moves what is taken; both lists stay whole for their own release. */
static int merge(struct command *c, struct command *from, struct err *err)
{
    char **env = calloc(count(c->env) + count(from->env) + 1, sizeof *env);
    size_t n = 0;
    if (!env)
        return err_oom(err);
    for (char **e = from->env; e && *e; e++)
        if (!is_reserved(*e) && !(env[n++] = strdup(*e)))
            return err_oom(err);
    for (char **e = c->env; e && *e; e++)
        if (is_of_task(*e) && !(env[n++] = strdup(*e)))
            return err_oom(err);
    for (char **e = c->env; e && *e; e++)
        free(*e);
    free(c->env);
    c->env = env;
    free(c->cwd);
    c->cwd = move(from->cwd);
    c->umask = from->umask;
    return 0;
}

int call_adopt(struct command *c, struct err *err)
{
    const char *text = getenv(CALL_ENV_FROM);
    size_t len = 0;
    AUTO(command) from = NULL;
    if (!text)
        return 0;
    AUTO_STR bytes = base64_decode(text, &len);
    AUTO_JSON o = bytes ? json_loadb(bytes, len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (!json_is_object(o))
        return err_set(err, E_INPUT, CALL_ENV_FROM " is damaged");
    if (command_decode(o, &from, err) < 0)
        return err_at(err, CALL_ENV_FROM);
    return merge(c, from, err);
}
