/* SPDX-License-Identifier: Apache-2.0 */
/* `srun` in a guest, and the one that waits for it; see the headers. Everything here runs
 * as the user who calls; the host believes nothing of it but the frames' form. */
#include "guest/call.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/str.h"
#include "proto/call.h"
#include "proto/command.h"
#include "proto/rpc.h"

enum { TRIES_MS = 60000, PAUSE_US = 20000, TROUBLE = 125 };
#define RUN_DIRECTORY "/run/lodge/calls"

/* --- the directory ------------------------------------------------------------------- */

const char *call_directory(void)
{
    static char beside[512];
    ssize_t n = readlink("/proc/self/exe", beside, sizeof beside - 8);
    char *slash = n > 0 ? (beside[n] = '\0', strrchr(beside, '/')) : NULL;
    if (access(RUN_DIRECTORY "/srun", X_OK) == 0)
        return RUN_DIRECTORY;
    if (!slash)
        return NULL;
    snprintf(slash, sizeof beside - (size_t)(slash - beside), "/calls");
    AUTO_STR srun = str_printf("%s/srun", beside);
    return srun && access(srun, X_OK) == 0 ? beside : NULL;
}

void call_make_directory(void)
{
    char own[512];
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
    if (n <= 0)
        return;
    own[n] = '\0';
    mkdir("/run/lodge", 0755);
    mkdir(RUN_DIRECTORY, 0755);
    if (symlink(own, RUN_DIRECTORY "/srun") < 0 && errno != EEXIST)
        return;
}

static const char *value_of(char *const *env, const char *name)
{
    size_t n = strlen(name);
    for (char *const *e = env; e && *e; e++)
        if (!strncmp(*e, name, n) && (*e)[n] == '=')
            return *e + n + 1;
    return NULL;
}

char *call_path(char *const *env)
{
    const char *dir = value_of(env, CALL_ENV) ? call_directory() : NULL;
    const char *path = value_of(env, "PATH");
    return dir ? str_printf("PATH=%s:%s", dir,
                            path ? path : "/usr/local/bin:/usr/bin:/bin")
               : NULL;
}

/* --- the socket ----------------------------------------------------------------------- */

static socklen_t abstract(const char *name, struct sockaddr_un *a)
{
    *a = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(a->sun_path + 1, sizeof a->sun_path - 1, "%s", name);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                       strlen(a->sun_path + 1));
}

static bool is_ours(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
           (peer.uid == geteuid() || peer.uid == 0 || geteuid() == 0);
}

/* Only one waits at a time; while the next comes up, ask again. */
static int connect_out(const char *name)
{
    uint64_t end = clock_ms() + TRIES_MS;
    for (;;) {
        struct sockaddr_un a;
        socklen_t len = abstract(name, &a);
        AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        char hello;
        /* Whoever came too late for this one is not greeted. */
        if (fd >= 0 && connect(fd, (struct sockaddr *)&a, len) == 0 && is_ours(fd) &&
            read(fd, &hello, 1) == 1)
            return move_fd(fd);
        if (clock_ms() >= end)
            return -1;
        usleep(PAUSE_US);
    }
}

static int accept_one(const char *name)
{
    struct sockaddr_un a;
    socklen_t len = abstract(name, &a);
    AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    while (fd >= 0 && bind(fd, (struct sockaddr *)&a, len) < 0) {
        if (errno != EADDRINUSE)
            return -1;
        usleep(PAUSE_US);
    }
    if (fd < 0 || listen(fd, 1) < 0)
        return -1;
    for (;;) {
        /* The host's end going away is the end of waiting. */
        struct pollfd p[2] = {{.fd = fd, .events = POLLIN},
                              {.fd = 0, .events = POLLIN}};
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return -1;
        if (p[1].revents)
            return -1;
        AUTO_FD one = p[0].revents ? accept4(fd, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (one >= 0 && is_ours(one) && write(one, "+", 1) == 1)
            return move_fd(one);
    }
}

/* --- waiting --------------------------------------------------------------------------- */

/* One direction: false when it is over. */
static bool copy(int from, int to, struct call_writer *w, short revents)
{
    char part[CALL_PART];
    if (call_pending(w))
        return call_flush(w, to) == 0;
    if (!revents)
        return true;
    ssize_t n = read(from, part, sizeof part);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    return n > 0 && call_put_raw(w, part, (size_t)n) == 0 && call_flush(w, to) == 0;
}

int call_wait(const char *name)
{
    struct call_writer in = {0}, out = {0};
    signal(SIGPIPE, SIG_IGN);
    AUTO_FD fd = accept_one(name);
    if (fd < 0)
        return TROUBLE;
    fd_set_nonblock(fd, true, NULL);
    fd_set_nonblock(0, true, NULL);
    fd_set_nonblock(1, true, NULL);
    bool up = true, down = true;
    while (down) {
        bool full = call_pending(&out), back = call_pending(&in);
        struct pollfd p[4] = {
            {.fd = up && !full ? fd : -1, .events = POLLIN},
            {.fd = full ? 1 : -1, .events = POLLOUT},
            {.fd = back ? -1 : 0, .events = POLLIN},
            {.fd = back ? fd : -1, .events = POLLOUT},
        };
        if (poll(p, 4, -1) < 0 && errno != EINTR)
            break;
        if (up && (p[0].revents || p[1].revents) && !copy(fd, 1, &out, p[0].revents)) {
            up = false; /* the caller went away: the host hears it by the end */
            close(1);
        }
        if (p[2].revents || p[3].revents)
            down = copy(0, fd, &in, p[2].revents);
    }
    return 0;
}

/* --- srun ------------------------------------------------------------------------------ */

struct srun {
    int fd, signals;
    bool input_over;
    struct call_writer to;
    struct call_reader from;
    int status;
};

/* What stands for a command in the guest's PATH, so that the host does not look for it in
 * its own. The caller's. */
static char *find_command(const char *word)
{
    const char *path = getenv("PATH");
    if (strchr(word, '/'))
        return strdup(word);
    for (const char *p = path ? path : "/usr/bin:/bin"; *p;) {
        size_t n = strcspn(p, ":");
        AUTO_STR file = str_printf("%.*s/%s", (int)n, p, word);
        if (n && file && access(file, X_OK) == 0)
            return move(file);
        p += n;
        p += *p == ':';
    }
    return strdup(word);
}

/* The host knows which of the words is the command; "found" says what each would be
 * here, so that it does not look in its own PATH. */
static int open_call(struct srun *s, int argc, char **argv)
{
    AUTO(command) c = command_new();
    if (!c || command_from_self(c, NULL) < 0 || command_set_argv(c, argv, NULL) < 0)
        return -1;
    AUTO_JSON o = command_encode(c);
    AUTO_JSON found = json_object();
    if (!o || !found)
        return -1;
    for (int i = 1; i < argc; i++) {
        AUTO_STR file = find_command(argv[i]);
        if (file && strcmp(file, argv[i]) != 0)
            json_object_set_new(found, argv[i], json_string(file));
    }
    json_object_set(o, "found", found);
    AUTO_STR text = json_dumps(o, JSON_COMPACT);
    if (!text || strlen(text) > CALL_OPEN_MAX) {
        fputs("srun: the command and its environment are too large\n", stderr);
        return -1;
    }
    return call_put(&s->to, CALL_OPEN, text, strlen(text));
}

static int watch_signals(void)
{
    static const int all[] = {SIGTERM, SIGINT,  SIGHUP, SIGQUIT,
                              SIGUSR1, SIGUSR2, SIGCONT};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        sigaddset(&set, all[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void take_input(struct srun *s)
{
    char part[CALL_PART];
    ssize_t n = read(0, part, sizeof part);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    s->input_over = n <= 0;
    call_put(&s->to, CALL_INPUT, part, n > 0 ? (size_t)n : 0);
}

/* 1: that was the end; 0: go on; -1: nonsense. */
static int take_frames(struct srun *s)
{
    char kind;
    const char *data;
    size_t len;
    int rc;
    while ((rc = call_next(&s->from, &kind, &data, &len)) == 1) {
        if (kind == CALL_OUT || kind == CALL_ERR)
            fd_write_all(kind == CALL_OUT ? 1 : 2, data, len, NULL);
        else if (kind == CALL_EXIT) {
            memcpy(&s->status, data, 4);
            return 1;
        } else
            return -1;
        call_drop(&s->from);
    }
    return rc;
}

static int turn(struct srun *s)
{
    struct signalfd_siginfo info;
    struct pollfd p[3] = {
        {.fd = s->fd, .events = POLLIN | (call_pending(&s->to) ? POLLOUT : 0)},
        {.fd = s->input_over || call_pending(&s->to) ? -1 : 0, .events = POLLIN},
        {.fd = s->signals, .events = POLLIN}};
    if (poll(p, 3, -1) < 0)
        return errno == EINTR ? 0 : -1;
    if (p[2].revents && read(s->signals, &info, sizeof info) == sizeof info) {
        char sig = (char)info.ssi_signo;
        call_put(&s->to, CALL_SIGNAL, &sig, 1);
    }
    if (p[1].revents)
        take_input(s);
    if (call_flush(&s->to, s->fd) < 0) {
        /* Nobody wants input any more; there may still be an answer to read. */
        call_writer_done(&s->to);
        s->input_over = true;
    }
    if (!(p[0].revents & (POLLIN | POLLHUP | POLLERR)))
        return 0;
    int n = call_read(&s->from, s->fd);
    int rc = take_frames(s);
    return rc ? rc : n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) ? -1 : 0;
}

int call_srun(int argc, char **argv)
{
    const char *name = getenv(CALL_ENV);
    struct srun s = {.fd = -1};
    if (str_empty(name)) {
        fputs(
            "srun: works in a job's batch script in its machine only; there is no way "
            "out of this one\n",
            stderr);
        return TROUBLE;
    }
    s.fd = connect_out(name);
    if (s.fd < 0) {
        fputs("srun: nobody on the host answers; the job may be ending\n", stderr);
        return TROUBLE;
    }
    fd_set_nonblock(s.fd, true, NULL);
    s.signals = watch_signals();
    if (open_call(&s, argc, argv) < 0)
        return TROUBLE;
    int rc = 0;
    while (rc == 0)
        rc = turn(&s);
    if (rc < 0) {
        fputs("srun: the connection to the host was lost\n", stderr);
        return TROUBLE;
    }
    if (WIFSIGNALED(s.status))
        return 128 + WTERMSIG(s.status);
    return WEXITSTATUS(s.status);
}
