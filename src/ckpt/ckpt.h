/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint on disk, docs/format-checkpoint.md tells all of it:
 *
 *   manifest.json   what it is; written last, so that without it there is no checkpoint
 *   state           vCPUs and devices: sections (ckpt/state.h)
 *   index           where each piece of memory is, with its hash (ckpt/index.h)
 *   memory          the pages that are not zero; with a parent only the changed ones
 *
 * Whoever makes one: ckpt_create(), hand the three descriptors to lodge-vmm, add to the
 * manifest that it answers, ckpt_commit(). Readers trust nothing: a damaged byte is an
 * error that says where. Files are opened below a directory's descriptor, never by a
 * path that a manifest names freely. */
#pragma once
#include "base/err.h"
#include "base/own.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CKPT_MANIFEST "manifest.json"
#define CKPT_FORMAT   "lodge-checkpoint"
enum {
    CKPT_VERSION = 1,
    CKPT_ID_MAX = 33, /* 32 hex digits and NUL */
    CKPT_PARENTS_MAX = 64,
    CKPT_PAGE = 4096,
    CKPT_CHUNK_PAGES = 512,
    CKPT_CHUNK = CKPT_CHUNK_PAGES * CKPT_PAGE,
};

/* --- making ------------------------------------------------------------------- */

struct ckpt_files {
    int state, index, memory;
};
/* Three new files in the directory; refuses one that has any of them, or a manifest.
 * What a save that did not end left behind is for ckpt_clear(). */
int ckpt_create(int dirfd, struct ckpt_files *out, struct err *err);
void ckpt_files_close(struct ckpt_files *f);
/* Flush the files and those of "disks" whose member "file" names one, then give the
 * directory its manifest: checksum added, renamed into place, directory flushed.
 * `manifest` stays the caller's. */
int ckpt_commit(int dirfd, const json_t *manifest, struct err *err);
/* Remove what ckpt_create() and ckpt_commit() make; the manifest first. */
int ckpt_clear(int dirfd, struct err *err);
/* 32 random hex digits. */
int ckpt_new_id(char out[CKPT_ID_MAX], struct err *err);
bool ckpt_is_id(const char *s);

/* --- reading ------------------------------------------------------------------ */

/* Parse a manifest's bytes and check all that it says by itself. *out is a new
 * reference. */
int ckpt_manifest_parse(const char *text, size_t len, json_t **out, struct err *err);
/* The manifest of a directory; E_NOENT: no checkpoint is there. Of any virtualization
 * type: with the feature "qemu" or "fake", "files" is the agent's and not looked at. */
int ckpt_manifest_read(int dirfd, json_t **out, struct err *err);

struct ckpt;
/* The checkpoint in the directory and its parents (its siblings, by name). Checks the
 * manifests, the state's and the index's every byte, and sizes; not the memory's bytes:
 * those are checked as they are read. */
int ckpt_open(int dirfd, struct ckpt **out, struct err *err);
void ckpt_free(struct ckpt *c);
OWN_DEFINE(ckpt)
const json_t *ckpt_manifest(const struct ckpt *c);
const char *ckpt_id(const struct ckpt *c);
const void *ckpt_state(const struct ckpt *c, size_t *len);
uint64_t ckpt_ram_bytes(const struct ckpt *c);
uint64_t ckpt_chunks(const struct ckpt *c);
/* Is all of chunk n zero? */
bool ckpt_chunk_is_zero(const struct ckpt *c, uint64_t n);
/* Chunk n, whole, into out: CKPT_CHUNK bytes (the last chunk: up to the end of RAM).
 * Every stored page that goes into it is checked. zeroed: out is all zero already, so
 * that pages of zeros need not be touched. Not by two threads at once. */
int ckpt_read_chunk(struct ckpt *c, uint64_t n, void *out, bool zeroed,
                    struct err *err);
/* A descriptor (borrowed) whose bytes are the RAM's, for mapping, or -1 with the reason:
 * compressed, or with a parent. */
int ckpt_map_fd(const struct ckpt *c, struct err *err);
/* Of a mappable one: does every byte of the file agree with the index, also where pages
 * are zero? Reads all of it. */
int ckpt_verify_memory(struct ckpt *c, struct err *err);

typedef void (*ckpt_progress_f)(uint64_t done, uint64_t total, void *arg);
/* Every byte of it: state, memory, parents, and the files that "disks" names with
 * "file", "bytes" and "xxh64". progress may be NULL. */
int ckpt_verify(int dirfd, ckpt_progress_f progress, void *arg, struct err *err);

/* XXH64 of bytes, as 16 hex digits. */
void ckpt_hash(const void *data, size_t len, char out[17]);
/* XXH64 of a file's bytes from its start, as 16 hex digits into out; its size too. */
int ckpt_hash_fd(int fd, char out[17], uint64_t *bytes, struct err *err);
