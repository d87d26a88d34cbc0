/* SPDX-License-Identifier: Apache-2.0 */
/* What a VM takes on the node whatever its type: run directory, scratch disk, networks,
 * shares, cgroups. All names follow from the VM's id, so that what is left after a
 * crash can be found and taken back. Runs in workers. */
#pragma once
#include "agent/vt.h"

/* Make it all; running twice is fine. Adds what the type needs to r->vt. */
int stage_make(struct vt_run *r, struct err *err);
/* Take it all back; fine when there is nothing. */
int stage_clear(struct vt_run *r, struct err *err);

enum { STAGE_FDS_MAX = 16 };
/* A process that belongs to the VM: in its own session, ids of the owner unless
 * as_agent, LODGE_VM=ID in its environment (the sweep's mark), pid in DIR/LEAF.pid. */
struct stage_proc {
    const char *leaf;
    const char *const *argv;
    bool as_agent;
    const int *input; /* its standard input; NULL: none */
    const int *fds;   /* become its descriptors 3, 4, ...: at most STAGE_FDS_MAX */
    size_t nfds;
    const char *device; /* it must be able to open this: it gets the device's group */
    const char *cwd;
    int (*before_ids)(void *arg); /* both: see proc_spec; may be NULL */
    int (*in_child)(void *arg);
    void *arg;
};
int stage_spawn(struct vt_run *r, const struct stage_proc *p, pid_t *pid,
                struct err *err);
/* End, with all that it started, the process of DIR/LEAF.pid, if it is still the one we started; waits for it. */
int stage_kill(struct vt_run *r, const char *leaf, struct err *err);
/* Signal it, and all that it started. */
int stage_signal(struct vt_run *r, const char *leaf, int sig, struct err *err);
/* Let it begin: E_FAIL with what it said if it has ended within ms. */
int stage_settle(struct vt_run *r, const char *leaf, unsigned ms, struct err *err);
/* Wait until path is a socket one can connect to, or process `leaf` has died. */
int stage_await_socket(struct vt_run *r, const char *leaf, const char *path,
                       unsigned wait_ms, struct err *err);
