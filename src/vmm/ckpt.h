/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints of the machine: saving while it runs on or stands still, and coming back
 * from one. Two threads of their own, which sleep but for that time:
 *
 *   guard   sees to pages of RAM that somebody touched (uffd.h): missing ones while a
 *           restore goes on, protected ones while a save does
 *   worker  goes through all of RAM: fills it, or writes it out
 *
 * Everything else here is the control thread's. */
#pragma once
#include "ckpt/ckpt.h"
#include "ckpt/index.h"
#include "vmm/vm.h"

struct ckpt_writer;

/* What a save is asked for. */
struct save_request {
    char id[CKPT_ID_MAX], parent[CKPT_ID_MAX]; /* parent "": all of the memory */
    char parent_name[64];                      /* its directory's name */
    struct ckpt_files files;                   /* taken */
    bool stop;                                 /* stay paused */
    bool track; /* remember from now on what is written, for a child */
    int level;  /* of zstd; 0: raw */
};

enum save_phase { SAVE_NONE, SAVE_AHEAD, SAVE_CUT, SAVE_MEMORY };

/* One save. Under `lock`: what worker and guard share. */
struct save {
    enum save_phase phase;
    struct save_request q;
    bool was_running;
    uint64_t paused_us, downtime_us;
    struct ckpt_writer *writer;
    struct state_writer state;
    json_t *files;
    uint64_t *want; /* a bit a page of RAM, with a parent; else NULL */
    bool ahead;     /* RAM cannot be protected: most of it is written before the cut */
    bool protects;  /* RAM is write-protected: it runs on */
    uint8_t *saved; /* a byte a chunk: its bytes are ours now */
    uint64_t *spilled; /* a bit a page: put aside before it was written */
    char *buffer;      /* one chunk */
    struct err err;
    atomic_bool failed, cancel, ended, copied;
    atomic_ulong done; /* bytes of RAM */
};

enum ckpt_job { JOB_NONE, JOB_FILL, JOB_AHEAD, JOB_SAVE };

struct vm_ckpt {
    struct vm *vm;
    int uffd;
    bool protects;
    int guard_wake, work_wake; /* eventfds */
    int told; /* eventfd: the worker got further, or ended; control watches it */
    pthread_t guard, worker;
    bool guard_on, worker_on;
    _Atomic(int) job;
    atomic_bool exit;
    pthread_mutex_t lock;

    struct ckpt *from; /* while coming back */
    uint8_t *filled;   /* a byte a chunk */
    char *fill_buffer;
    atomic_bool filling;

    struct save save;
    char tracked[CKPT_ID_MAX]; /* the checkpoint since which writes are remembered */
    uint64_t *map;             /* of those that KVM has told already */
};

/* ckpt.c. In building: before the memory is made; opens what the sandbox will shut. */
int vm_ckpt_open(struct vm *vm, struct err *err);
/* In the sandbox, before anything is restored. */
int vm_ckpt_start(struct vm *vm, struct err *err);
void vm_ckpt_stop(struct vm *vm); /* ends the threads */
void vm_ckpt_done(struct vm *vm);
void vm_ckpt_job(struct vm_ckpt *k, enum ckpt_job job);
/* Are its files what the configuration can take? */
int vm_ckpt_map_fd(struct vm *vm, struct err *err);

/* thaw.c: memory and state out of the checkpoint that the configuration names. */
int vm_thaw(struct vm *vm, struct err *err);
void thaw_fault(struct vm_ckpt *k, uint64_t address); /* guard */
void thaw_fill(struct vm_ckpt *k);                    /* worker */

/* save.c. Begins: pauses, saves the state: SAVE_CUT. (Where the memory of a machine that
 * is to run on cannot be protected, it is written while it runs first, SAVE_AHEAD, and
 * save_still() is called when the worker has ended that.) Then save_cut() once the disks
 * are cut (or could not be: why), which lets the machine run on and begins to write. When
 * the worker has ended, save_end() gives the manifest, or the error. */
int save_begin(struct vm *vm, const struct save_request *q, struct err *err);
int save_still(struct vm *vm, struct err *err);
void save_go_on(struct vm *vm); /* the worker has copied what it stood still for */
int save_cut(struct vm *vm, const char *why, struct err *err);
json_t *save_end(struct vm *vm, struct err *err);
/* Bytes of RAM that were written since the parent, by KVM's log; without a parent all. Before
 * save_end(). */
uint64_t save_dirty_bytes(const struct vm *vm);
void save_cancel(struct vm *vm);
void save_fault(struct vm_ckpt *k, uint64_t address); /* guard */
void save_memory(struct vm_ckpt *k);                  /* worker */
void save_ahead(struct vm_ckpt *k);                   /* worker */

/* The pieces of RAM that [offset, offset + len) of it lies in, one after the other. */
int ram_each(struct vm *vm, uint64_t offset, uint64_t len,
             int (*fn)(struct vm *vm, void *at, uint64_t len, void *arg), void *arg);
