/* SPDX-License-Identifier: Apache-2.0 */
/* The list of types, and the worker that runs their verbs: what is the same for all of
 * them (directories, image, shares, networks, scratch) is staged and removed here. */
#include "agent/vt.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
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

static int do_boot(struct vt_run *r, work_tell_f tell, struct err *err)
{
    if (r->ops->destroy(r, NULL) < 0)
        stage_clear(r, NULL);
    if (r->ops->needs_image && image_find(r->profile->image, &r->image, err) < 0)
        return -1;
    if (r->image && r->image->digest)
        json_object_set_new(r->vt, "image", json_string(r->image->digest));
    if (stage_make(r, err) < 0)
        return -1;
    tell(json_pack("{s:s}", "stage", "staged"));
    return r->ops->boot(r, err);
}

static int do_destroy(struct vt_run *r, struct err *err)
{
    /* Only when the hypervisor is certainly gone may its things go. */
    if (r->ops->destroy(r, err) < 0)
        return -1;
    return stage_clear(r, err);
}

static int optional(int (*verb)(struct vt_run *, struct err *), struct vt_run *r,
                    const char *what, struct err *err)
{
    if (!verb)
        return err_set(err, E_UNAVAIL, "type '%s' cannot %s", r->ops->name, what);
    return verb(r, err);
}

static int run_verb(struct vt_run *r, enum vt_verb verb, work_tell_f tell,
                    struct err *err)
{
    switch (verb) {
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
    }
    return err_set(err, E_BUG, "verb %d", verb);
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
        ret = run_verb(&r, order->verb, tell, err);
    *out =
        ret == 0 ? json_pack("{s:O, s:I}", "vt", r.vt, "pid", (json_int_t)r.pid) : NULL;
    image_free(r.image);
    json_decref(r.vt);
    free(r.dir);
    return ret;
}
