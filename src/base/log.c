/* SPDX-License-Identifier: Apache-2.0 */
/* The log's two sinks: the journal's native socket, or lines on stderr. The journal is
 * written by its documented datagram protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL), so
 * that small programs need not link libsystemd. */
#include "base/log.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"

static struct {
    enum log_level max;
    const char *program;
    int journal; /* datagram socket, or -1 for stderr */
    bool terminal;
} sink = {.max = LOG_L_INFO, .program = "lodge", .journal = -1};

static const struct {
    const char *name;
    int priority; /* syslog's number */
} levels[] = {
    [LOG_L_ERROR] = {"error", 3},
    [LOG_L_WARN] = {"warning", 4},
    [LOG_L_INFO] = {"info", 6},
    [LOG_L_DEBUG] = {"debug", 7},
};

/* JOURNAL_STREAM is "device:inode" of the stream the journal gave us as stderr. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    char *colon;
    struct stat st;
    if (!stream || fstat(STDERR_FILENO, &st) < 0 ||
        strtoull(stream, &colon, 10) != st.st_dev || *colon != ':')
        return false;
    return strtoull(colon + 1, &colon, 10) == st.st_ino && !*colon;
}

static int journal_connect(void)
{
    static const struct sockaddr_un to = {.sun_family = AF_UNIX,
                                          .sun_path = "/run/systemd/journal/socket"};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof to) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

void log_open(const char *program, enum log_level max)
{
    const char *debug = getenv("LODGE_DEBUG");
    sink.program = program;
    sink.max = debug && *debug && strcmp(debug, "0") ? LOG_L_DEBUG : max;
    sink.terminal = isatty(STDERR_FILENO);
    if (stderr_is_journal())
        sink.journal = journal_connect();
}

void log_set_level(enum log_level max)
{
    sink.max = max;
}

static int field(char *to, size_t size, const char *name, const char *value)
{
    if (!value)
        return 0;
    int n = snprintf(to, size, "%s=%s\n", name, value);
    return n > 0 && (size_t)n < size ? n : 0;
}

static void write_journal(enum log_level level, const struct log_ctx *ctx,
                          const char *text)
{
    char msg[2048];
    size_t at = snprintf(msg, sizeof msg, "PRIORITY=%d\n", levels[level].priority);
    at += field(msg + at, sizeof msg - at, "SYSLOG_IDENTIFIER", sink.program);
    at += field(msg + at, sizeof msg - at, "LODGE_JOB", ctx ? ctx->job : NULL);
    at += field(msg + at, sizeof msg - at, "LODGE_VM", ctx ? ctx->vm : NULL);
    at += field(msg + at, sizeof msg - at, "LODGE_NODE", ctx ? ctx->node : NULL);
    at += field(msg + at, sizeof msg - at, "MESSAGE", text);
    send(sink.journal, msg, at, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void write_stderr(enum log_level level, const struct log_ctx *ctx,
                         const char *text)
{
    char line[2048], when[40] = "";
    if (!sink.terminal) {
        struct timespec now;
        struct tm tm;
        char zone[8];
        clock_gettime(CLOCK_REALTIME, &now);
        localtime_r(&now.tv_sec, &tm);
        size_t n = strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
        strftime(zone, sizeof zone, "%z", &tm);
        snprintf(when + n, sizeof when - n, ".%03ld%s ", now.tv_nsec / 1000000, zone);
    }
    int n =
        snprintf(line, sizeof line, "%s%s: %s: %s%s%s%s%s%s%s\n", when, sink.program,
                 levels[level].name, ctx && ctx->node ? ctx->node : "",
                 ctx && ctx->node ? ": " : "", ctx && ctx->job ? "job " : "",
                 ctx && ctx->job ? ctx->job : "", ctx && ctx->job ? ": " : "",
                 ctx && ctx->vm ? ctx->vm : "", ctx && ctx->vm ? ": " : "");
    /* The text goes in the place of the newline. */
    n--;
    snprintf(line + n, sizeof line - n, "%s\n", text);
    size_t len = strlen(line);
    line[len - 1] = '\n';
    if (write(STDERR_FILENO, line, len) < 0)
        return; /* nobody is left to tell */
}

void log_write(enum log_level level, const struct log_ctx *ctx, const char *fmt, ...)
{
    if (level > sink.max)
        return;
    int sys = errno;
    char text[1536];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    str_one_line(text, sizeof text);
    if (sink.journal >= 0)
        write_journal(level, ctx, text);
    else
        write_stderr(level, ctx, text);
    errno = sys;
}
