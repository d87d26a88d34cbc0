/* SPDX-License-Identifier: Apache-2.0 */
/* Tools of a build; see the header. */
#include "image/run.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/own.h"
#include "base/proc.h"
#include "base/str.h"

enum { TAIL = 240 };

/* The last lines written after `from`, joined by " | ". */
static void tail_of(int log, off_t from, char *out, size_t size)
{
    char buf[TAIL + 1];
    struct stat st;
    out[0] = '\0';
    if (fstat(log, &st) < 0 || st.st_size <= from)
        return;
    off_t at = st.st_size - TAIL > from ? st.st_size - TAIL : from;
    ssize_t n = pread(log, buf, TAIL, at);
    if (n <= 0)
        return;
    while (n > 0 && isspace((unsigned char)buf[n - 1]))
        n--;
    buf[n] = '\0';
    char *p = buf;
    if (at > from && strchr(buf, '\n')) /* begin with a whole line */
        p = strchr(buf, '\n') + 1;
    size_t used = 0;
    for (; *p && used + 4 < size; p++) {
        if (*p == '\n')
            used += snprintf(out + used, size - used, " | ");
        else if (isprint((unsigned char)*p))
            out[used++] = *p, out[used] = '\0';
    }
}

static char *command_line(const char *const *argv)
{
    AUTO_BUF b = {0};
    for (; *argv; argv++) {
        if (b.len > 160) {
            str_buf_puts(&b, " ...");
            break;
        }
        str_buf_printf(&b, "%s%s", b.len ? " " : "", *argv);
    }
    return str_buf_take(&b);
}

int run_tool(const struct run *run, int in, int out, const char *const *argv,
             struct err *err)
{
    AUTO_STR line = command_line(argv);
    AUTO_FD pidfd = -1;
    if (!line)
        return err_oom(err);
    run_note(run, "+ %s", line);
    off_t from = lseek(run->log, 0, SEEK_END);
    const int fds[] = {in, out < 0 ? run->log : out, run->log};
    const struct proc_spec spec = {
        .argv = argv, .env = run->env, .fds = fds, .nfds = 3, .die_with_us = true};
    int status;
    struct err e = {0};
    if (proc_spawn(&spec, &pidfd, NULL, &e) < 0)
        return e.code == E_NOENT
                   ? err_set(err, E_UNAVAIL, "program '%s' is not installed", argv[0])
                   : err_set(err, e.code, "%s", e.text);
    if (proc_wait(pidfd, -1, &status, err) < 0)
        return err_at(err, "%s", line);
    if (status == 0)
        return 0;
    char tail[TAIL + 8];
    tail_of(run->log, from, tail, sizeof tail);
    if (strstr(tail, "No space left on device"))
        return err_set(err, E_IO, "no space left on device, running: %s", line);
    if (WIFSIGNALED(status))
        return err_set(err, E_FAIL, "'%s' was killed by signal %d: %s", line,
                       WTERMSIG(status), tail);
    return err_set(err, E_FAIL, "'%s' ended with status %d: %s", line,
                   WEXITSTATUS(status), tail);
}

void run_note(const struct run *run, const char *fmt, ...)
{
    AUTO_BUF b = {0};
    va_list ap;
    va_start(ap, fmt);
    str_buf_vprintf(&b, fmt, ap);
    va_end(ap);
    str_buf_puts(&b, "\n");
    if (!b.failed)
        fd_write_all(run->log, b.data, b.len, NULL);
}

int run_capture(const struct run *run, const char *const *argv, size_t max, char **out,
                struct err *err)
{
    AUTO_FD fd = memfd_create("output", MFD_CLOEXEC);
    if (fd < 0)
        return err_sys(err, "memfd");
    if (run_tool(run, -1, fd, argv, err) < 0)
        return -1;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return err_sys(err, "seek");
    return fd_slurp(fd, argv[0], max, out, NULL, err);
}
