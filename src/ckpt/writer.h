/* SPDX-License-Identifier: Apache-2.0 */
/* Writing the three files of a checkpoint, by descriptors: lodge-vmm's half of
 * ckpt/ckpt.h. After ckpt_writer_new() nothing large is allocated and nothing is opened,
 * so that it works in the sandbox. One thread, but for ckpt_writer_spill(). */
#pragma once
#include "ckpt/ckpt.h"
#include "ckpt/index.h"

struct ckpt_writer;
/* Borrows the descriptors. full: every page must come; else the rest is a parent's.
 * level: of zstd, 0 for none. */
int ckpt_writer_new(const struct ckpt_files *files, uint64_t ram, bool full, int level,
                    struct ckpt_writer **out, struct err *err);
void ckpt_writer_free(struct ckpt_writer *w);
OWN_DEFINE(ckpt_writer)

/* The pages of chunk n whose bit is in want (NULL: all); pages is the chunk as it is in
 * RAM. Zero pages are found here and take no room. Each chunk once, unless ckpt_writer_again(). */
int ckpt_writer_chunk(struct ckpt_writer *w, uint64_t n, const void *pages,
                      const uint64_t *want, struct err *err);
/* Chunk n is to be written again: forget what was. */
int ckpt_writer_again(struct ckpt_writer *w, uint64_t n, struct err *err);
/* Chunk n is all zero and was not looked at (a hole). */
void ckpt_writer_hole(struct ckpt_writer *w, uint64_t n);

/* Put bytes of RAM aside, in the memory file where no chunk will come in their way, and
 * take them back. From other threads than the writer's too. Sets errno: -1. */
int ckpt_writer_spill(struct ckpt_writer *w, uint64_t offset, const void *data,
                      size_t len);
int ckpt_writer_unspill(struct ckpt_writer *w, uint64_t offset, void *data, size_t len);

uint64_t ckpt_writer_stored(const struct ckpt_writer *w);
/* Index and state; all three flushed to the disk. *files is what the manifest's "files"
 * says of them. */
int ckpt_writer_finish(struct ckpt_writer *w, const void *state, size_t len,
                       json_t **files, struct err *err);
