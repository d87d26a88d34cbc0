/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoint and restore as clients ask for them; the work is snap.c's, in workers. */
#include "agent/checkpoint.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/frozen.h"
#include "agent/guest.h"
#include "agent/methods.h"
#include "agent/plan.h"
#include "agent/reserve.h"
#include "agent/snap.h"
#include "agent/vt.h"
#include "agent/work.h"
#include "base/str.h"
#include "profile/profile.h"

enum { LOAD_MS = 60000, PATH_LIMIT = 4000 };

static int check_path(const char *path, struct err *err)
{
    if (*path != '/' || strlen(path) > PATH_LIMIT)
        return err_set(err, E_INPUT, "'%.200s' is not an absolute path", path);
    return 0;
}

/* --- checkpoint ------------------------------------------------------------------------- */

struct saving {
    struct rpc_call *call; /* NULL: the caller went away */
    struct agent *agent;
    struct vm *vm;
    struct life_waiter *waiter; /* for the end, after "stop" */
    json_t *result;
    bool stop;
    json_t *cut;   /* what is to be done once the shares are unmounted; then NULL */
    bool remounts; /* they are, or may be */
};

static void saving_free(struct saving *s)
{
    s->agent->busy--;
    agent_touch(s->agent);
    json_decref(s->result);
    json_decref(s->cut);
    free(s);
}

/* Its host directories again; what cannot be mounted its guest will tell its users. */
static void remount(struct saving *s)
{
    json_t *mounts = json_object_get(json_object_get(s->vm->vt, "identity"), "mounts");
    if (s->remounts && mounts)
        guest_ask(s->vm, json_pack("{s:s, s:O}", "op", "identity", "mounts", mounts),
                  NULL, NULL, NULL);
}

static void on_note(void *arg, json_t *note)
{
    struct saving *s = arg;
    rpc_call_progress(s->call, json_incref(note));
}

static void on_ended(void *arg, struct vm *vm, const struct err *why)
{
    struct saving *s = arg;
    rpc_call_on_gone(s->call, NULL, NULL);
    rpc_call_answer(s->call, json_incref(s->result));
    saving_free(s);
}

static void on_saved(void *arg, json_t *result, const struct err *why)
{
    struct saving *s = arg;
    if (why || !s->stop)
        remount(s);
    if (why) {
        rpc_call_on_gone(s->call, NULL, NULL);
        rpc_call_fail(s->call, why);
        saving_free(s);
        return;
    }
    s->result = json_incref(result);
    if (s->stop)
        s->waiter = life_wait(s->vm, UNTIL_ENDED, on_ended, s);
    if (!s->waiter)
        on_ended(s, NULL, NULL);
}

static void saver_gone(struct rpc_call *call, void *arg)
{
    struct saving *s = arg;
    rpc_call_drop(call);
    s->call = NULL;
    if (s->cut)
        return; /* until the guest has answered */
    if (s->waiter) {
        life_wait_cancel(s->waiter);
    } else {
        life_checkpoint_cancel(s->vm);
        remount(s);
    }
    saving_free(s);
}

static int begin(struct saving *s, json_t *cut, struct err *err)
{
    return life_checkpoint(s->vm, cut, on_note, on_saved, s, err);
}

static void on_unmounted(void *arg, const struct err *why)
{
    struct saving *s = arg;
    struct err err = {0};
    if (why)
        err = *why;
    if (!why && s->call && begin(s, move(s->cut), &err) == 0)
        return;
    if (!why && s->vm->state != VM_CHECKPOINTING)
        remount(s);
    if (s->call) {
        rpc_call_on_gone(s->call, NULL, NULL);
        err_at(&err, "VM '%s' is not checkpointed", s->vm->name);
        rpc_call_fail(s->call, &err);
    }
    saving_free(s);
}

/* Host directories are not the machine's: its profile says that they may be unmounted
 * for the cut. */
static int unmount_first(struct saving *s, json_t *cut, struct err *err)
{
    AUTO_JSON own = cut;
    json_t *mounts = json_object_get(json_object_get(s->vm->vt, "identity"), "mounts");
    if (s->vm->state == VM_PAUSED)
        return err_set(
            err, E_STATE,
            "VM '%s' is paused and cannot unmount its shares; resume it first",
            s->vm->name);
    s->cut = json_incref(own);
    s->remounts = true;
    if (guest_ask(s->vm, json_pack("{s:s, s:O}", "op", "unmount", "mounts", mounts),
                  on_unmounted, s, err) == 0)
        return 0;
    json_decref(move(s->cut));
    return -1;
}

static bool has_mounts(const struct vm *vm)
{
    return vm->profile->share_count && vm->profile->type != PROFILE_FAKE &&
           json_object_get(json_object_get(vm->vt, "identity"), "mounts");
}

/* Into the agent's own store, for everybody: by who owns it. */
static int may_freeze(const struct vm *vm, struct rpc_call *call, char **path,
                      struct err *err)
{
    const char *digest = json_string_value(json_object_get(vm->vt, "image"));
    if (rpc_call_uid(call) != geteuid() || vm->uid != geteuid())
        return err_set(err, E_PERM,
                       "only the owner of the store of images may freeze into it");
    if (frozen_may(vm, err) < 0)
        return -1;
    if (!digest)
        return err_set(err, E_INPUT, "VM '%s' boots no image of the store", vm->name);
    return (*path = frozen_path(vm->profile, digest)) ? 0 : err_oom(err);
}

/* What only our own hypervisor can do. */
static int check_ways(const struct vm *vm, const char *parent, bool other,
                      struct err *err)
{
    if (parent && !str_is_name(parent))
        return err_set(err, E_INPUT,
                       "vm.checkpoint: parent '%.80s' is not the name of a directory",
                       parent);
    if ((parent || other) && vm->profile->type != PROFILE_HPC)
        return err_set(err, E_UNAVAIL,
                       "type '%s' keeps all of the memory, as it is; only type 'hpc' "
                       "has children of checkpoints, and compresses",
                       profile_type_names[vm->profile->type]);
    return 0;
}

static int save(struct agent *a, struct rpc_call *call, json_t *params, struct err *err)
{
    const char *to = "/", *parent = NULL;
    int stop = 0, freeze = 0, track = 0, compress = 0;
    json_int_t uid = rpc_call_uid(call), gid = rpc_call_gid(call);
    struct vm *vm = agent_vm_of(a, call, params, err);
    if (!vm ||
        rpc_unpack(params, err, "vm.checkpoint",
                   "{s?s, s?b, s?b, s?I, s?I, s?s, s?b, s?b}", "to", &to, "stop", &stop,
                   "freeze", &freeze, "as_uid", &uid, "as_gid", &gid, "parent", &parent,
                   "track", &track, "compress", &compress) < 0 ||
        check_path(to, err) < 0 || check_ways(vm, parent, track || compress, err) < 0 ||
        agent_may_act_for(call, uid, gid, err) < 0 || snap_may(vm, err) < 0)
        return -1;
    AUTO_STR frozen = NULL;
    if (freeze && may_freeze(vm, call, &frozen, err) < 0)
        return -1;
    if (!freeze && !strcmp(to, "/"))
        return err_set(err, E_INPUT, "vm.checkpoint: no directory 'to'");
    struct saving *s = calloc(1, sizeof *s);
    if (!s)
        return err_oom(err);
    *s = (struct saving){.call = call, .agent = a, .vm = vm, .stop = stop};
    json_t *cut =
        json_pack("{s:s, s:b, s:b, s:I, s:I, s:s*, s:b, s:b}", "to",
                  freeze ? frozen : to, "stop", stop, "freeze", freeze, "uid", uid,
                  "gid", gid, "parent", parent, "track", track, "compress", compress);
    a->busy++;
    if ((has_mounts(vm) ? unmount_first(s, cut, err) : begin(s, cut, err)) < 0) {
        saving_free(s);
        return -1;
    }
    rpc_call_on_gone(call, saver_gone, s);
    return 0;
}

void checkpoint_save(struct rpc_call *call, json_t *params, void *arg)
{
    struct err err;
    if (save(arg, call, params, &err) < 0)
        rpc_call_fail(call, &err);
}

/* --- restore ----------------------------------------------------------------------------- */

struct loading {
    struct rpc_call *call;
    struct agent *agent;
    struct work *work;
    char *path, *name, *mode, *job;
    json_t *cgroups;
    json_int_t uid, gid;
    bool wait;
};

static void loading_free(struct loading *l)
{
    l->agent->busy--;
    agent_touch(l->agent);
    free(l->path);
    free(l->name);
    free(l->mode);
    free(l->job);
    json_decref(l->cgroups);
    free(l);
}

/* The worker: read the manifest with the user's rights; on a file system that hangs,
 * only it hangs. */
static int load_work(void *arg, work_tell_f tell, json_t **out, struct err *err)
{
    const struct loading *l = arg;
    AUTO(snap) c = NULL;
    if (snap_load(l->path, l->uid, l->gid, &c, err) < 0)
        return -1;
    json_t *vm = json_object_get(c->manifest, "vm");
    AUTO_JSON disks = json_array();
    size_t i;
    json_t *d;
    json_array_foreach (c->disks, i, d)
        json_array_append_new(disks,
                              json_pack("{s:O, s:O}", "id", json_object_get(d, "id"),
                                        "bytes", json_object_get(d, "bytes")));
    if (!json_is_object(vm))
        return err_set(err, E_INPUT, "checkpoint '%s' is of no machine of an agent's",
                       l->path);
    *out = json_pack("{s:O, s:O}", "vm", vm, "disks", disks);
    return *out ? 0 : err_oom(err);
}

/* A disk that the profile names by path was cut as it was; the copy is the machine's
 * own, and the file that is there now is left alone. */
static int own_disks(struct profile *p, const json_t *disks, struct err *err)
{
    for (size_t i = 0; i < p->disk_count; i++) {
        size_t k;
        json_t *d;
        if (p->disks[i].readonly)
            continue;
        json_int_t bytes = -1;
        json_array_foreach (disks, k, d) {
            const char *id = json_string_value(json_object_get(d, "id"));
            if (id && !strcmp(id, p->disks[i].id))
                bytes = json_integer_value(json_object_get(d, "bytes"));
        }
        if (bytes < 0)
            return err_set(err, E_INPUT, "its disk '%s' is missing", p->disks[i].id);
        if (p->disks[i].path) {
            free(p->disks[i].path);
            p->disks[i].path = NULL;
            p->disks[i].size_bytes = bytes;
        }
    }
    return 0;
}

/* The same machine keeps its MACs, whatever its id is here. */
static int keep_macs(struct profile *p, const json_t *macs, struct err *err)
{
    for (size_t i = 0; i < p->nic_count; i++) {
        const char *mac = json_string_value(json_array_get(macs, i));
        if (!mac || strlen(mac) != 17)
            return err_set(err, E_INPUT, "its MACs are wrong");
        char *own = strdup(mac);
        if (!own)
            return err_oom(err);
        free(p->nics[i].mac);
        p->nics[i].mac = own;
    }
    return 0;
}

/* A clone must not have those of the one it was: the id gives new ones. */
static void drop_macs(struct profile *p)
{
    for (size_t i = 0; i < p->nic_count; i++) {
        free(p->nics[i].mac);
        p->nics[i].mac = NULL;
    }
}

static void take_id(struct agent *a, struct vm *vm, const char *saved)
{
    agent_new_id(a, vm->id);
    if (strlen(saved) == VM_ID_LEN && strspn(saved, "0123456789abcdef") == VM_ID_LEN &&
        !strncmp(saved, a->tag, VM_TAG_LEN) && !agent_find(a, 0, saved, NULL))
        memcpy(vm->id, saved, VM_ID_LEN);
}

/* The machine that had the name before, if it has ended, makes room. */
static int make_room(struct agent *a, uid_t uid, const char *name, bool renamed,
                     struct err *err)
{
    struct vm *old = agent_find_own(a, uid, name);
    if (!old)
        return 0;
    if (renamed || (old->state != VM_GONE && old->state != VM_FAILED))
        return err_set(err, E_EXISTS,
                       "there is a VM '%s' already (%s); name the restored one "
                       "otherwise with --name",
                       name, state_name(old->state));
    return life_stop(old, false, true, err);
}

static int define(struct loading *l, json_t *read, struct vm **out, struct err *err)
{
    struct agent *a = l->agent;
    const char *name, *id;
    json_t *profile, *macs, *machine_id = NULL;
    AUTO(vm) vm = calloc(1, sizeof *vm);
    if (!vm)
        return err_oom(err);
    list_init(&vm->in);
    list_init(&vm->waiters);
    if (rpc_unpack(json_object_get(read, "vm"), err, "manifest",
                   "{s:s, s:s, s:o, s:o, s?o}", "name", &name, "id", &id, "profile",
                   &profile, "macs", &macs, "machine_id", &machine_id) < 0 ||
        profile_from_json(profile, &vm->profile, err) < 0)
        return -1;
    bool clone = l->name && strcmp(l->name, name);
    const char *wanted = l->name ? l->name : name;
    if (!str_is_name(wanted))
        return err_set(
            err, E_INPUT,
            "'%.80s' cannot name a VM: use at most 63 letters, digits, . _ -", wanted);
    if (make_room(a, l->uid, wanted, clone, err) < 0 ||
        own_disks(vm->profile, json_object_get(read, "disks"), err) < 0)
        return -1;
    if (clone) {
        agent_new_id(a, vm->id);
        drop_macs(vm->profile);
    } else {
        take_id(a, vm, id);
        if (keep_macs(vm->profile, macs, err) < 0)
            return -1;
    }
    vm->name = strdup(wanted);
    vm->uid = l->uid;
    vm->gid = l->gid;
    vm->job = move(l->job);
    vm->cgroups = json_incref(l->cgroups);
    vm->vt = json_object();
    vm->from = json_pack("{s:s, s:I, s:I, s:b, s:O, s:O*, s:s*}", "path", l->path,
                         "uid", l->uid, "gid", l->gid, "clone", clone, "macs", macs,
                         "machine_id", machine_id, "mode", l->mode);
    if (!vm->name || !vm->vt || !vm->from)
        return err_oom(err);
    if (!agent_is_master(rpc_call_uid(l->call)) &&
        agent_may_start(l->agent, vm, err) < 0)
        return -1;
    if (l->mode && vm->profile->type != PROFILE_HPC)
        return err_set(err, E_UNAVAIL,
                       "type '%s' is always read whole; only type 'hpc' has modes",
                       profile_type_names[vm->profile->type]);
    if (agent_admit(a, vm, 0, 0, err) < 0 ||
        reserve_can_run(a, vm->profile->type, err) < 0)
        return -1;
    if (!vt_find(vm->profile->type)->restore)
        return err_set(err, E_UNAVAIL, "type '%s' cannot be restored",
                       vt_find(vm->profile->type)->name);
    *out = move(vm);
    return 0;
}

static void on_loaded(void *arg, json_t *result, const struct err *why)
{
    struct loading *l = arg;
    struct err err;
    struct vm *vm = NULL;
    rpc_call_on_gone(l->call, NULL, NULL);
    if (why) {
        err = *why;
    } else if (define(l, result, &vm, &err) < 0) {
        if (err.code != E_EXISTS)
            err_at(&err, "checkpoint '%s'", l->path);
    } else if (life_define(l->agent, vm, &err) < 0) {
        vm_free(vm);
        vm = NULL;
    } else if (life_boot(vm, &err) < 0) {
        vm = NULL;
    }
    if (!vm)
        rpc_call_fail(l->call, &err);
    else if (l->wait)
        agent_answer_when(l->call, vm, UNTIL_READY, false);
    else
        rpc_call_answer(l->call, vm_show(vm));
    loading_free(l);
}

static void loader_gone(struct rpc_call *call, void *arg)
{
    struct loading *l = arg;
    work_cancel(l->work);
    rpc_call_drop(call);
    loading_free(l);
}

static int check_mode(const char *mode, struct err *err)
{
    static const char *const modes[] = {"read", "map", "uffd", NULL};
    for (size_t i = 0; mode && modes[i]; i++)
        if (!strcmp(mode, modes[i]))
            return 0;
    if (!mode)
        return 0;
    const char *near = str_nearest(mode, modes);
    return err_set(err, E_INPUT,
                   near ? "mode '%.20s' is not read, map or uffd; did you mean '%s'?"
                        : "mode '%.20s' is not read, map or uffd",
                   mode, near);
}

static int load(struct agent *a, struct rpc_call *call, json_t *params, struct err *err)
{
    const char *path, *name = NULL, *mode = NULL, *job = NULL;
    json_t *cgroups = NULL;
    json_int_t uid = rpc_call_uid(call), gid = rpc_call_gid(call);
    int wait = 1;
    if (rpc_unpack(params, err, "vm.restore",
                   "{s:s, s?s, s?b, s?I, s?I, s?s, s?s, s?o !}", "checkpoint", &path,
                   "name", &name, "wait", &wait, "uid", &uid, "gid", &gid, "mode",
                   &mode, "job", &job, "cgroups", &cgroups) < 0 ||
        check_path(path, err) < 0 || agent_may_act_for(call, uid, gid, err) < 0 ||
        check_mode(mode, err) < 0 || agent_may_name_job(call, job, cgroups, err) < 0)
        return -1;
    if (cgroups && !json_is_object(cgroups))
        return err_set(err, E_INPUT, "vm.restore: cgroups: wants an object");
    struct loading *l = calloc(1, sizeof *l);
    if (!l)
        return err_oom(err);
    *l = (struct loading){.call = call,
                          .agent = a,
                          .path = strdup(path),
                          .name = name ? strdup(name) : NULL,
                          .mode = mode ? strdup(mode) : NULL,
                          .job = job ? strdup(job) : NULL,
                          .cgroups = json_incref(cgroups),
                          .uid = uid,
                          .gid = gid,
                          .wait = wait};
    a->busy++;
    struct work_spec spec = {.event = a->event,
                             .what = "reading a checkpoint",
                             .run = load_work,
                             .done = on_loaded,
                             .arg = l,
                             .done_arg = l,
                             .timeout_ms = LOAD_MS};
    if (!l->path || (name && !l->name) || (mode && !l->mode) || (job && !l->job) ||
        work_start(&spec, &l->work, err) < 0) {
        loading_free(l);
        return err && err->code ? -1 : err_oom(err);
    }
    rpc_call_on_gone(call, loader_gone, l);
    return 0;
}

void checkpoint_restore(struct rpc_call *call, json_t *params, void *arg)
{
    struct err err = {0};
    if (load(arg, call, params, &err) < 0)
        rpc_call_fail(call, &err);
}
