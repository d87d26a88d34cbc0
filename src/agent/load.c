/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's beginning and end: rows from disk, the idle clock, facts of the node. */
#include "agent/agent.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/console.h"
#include "agent/guest.h"
#include "agent/life.h"
#include "agent/reclaim.h"
#include "agent/work.h"
#include "base/dirs.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "profile/profile.h"

/* Two agents on a machine (the system's, a test's) must not sweep each other's: the
 * first digits of an id say whose it is, by the state directory. A million values: that
 * two of a machine's few agents have the same is not to be expected. */
static void make_tag(struct agent *a)
{
    AUTO_STR dir = dirs_path(DIRS_STATE, NULL);
    uint32_t h = 2166136261u;
    for (const char *p = dir ? dir : ""; *p; p++)
        h = (h ^ (unsigned char)*p) * 16777619u;
    snprintf(a->tag, sizeof a->tag, "%0*x", VM_TAG_LEN, (h ^ h >> 20) & 0xfffff);
}

static int load_row(struct agent *a, const char *path, struct err *err)
{
    enum { ROW_MAX = 4 << 20 };
    AUTO_STR text = NULL;
    json_error_t je;
    struct vm *vm;
    if (fd_read_file(path, ROW_MAX, &text, NULL, err) < 0)
        return -1;
    AUTO_JSON row = json_loads(text, JSON_REJECT_DUPLICATES, &je);
    if (!row)
        return err_set(err, E_INPUT, "'%s': %s", path, je.text);
    if (vm_from_json(row, &vm, err) < 0)
        return err_at(err, "'%s'", path);
    vm->agent = a;
    list_add(&a->vms, &vm->in);
    return 0;
}

static int load_rows(struct agent *a, const char *dir, struct err *err)
{
    DIR *d = opendir(dir);
    if (!d)
        return err_sys(err, "'%s'", dir);
    for (struct dirent *e; (e = readdir(d));) {
        struct err why;
        AUTO_STR path = str_printf("%s/%s", dir, e->d_name);
        if (!path || *e->d_name == '.')
            continue;
        if (!str_ends(e->d_name, ".json")) {
            unlink(path); /* a replacement that was never finished */
            continue;
        }
        if (load_row(a, path, &why) == 0)
            continue;
        /* Keep it for people; what it took is swept like all that has no row. */
        AUTO_STR aside = str_printf("%s.bad", path);
        log_error(NULL, "row set aside: %s", why.text);
        if (aside)
            rename(path, aside);
    }
    closedir(d);
    return 0;
}

int agent_read(struct agent *a, struct err *err)
{
    make_tag(a);
    AUTO_STR dir = dirs_path(DIRS_STATE, "agent");
    if (!dir)
        return err_oom(err);
    if (dirs_make(DIRS_STATE, err) < 0 || dirs_make(DIRS_RUN, err) < 0 ||
        fd_mkdirs(dir, 0700, err) < 0)
        return -1;
    return load_rows(a, dir, err);
}

int agent_load(struct agent *a, struct err *err)
{
    struct vm *vm, *next;
    if (agent_read(a, err) < 0)
        return -1;
    list_each_safe (vm, next, &a->vms, in)
        life_adopt(vm);
    reclaim_start(a);
    return 0;
}

void agent_unload(struct agent *a)
{
    struct vm *vm, *next;
    list_each_safe (vm, next, &a->vms, in) {
        work_cancel(vm->work);
        vm->work = NULL;
        guest_close(vm);
        console_close(vm);
        list_remove(&vm->in);
        vm_free(vm);
    }
    sd_event_source_disable_unref(a->idle);
    a->idle = NULL;
}

static int on_idle(sd_event_source *source, uint64_t usec, void *arg)
{
    struct agent *a = arg;
    struct vm *vm;
    bool idle = !a->busy;
    list_each (vm, &a->vms, in)
        idle &= !state_is_live(vm->state) && vm->state != VM_DEFINED;
    if (!idle) {
        agent_touch(a); /* and then as long again */
        return 0;
    }
    log_info(NULL, "nothing to do: ending");
    return sd_event_exit(a->event, 0);
}

void agent_touch(struct agent *a)
{
    if (a->stay || !a->idle_ms)
        return;
    a->idle = sd_event_source_disable_unref(a->idle);
    sd_event_add_time_relative(a->event, &a->idle, CLOCK_MONOTONIC,
                               a->idle_ms * 1000ull, 1000000, on_idle, a);
}
