/* SPDX-License-Identifier: Apache-2.0 */
/* put and get: a tar stream on standard input or output; see the header. */
#include "guest/copy.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "guest/monitor.h"
#include "proto/tar.h"

struct state {
    int control;
    uint64_t told_at;
};

static void progress(uint64_t files, uint64_t bytes, void *arg)
{
    enum { EVERY_MS = 200 };
    struct state *s = arg;
    uint64_t now = clock_ms();
    if (now - s->told_at < EVERY_MS)
        return;
    s->told_at = now;
    monitor_tell(s->control, MONITOR_PROGRESS, files, bytes, NULL);
}

static void warn(const char *text, void *arg)
{
    dprintf(STDERR_FILENO, "%s\n", text);
}

static int report(int r, const struct err *err)
{
    if (r < 0)
        dprintf(STDERR_FILENO, "%s\n", err->text);
    return r < 0 ? err_exit_status(err) : 0;
}

int copy_put(int control, const struct command *c)
{
    struct state s = {.control = control, .told_at = clock_ms()};
    struct tar_hooks hooks = {.progress = progress, .warn = warn, .arg = &s};
    struct err err;
    return report(tar_unpack(STDIN_FILENO, c->path, &hooks, &err), &err);
}

int copy_get(int control, const struct command *c)
{
    struct state s = {.control = control, .told_at = clock_ms()};
    struct tar_hooks hooks = {.progress = progress, .warn = warn, .arg = &s};
    struct err err;
    return report(tar_pack(STDOUT_FILENO, c->path, &hooks, &err), &err);
}
