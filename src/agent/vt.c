/* SPDX-License-Identifier: Apache-2.0 */
/* The list of types, and the worker that runs their verbs: what is the same for all of
 * them (directories, image, shares, networks, scratch) is staged and removed here. */
#include "agent/vt.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/frozen.h"
#include "agent/images.h"
#include "agent/owner.h"
#include "agent/snap.h"
#include "agent/stage.h"
#include "base/fd.h"
#include "config.h"
#include "proto/rpc.h"

const struct vt_ops *const vt_types[] = {
#ifdef WITH_VMM
    &vt_hpc,
#endif
#ifdef WITH_LIBVIRT
    &vt_kvm,  &vt_qemu, &vt_xen, &vt_xenhvm, &vt_lxc,
#endif
    &vt_fake, NULL,
};

const struct vt_ops *vt_find(enum profile_type type)
{
    for (const struct vt_ops *const *o = vt_types; *o; o++)
        if (!strcmp((*o)->name, profile_type_names[type]))
            return *o;
    return NULL;
}

/* The checkpoint it starts from, if it fits. */
static int open_snap(struct vt_run *r, struct err *err)
{
    const char *path = NULL;
    json_int_t uid = 0, gid = 0;
    if (json_unpack(r->from, "{s:s, s:I, s:I}", "path", &path, "uid", &uid, "gid",
                    &gid) < 0)
        return err_set(err, E_BUG, "row: from");
    if (!r->ops->restore)
        return err_set(err, E_UNAVAIL, "type '%s' cannot be restored", r->ops->name);
    if (snap_load(path, uid, gid, &r->snap, err) < 0)
        return -1;
    return snap_fits(r, err);
}

/* The machine goes on, and nothing is left of the checkpoint. */
static int do_recover(struct vt_run *r, const json_t *args, struct err *err)
{
    snap_sweep(args);
    return r->ops->recover ? r->ops->recover(r, err) : 0;
}

static int start(struct vt_run *r, work_tell_f tell, struct err *err)
{
    if (stage_make(r, err) < 0)
        return -1;
    tell(json_pack("{s:s}", "stage", "staged"));
    return r->snap ? r->ops->restore(r, err) : r->ops->boot(r, err);
}

static int do_destroy(struct vt_run *r, struct err *err);

/* A disk by its path is looked at with its owner's rights: nobody learns by us what there
 * is where he cannot look. */
static int find_image(struct vt_run *r, struct err *err)
{
    struct owner_was was = {0};
    if (!r->profile->image)
        return 0; /* a kernel of its own, or a CD-ROM */
    if (images_await(r->vm, err) < 0)
        return -1;
    if (*r->profile->image == '/' && owner_enter(r->vm->uid, r->vm->gid, &was, err) < 0)
        return -1;
    int ret = image_find(r->profile->image, &r->image, err);
    owner_leave(&was);
    return ret;
}

static int do_boot(struct vt_run *r, work_tell_f tell, struct err *err)
{
    if (r->ops->destroy(r, NULL) < 0)
        stage_clear(r, NULL);
    if (r->ops->needs_image && find_image(r, err) < 0)
        return -1;
    if (r->image && r->image->digest)
        json_object_set_new(r->vt, "image", json_string(r->image->digest));
    r->from = json_incref(r->vm->from);
    if (r->from) {
        json_object_set_new(r->vt, "start", json_string("restored"));
        if (open_snap(r, err) < 0)
            return -1;
        return start(r, tell, err);
    }
    frozen_look(r);
    struct err why = {0};
    if (!r->snap)
        return start(r, tell, err);
    if (start(r, tell, &why) == 0)
        return 0;
    /* A boot does the same, only slower. */
    frozen_drop(r, &why);
    if (do_destroy(r, err) < 0)
        return -1;
    return start(r, tell, err);
}

static int do_destroy(struct vt_run *r, struct err *err)
{
    /* Only when the hypervisor is certainly gone may its things go. */
    if (r->ops->destroy(r, err) < 0)
        return -1;
    if (r->vm->cut)
        snap_sweep(r->vm->cut);
    return stage_clear(r, err);
}

static int optional(int (*verb)(struct vt_run *, struct err *), struct vt_run *r,
                    const char *what, struct err *err)
{
    if (!verb)
        return err_set(err, E_UNAVAIL, "type '%s' cannot %s", r->ops->name, what);
    return verb(r, err);
}

static int run_verb(struct vt_run *r, const struct vt_order *order, work_tell_f tell,
                    json_t **out, struct err *err)
{
    switch (order->verb) {
    case VT_BOOT:
        return do_boot(r, tell, err);
    case VT_DESTROY:
        return do_destroy(r, err);
    case VT_PAUSE:
        return optional(r->ops->pause, r, "pause", err);
    case VT_RESUME:
        return optional(r->ops->resume, r, "resume", err);
    case VT_POWERDOWN:
        return optional(r->ops->powerdown, r, "power down", err);
    case VT_STATS:
        return optional(r->ops->stats, r, "give statistics", err);
    case VT_CHECKPOINT:
        return snap_save(r, order->args, tell, out, err);
    case VT_RECOVER:
        return do_recover(r, order->args, err);
    }
    return err_set(err, E_BUG, "verb %d", order->verb);
}

int vt_work(void *arg, work_tell_f tell, json_t **out, struct err *err)
{
    const struct vt_order *order = arg;
    const struct vm *vm = order->vm;
    struct vt_run r = {.vm = vm,
                       .profile = vm->profile,
                       .ops = vt_find(vm->profile->type),
                       .dir = vm_path(vm, NULL),
                       .vt = json_deep_copy(vm->vt)};
    int ret = -1;
    if (!r.ops)
        err_set(err, E_UNAVAIL, "this build has no type '%s'",
                profile_type_names[vm->profile->type]);
    else if (!r.dir || !r.vt)
        err_oom(err);
    else
        ret = run_verb(&r, order, tell, out, err);
    if (ret == 0 && !*out)
        *out = json_pack("{s:O, s:I}", "vt", r.vt, "pid", (json_int_t)r.pid);
    snap_free(r.snap);
    json_decref(r.from);
    image_free(r.image);
    json_decref(r.vt);
    free(r.dir);
    return ret;
}
