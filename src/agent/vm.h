/* SPDX-License-Identifier: Apache-2.0 */
/* A VM as the agent knows it: the row on disk (one JSON file, replaced whole before
 * each action) and what lives only while the agent does. */
#pragma once
#include "agent/state.h"
#include "base/list.h"
#include "base/own.h"

#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

struct agent;
struct profile;
struct work;
struct guest;
struct console;
struct life_cut;

/* When each stage was passed, wall clock; `lodge vm show` and bench print the line. */
#define VM_STAGES(X)                                                                   \
    X(STAGE_DEFINED, "defined")                                                        \
    X(STAGE_STAGED, "staged")                                                          \
    X(STAGE_STARTED, "started")                                                        \
    X(STAGE_READY, "ready")                                                            \
    X(STAGE_ENDED, "ended")
enum vm_stage {
#define X(stage, name) stage,
    VM_STAGES(X)
#undef X
        STAGE_COUNT
};

/* An id begins with its agent's tag (load.c); an interface's name, "lgID.N", has
 * room for two digits more. */
enum { VM_TAG_LEN = 5, VM_ID_LEN = 10 };

struct vm {
    struct list in; /* agent->vms */
    struct agent *agent;

    /* the row */
    char id[VM_ID_LEN + 1]; /* names everything on the node that belongs to it */
    char *name;
    uid_t uid;
    gid_t gid;
    char *job;     /* NULL: none */
    char *request; /* the deploying request's own id, for repeats; NULL: none */
    struct profile *profile;
    json_t *cgroups; /* {"memory": "/sys/fs/cgroup/memory/slurm/..", ...}; NULL: own */
    enum vm_state state;
    bool leased;  /* goes away with the connection that holds it */
    bool doomed;  /* to be forgotten when it has ended */
    bool failing; /* stopping because something went wrong: ends in failed */
    struct err why;
    pid_t pid; /* the hypervisor; 0: none */
    uint64_t pid_start;
    json_t *vt; /* what the type's boot told; never NULL */
    /* The checkpoint it starts from: {"path", "uid", "gid" (whose rights), "clone",
     * "macs", "machine_id"?}; NULL: it boots. */
    json_t *from;
    /* While checkpointing: {"to", "stop", "uid", "gid", "paused" (before)}. */
    json_t *cut;
    uint64_t stages[STAGE_COUNT];

    /* while the agent lives */
    struct work *work; /* the action under way; NULL: none */
    sd_event_source *pid_watch;
    sd_event_source *timer; /* of the state: ready in time, grace, next try */
    sd_event_source *lease; /* the holder has this long to come back */
    sd_event_source *limit; /* the profile's time */
    struct err act;         /* how the last action ended; code 0: well */
    struct guest *guest;
    struct console *console;
    struct life_cut *cutting; /* whoever waits for the checkpoint; NULL: nobody */
    struct list waiters;
    unsigned retries;
    bool forced; /* no more grace while stopping */
    int held;    /* a descriptor that keeps its image; 0: none */
};

void vm_free(struct vm *vm);
OWN_DEFINE(vm)

/* The row as JSON, and back. `vm_from_json` checks everything: a damaged file is an
 * error, not a crash. */
json_t *vm_to_json(const struct vm *vm);
int vm_from_json(json_t *row, struct vm **out, struct err *err);
/* Put the row on disk. */
int vm_save(const struct vm *vm, struct err *err);
/* Take the row away. */
void vm_forget(const struct vm *vm);
/* What clients see of it. */
json_t *vm_show(const struct vm *vm);
/* "DIRS_RUN/vms/ID/leaf": sockets and pid files; the caller's to free. */
char *vm_path(const struct vm *vm, const char *leaf);
