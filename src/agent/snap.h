/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint as the agent writes and reads it: the directory, the disks, the manifest
 * (docs/format-checkpoint.md). In workers. What the user named is touched with that
 * user's rights only, and never by path twice: all goes by the directory's descriptor.
 *
 * While it is written the directory holds a file "lodge.writing", locked by the writer; one
 * with it but without a manifest, and nobody's lock, is what a failure left. */
#pragma once
#include "agent/vt.h"
#include "ckpt/ckpt.h"

struct snap {
    char *path; /* for messages */
    uid_t uid;  /* whose rights */
    gid_t gid;
    int dir, writing;         /* -1: not open */
    bool made;                /* the directory is of our making */
    bool stop;                /* the machine does not go on after the cut */
    bool track, compress;     /* type hpc: for a child to come; zstd */
    char *parent_name;        /* the directory beside it; NULL: a whole one */
    char parent[CKPT_ID_MAX]; /* which checkpoint that is */
    json_t *manifest;
    json_t *disks; /* of the manifest */
    uint64_t paused_us, downtime_us;
    work_tell_f tell; /* progress; may be NULL */
};
void snap_free(struct snap *c);
OWN_DEFINE(snap)

/* An empty directory for a new one; its end, one way or the other. */
int snap_make(const char *path, uid_t uid, gid_t gid, struct snap **out,
              struct err *err);
int snap_done(struct snap *c, struct err *err);
void snap_drop(struct snap *c);
/* Set parent_name and find out which checkpoint that is. */
int snap_find_parent(struct snap *c, const char *name, struct err *err);
/* In the agent too: can a machine with this profile be checkpointed? */
int snap_may(const struct vm *vm, struct err *err);

/* VT_CHECKPOINT: args {"to", "stop", "uid", "gid"}; *out: {"path", "downtime_us", ...}.
 * On failure nothing is left in the directory. */
int snap_save(struct vt_run *r, const json_t *args, work_tell_f tell, json_t **out,
              struct err *err);
/* Remove what a save that was killed left at args' "to". */
void snap_sweep(const json_t *args);

/* For a type's checkpoint verb: a new file, the user's (a descriptor, or -1); the pause
 * begins and ends (for the downtime); every disk the machine writes, while it stands
 * still. */
int snap_file(struct snap *c, const char *name, struct err *err);
void snap_paused(struct snap *c);
void snap_goes_on(struct snap *c);
int snap_cut_disks(struct vt_run *r, struct snap *c, struct err *err);
/* The sums of a file: {"file", "bytes", "stored_bytes", "chunk_bytes", "xxh64": [..]}. */
int snap_sums(struct snap *c, const char *name, int fd, json_t **out, struct err *err);
/* Put {"name": entry} into the manifest's "files" and a word into its "features". */
int snap_add_file(struct snap *c, const char *feature, const char *name, json_t *entry,
                  struct err *err);
void snap_progress(struct snap *c, const char *phase, uint64_t done, uint64_t total);

/* For restore: open and check the manifest (not what it names). */
int snap_load(const char *path, uid_t uid, gid_t gid, struct snap **out,
              struct err *err);
/* Does it fit the machine to be: type, image, disks, CPU? A reason if not. */
int snap_fits(struct vt_run *r, struct err *err);
/* A file of the checkpoint, for reading; and one entry's next chunk, checked: number of
 * bytes into buf (SNAP_CHUNK of room), 0 at the end, -1. */
int snap_open_file(struct snap *c, const char *name, struct err *err);
enum { SNAP_CHUNK = 4 << 20 };
ssize_t snap_read_chunk(const json_t *entry, int fd, size_t i, void *buf,
                        struct err *err);
/* A disk of the checkpoint into the file at path. */
int snap_disk_back(struct snap *c, const char *id, const char *path, struct err *err);
