/* SPDX-License-Identifier: Apache-2.0 */
/* Type fake: no machine at all. lodge-guest runs on the host with the owner's ids, so
 * that everything above a machine (states, channel, exec, cp) is the real thing. For
 * tests and dry runs. Words in the profile's append play faults and delays:
 *
 *   fake.boot-delay=MS   fake.boot-fail   fake.pause-fail   fake.destroy-delay=MS
 *   fake.never-ready     fake.die-after=MS
 *   fake.checkpoint-delay=MS   fake.checkpoint-fail
 *   fake.node-fault      fails as a node without hypervisor does, where the file
 *                        fake.node-fault is in the state directory */
#include "agent/vt.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/snap.h"
#include "agent/stage.h"
#include "base/dirs.h"
#include "base/fd.h"
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

/* A pause, and a file that says whose it is. */
static int fake_checkpoint(struct vt_run *r, struct snap *c, struct err *err)
{
    AUTO_FD fd = snap_file(c, "fake", err);
    AUTO_STR text = str_printf("machine %s of type fake\n", r->vm->name);
    json_t *entry;
    if (fd < 0 || fake_pause(r, err) < 0)
        return -1;
    snap_paused(c);
    nap(knob(r->profile, "fake.checkpoint-delay"));
    int ret = 0;
    if (knob(r->profile, "fake.checkpoint-fail"))
        ret = err_set(err, E_FAIL, "the profile asked for a checkpoint that fails");
    if (ret == 0)
        ret = text ? fd_write_all(fd, text, strlen(text), err) : err_oom(err);
    if (ret == 0)
        ret = snap_cut_disks(r, c, err);
    if ((ret < 0 || !c->stop) && fake_resume(r, NULL) < 0)
        ret = -1;
    snap_goes_on(c);
    if (ret < 0 || snap_sums(c, "fake", fd, &entry, err) < 0)
        return -1;
    return snap_add_file(c, "fake", "fake", entry, err);
}

static int fake_restore(struct vt_run *r, struct err *err)
{
    const json_t *entry =
        json_object_get(json_object_get(r->snap->manifest, "files"), "fake");
    AUTO_STR buf = malloc(SNAP_CHUNK);
    AUTO_FD fd = snap_open_file(r->snap, "fake", err);
    if (!buf)
        return err_oom(err);
    if (fd < 0 || snap_read_chunk(entry, fd, 0, buf, err) < 0)
        return -1;
    return fake_boot(r, err);
}

static int fake_recover(struct vt_run *r, struct err *err)
{
    return json_is_true(json_object_get(r->vm->cut, "paused")) ? 0
                                                               : fake_resume(r, err);
}

const struct vt_ops vt_fake = {
    .name = "fake",
    .check = fake_check,
    .boot = fake_boot,
    .destroy = fake_destroy,
    .pause = fake_pause,
    .resume = fake_resume,
    .checkpoint = fake_checkpoint,
    .restore = fake_restore,
    .recover = fake_recover,
};
