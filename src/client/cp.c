/* SPDX-License-Identifier: Apache-2.0 */
/* Copying: a tar stream between a process of ours that reads or writes the files here and
 * one over there; client_exec carries it. */
#include "client/cp.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "client/exec.h"
#include "proto/tar.h"

enum { SAID_MAX = 4096 };

static void warn(const char *text, void *arg)
{
    fprintf(stderr, "lodge: %s\n", text);
}

/* The half of the copy that is here, in a process of its own; its error is written to
 * `said`. */
static void local_half(const struct client_cp *x, int stream, int said)
{
    struct tar_hooks hooks = {.warn = warn};
    struct err err = {0};
    signal(SIGPIPE, SIG_IGN);
    int r = x->into ? tar_pack(stream, x->from, &hooks, &err)
                    : tar_unpack(stream, x->to, &hooks, &err);
    /* A stream that broke off, either way, is the other half's failure, and told there. */
    bool cut = err.sys == EPIPE || (err.code == E_IO && !err.sys);
    if (r < 0 && !cut && write(said, err.text, strlen(err.text)) < 0)
        _exit(2);
    _exit(r < 0 ? err_exit_status(&err) : 0);
}

static void on_message(const json_t *what, void *arg)
{
    const struct client_cp *x = arg;
    json_int_t files, bytes;
    if (x->progress && json_unpack((json_t *)what, "{s:{s:I, s:I}}", "progress",
                                   "files", &files, "bytes", &bytes) == 0)
        x->progress(files, bytes, x->arg);
}

/* The code of an error from the exit status it made of itself. */
static enum err_code code_of(int status)
{
    for (int i = E_NONE + 1; i < E_COUNT; i++)
        if (WIFEXITED(status) &&
            err_exit_status(&(struct err){.code = i}) == WEXITSTATUS(status))
            return i;
    return E_FAIL;
}

/* What the guest's half wrote to its standard error. */
static char *slurp_file(int fd)
{
    char *text = NULL;
    if (lseek(fd, 0, SEEK_SET) < 0 ||
        fd_slurp(fd, "messages", 1 << 20, &text, NULL, NULL) < 0)
        return NULL;
    size_t n = strlen(text);
    while (n > 0 && text[n - 1] == '\n')
        text[--n] = '\0';
    return text;
}

/* Carry the stream; `ours` is the pipe to our half. Its end is closed here. refused:
 * there never was, or no longer is, another half. */
static int carry(const struct client_cp *x, int ours, bool *refused, struct err *err)
{
    AUTO(command) c = command_new();
    AUTO_FD null = open("/dev/null", O_RDWR | O_CLOEXEC);
    FILE *messages = tmpfile();
    int status = 0;
    if (!c || null < 0 || !messages) {
        if (messages)
            fclose(messages);
        close(ours);
        return err_sys(err, "copy");
    }
    c->path = strdup(x->into ? x->to : x->from);
    c->die = true;
    c->has_ids = x->has_ids;
    c->uid = x->uid;
    c->gid = x->gid;
    struct client_exec run = {
        .vm = x->vm,
        .job = x->job,
        .command = c,
        .method = "vm.cp",
        .op = x->into ? "put" : "get",
        .fds = {x->into ? ours : null, x->into ? null : ours, fileno(messages)},
        .connect = x->connect,
        .message = on_message,
        .arg = (void *)x};
    int r = c->path ? client_exec(&run, &status, err) : err_oom(err);
    close(ours);
    AUTO_STR text = slurp_file(fileno(messages));
    fclose(messages);
    *refused = r < 0;
    if (r < 0)
        return -1;
    if (status == 0) {
        if (text && *text)
            fprintf(stderr, "%s\n", text);
        return 0;
    }
    const char *last = text ? strrchr(text, '\n') : NULL;
    return err_set(err, code_of(status), "in the guest: %s",
                   str_empty(text) ? "the copy was killed"
                   : last          ? last + 1
                                   : text);
}

int client_cp(const struct client_cp *x, struct err *err)
{
    int stream[2], said[2];
    char text[SAID_MAX];
    if (pipe2(stream, O_CLOEXEC) < 0)
        return err_sys(err, "pipe");
    if (pipe2(said, O_CLOEXEC) < 0) {
        close(stream[0]);
        close(stream[1]);
        return err_sys(err, "pipe");
    }
    int theirs = stream[x->into], ours = stream[!x->into];
    pid_t pid = fork();
    if (pid == 0) {
        close(ours);
        local_half(x, theirs, said[1]);
    }
    close(theirs);
    close(said[1]);
    struct err far = {0};
    int status = 0, r = -1;
    bool refused = false;
    if (pid > 0)
        r = carry(x, ours, &refused, &far);
    else
        close(ours);
    ssize_t n = read(said[0], text, sizeof text - 1);
    close(said[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (n > 0 && !refused) {
        /* Our own half knows best why the stream was cut off. */
        text[n] = '\0';
        return err_set(err, code_of(status), "%s", text);
    }
    if (r < 0 && err)
        *err = far;
    if (r == 0 && status)
        return err_set(err, E_FAIL, "the copy was killed");
    return r;
}
