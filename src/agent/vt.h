/* SPDX-License-Identifier: Apache-2.0 */
/* The table of virtualization types. Every verb runs in a worker (work.h), so it may
 * block; it sees a copy of the VM and gives what the agent must know in `vt`. A
 * capability is an entry that is not NULL.
 *
 * A verb may be run again after a crash, at any point: boot first removes what an
 * earlier try left, destroy ends well when there is nothing left. */
#pragma once
#include "agent/vm.h"
#include "agent/work.h"
#include "image/store.h"
#include "profile/profile.h"

struct snap;

struct vt_run {
    const struct vm *vm;
    const struct profile *profile;
    const struct vt_ops *ops;
    struct image *image; /* at boot; NULL for types without */
    char *dir;           /* DIRS_RUN/vms/ID */
    /* What boot found out; becomes the row's "vt". Well-known names: "guest" (path of
     * the unix socket to lodge-guest), "console" (path of the console's socket). */
    json_t *vt;
    pid_t pid;         /* boot: the process whose end is the VM's */
    struct snap *snap; /* the checkpoint being made, or booted from; else NULL */
    json_t *from;      /* vm->from, or a frozen image's; NULL: it boots */
};

struct vt_ops {
    const char *name;     /* the profile's type */
    const char *uri;      /* libvirt types: what to connect to as root, */
    const char *user_uri; /* and as anybody else; NULL: root only */
    const char *domain;   /* libvirt's domain type */
    bool needs_image;
    int (*check)(const struct profile *, struct err *); /* pure: can it do this? */
    int (*boot)(struct vt_run *, struct err *);
    int (*destroy)(struct vt_run *, struct err *); /* the hypervisor ends now */
    int (*pause)(struct vt_run *, struct err *);
    int (*resume)(struct vt_run *, struct err *);
    int (*powerdown)(struct vt_run *, struct err *); /* ask by the power button */
    int (*stats)(struct vt_run *, struct err *);     /* into vt */
    /* Cut memory, devices and disks at one instant into the snap's files; with `stop`
     * the machine stands still afterwards, else it goes on as it was. */
    int (*checkpoint)(struct vt_run *, struct snap *, struct err *);
    /* In place of boot: from r->snap. */
    int (*restore)(struct vt_run *, struct err *);
    /* A checkpoint was given up at any point: let the machine go on. */
    int (*recover)(struct vt_run *, struct err *);
};

extern const struct vt_ops vt_fake;
extern const struct vt_ops vt_hpc;
extern const struct vt_ops vt_kvm;
extern const struct vt_ops vt_qemu;
extern const struct vt_ops vt_xen;
extern const struct vt_ops vt_xenhvm;
extern const struct vt_ops vt_lxc;

/* NULL-terminated: all types this build has. */
extern const struct vt_ops *const vt_types[];
const struct vt_ops *vt_find(enum profile_type type);

enum vt_verb {
    VT_BOOT,
    VT_DESTROY,
    VT_PAUSE,
    VT_RESUME,
    VT_POWERDOWN,
    VT_STATS,
    VT_CHECKPOINT,
    VT_RECOVER
};
/* The worker's function: arg is a struct vt_order. */
struct vt_order {
    const struct vm *vm;
    enum vt_verb verb;
    const json_t *args; /* VT_CHECKPOINT, VT_RECOVER: see snap.h */
};
int vt_work(void *order, work_tell_f tell, json_t **out, struct err *err);
