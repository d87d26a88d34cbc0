/* SPDX-License-Identifier: Apache-2.0 */
/* Type fake: no machine at all. lodge-guest runs on the host with the owner's ids, so
 * that everything above a machine (states, channel, exec, cp) is the real thing. For
 * tests and dry runs. Words in the profile's append play faults and delays:
 *
 *   fake.boot-delay=MS   fake.boot-fail   fake.pause-fail   fake.destroy-delay=MS
 *   fake.never-ready     fake.die-after=MS
 *   fake.node-fault      fails as a node without hypervisor does, where the file
 *                        fake.node-fault is in the state directory */
#include "agent/vt.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/stage.h"
#include "base/dirs.h"
#include "base/str.h"

enum { START_MS = 10000, WORD_MAX = 100, MS_MAX = 600000 };

/* The value of "word=N", or of a bare word 1; 0 if it is not there. */
static unsigned long knob(const struct profile *p, const char *word)
{
    const char *at = p->append ? p->append : "";
    size_t len = strlen(word);
    while ((at = strstr(at, word))) {
        bool starts = at == p->append || at[-1] == ' ';
        at += len;
        if (!starts)
            continue;
        if (*at == '=') {
            unsigned long v = strtoul(at + 1, NULL, 10);
            return v < MS_MAX ? v : MS_MAX;
        }
        if (!*at || *at == ' ')
            return 1;
    }
    return 0;
}

static void nap(unsigned long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static int fake_check(const struct profile *p, struct err *err)
{
    if (p->device_count)
        return err_set(err, E_INPUT, "type 'fake' has no devices to pass through");
    return 0;
}

static int fake_boot(struct vt_run *r, struct err *err)
{
    nap(knob(r->profile, "fake.boot-delay"));
    if (knob(r->profile, "fake.boot-fail"))
        return err_set(err, E_FAIL, "the profile asked for a boot that fails");
    AUTO_STR fault = dirs_path(DIRS_STATE, "fake.node-fault");
    if (knob(r->profile, "fake.node-fault") && fault && access(fault, F_OK) == 0)
        return err_set(err, E_UNAVAIL, "this node has no hypervisor (fake.node-fault)");
    AUTO_STR program = dirs_path(DIRS_LIBEXEC, "lodge-guest");
    AUTO_STR socket = str_printf("%s/own/guest.sock", r->dir);
    if (!program || !socket)
        return err_oom(err);
    char wait[24];
    snprintf(wait, sizeof wait, "%lu.%03lu", knob(r->profile, "fake.die-after") / 1000,
             knob(r->profile, "fake.die-after") % 1000);
    const char *const guest[] = {program, "--no-identity", "--listen", socket, NULL};
    const char *const silent[] = {"sleep", "86400", NULL};
    const char *const dying[] = {"timeout",       "-s",       "KILL", wait, program,
                                 "--no-identity", "--listen", socket, NULL};
    bool never = knob(r->profile, "fake.never-ready");
    struct stage_proc p = {.leaf = "guest",
                           .argv = never                                ? silent
                                   : knob(r->profile, "fake.die-after") ? dying
                                                                        : guest,
                           .cwd = "/"};
    if (stage_spawn(r, &p, &r->pid, err) < 0)
        return -1;
    json_object_set_new(r->vt, "guest", json_string(socket));
    return never ? 0 : stage_await_socket(r, "guest", socket, START_MS, err);
}

static int fake_destroy(struct vt_run *r, struct err *err)
{
    nap(knob(r->profile, "fake.destroy-delay"));
    return stage_kill(r, "guest", err);
}

static int fake_pause(struct vt_run *r, struct err *err)
{
    if (knob(r->profile, "fake.pause-fail"))
        return err_set(err, E_FAIL, "the profile asked for a pause that fails");
    return stage_signal(r, "guest", SIGSTOP, err);
}

static int fake_resume(struct vt_run *r, struct err *err)
{
    return stage_signal(r, "guest", SIGCONT, err);
}

const struct vt_ops vt_fake = {
    .name = "fake",
    .check = fake_check,
    .boot = fake_boot,
    .destroy = fake_destroy,
    .pause = fake_pause,
    .resume = fake_resume,
};
