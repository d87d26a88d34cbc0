/* SPDX-License-Identifier: Apache-2.0 */
#include "ckpt/writer.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>

struct ckpt_writer {
    struct ckpt_files f;
    uint64_t ram, chunks, end, stored;
    bool full;
    int level;
    ZSTD_CCtx *zstd;
    uint8_t *packed; /* the stored pages of a chunk, one after the other */
    uint8_t *frame;
    size_t frame_size;
    struct index_chunk *at;
    uint8_t *index;
};

int ckpt_writer_new(const struct ckpt_files *files, uint64_t ram, bool full, int level,
                    struct ckpt_writer **out, struct err *err)
{
    AUTO(ckpt_writer) w = calloc(1, sizeof *w);
    if (!w)
        return err_oom(err);
    w->f = *files;
    w->ram = ram;
    w->chunks = index_chunks(ram);
    w->full = full;
    w->level = level;
    w->packed = malloc(CKPT_CHUNK);
    w->at = calloc(w->chunks, sizeof *w->at);
    w->index = malloc(index_bytes(ram));
    if (level) {
        w->zstd = ZSTD_createCCtx();
        w->frame_size = ZSTD_compressBound(CKPT_CHUNK);
        w->frame = malloc(w->frame_size);
    }
    if (!w->packed || !w->at || !w->index || (level && (!w->zstd || !w->frame)))
        return err_oom(err);
    /* A raw file is as long as the RAM, whatever is stored in it. */
    if (ftruncate(w->f.memory, level ? 0 : (off_t)ram) < 0 ||
        ftruncate(w->f.state, 0) < 0 || ftruncate(w->f.index, 0) < 0)
        return err_sys(err, "checkpoint: memory file");
    *out = move(w);
    return 0;
}

void ckpt_writer_free(struct ckpt_writer *w)
{
    if (!w)
        return;
    ZSTD_freeCCtx(w->zstd);
    free(w->packed);
    free(w->frame);
    free(w->at);
    free(w->index);
    free(w);
}

static bool is_zero(const void *page)
{
    const uint64_t *p = page;
    for (unsigned i = 0; i < CKPT_PAGE / sizeof *p; i += 8)
        if (p[i] | p[i + 1] | p[i + 2] | p[i + 3] | p[i + 4] | p[i + 5] | p[i + 6] |
            p[i + 7])
            return false;
    return true;
}

/* Runs of stored pages, each by one write. */
static int write_raw(struct ckpt_writer *w, const struct index_chunk *c,
                     const uint8_t *pages, unsigned count)
{
    for (unsigned i = 0; i < count;) {
        unsigned first = i;
        while (i < count && index_bit(c->data, i))
            i++;
        if (i > first && fd_write_at(w->f.memory, pages + (size_t)first * CKPT_PAGE,
                                     (size_t)(i - first) * CKPT_PAGE,
                                     c->offset + (uint64_t)first * CKPT_PAGE) < 0)
            return -1;
        i += i == first;
    }
    return 0;
}

int ckpt_writer_chunk(struct ckpt_writer *w, uint64_t n, const void *pages,
                      const uint64_t *want, struct err *err)
{
    struct index_chunk *c = &w->at[n];
    const uint8_t *from = pages;
    unsigned count = index_pages(w->ram, n), used = 0;
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *page = from + (size_t)i * CKPT_PAGE;
        if (want && !index_bit(want, i))
            continue;
        if (is_zero(page)) {
            index_set(c->zero, i);
            continue;
        }
        index_set(c->data, i);
        memcpy(w->packed + (size_t)used++ * CKPT_PAGE, page, CKPT_PAGE);
    }
    if (used == 0)
        return 0;
    size_t len = (size_t)used * CKPT_PAGE;
    c->hash = XXH64(w->packed, len, n);
    int r;
    if (w->level) {
        size_t z = ZSTD_compressCCtx(w->zstd, w->frame, w->frame_size, w->packed, len,
                                     w->level);
        if (ZSTD_isError(z))
            return err_set(err, E_SYS, "checkpoint: zstd: %s", ZSTD_getErrorName(z));
        c->codec = INDEX_ZSTD;
        c->offset = w->end;
        c->stored = (uint32_t)z;
        r = fd_write_at(w->f.memory, w->frame, z, w->end);
        w->end += z;
    } else {
        c->codec = INDEX_RAW;
        c->offset = n * CKPT_CHUNK;
        c->stored = (uint32_t)len;
        r = write_raw(w, c, from, count);
    }
    w->stored += c->stored;
    return r < 0 ? err_sys(err, "checkpoint: memory file") : 0;
}

int ckpt_writer_again(struct ckpt_writer *w, uint64_t n, struct err *err)
{
    struct index_chunk *c = &w->at[n];
    /* What is a page of zeros this time must read as such; a frame is just left behind. */
    if (c->codec == INDEX_RAW &&
        fallocate(w->f.memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  (off_t)(n * CKPT_CHUNK), CKPT_CHUNK) < 0)
        return err_sys(err, "checkpoint: memory file");
    w->stored -= c->stored;
    memset(c, 0, sizeof *c);
    return 0;
}

void ckpt_writer_hole(struct ckpt_writer *w, uint64_t n)
{
    for (unsigned i = 0; i < index_pages(w->ram, n); i++)
        index_set(w->at[n].zero, i);
}

/* Behind the longest file that compressing can make; cut off at the end. */
static uint64_t spill_base(const struct ckpt_writer *w)
{
    return w->level ? w->chunks * 2 * CKPT_CHUNK : 0;
}

int ckpt_writer_spill(struct ckpt_writer *w, uint64_t offset, const void *data,
                      size_t len)
{
    /* A hole reads as zeros: a huge page is mostly that, and all of it goes aside. */
    if (len == CKPT_PAGE && is_zero(data))
        return 0;
    return fd_write_at(w->f.memory, data, len, spill_base(w) + offset);
}

int ckpt_writer_unspill(struct ckpt_writer *w, uint64_t offset, void *data, size_t len)
{
    ssize_t n = fd_read_at(w->f.memory, data, len, spill_base(w) + offset);
    if (n >= 0 && (size_t)n < len) /* behind the end, as yet */
        memset((char *)data + n, 0, len - n);
    return n < 0 ? -1 : 0;
}

uint64_t ckpt_writer_stored(const struct ckpt_writer *w)
{
    return w->stored;
}

static json_t *file_json(const void *data, size_t len)
{
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)XXH64(data, len, 0));
    return json_pack("{s:I, s:s}", "bytes", (json_int_t)len, "xxh64", hash);
}

int ckpt_writer_finish(struct ckpt_writer *w, const void *state, size_t len,
                       json_t **files, struct err *err)
{
    size_t size = index_bytes(w->ram);
    uint64_t memory = w->level ? w->end : w->ram;
    for (uint64_t n = 0; w->full && n < w->chunks; n++)
        if (index_count(w->at[n].data) + index_count(w->at[n].zero) !=
            index_pages(w->ram, n))
            return err_set(err, E_BUG, "checkpoint: chunk %llu was forgotten",
                           (unsigned long long)n);
    index_encode(w->index, w->ram, w->at);
    if (ftruncate(w->f.memory, (off_t)memory) < 0)
        return err_sys(err, "checkpoint: memory file");
    if (fd_write_at(w->f.index, w->index, size, 0) < 0)
        return err_sys(err, "checkpoint: index");
    if (fd_write_at(w->f.state, state, len, 0) < 0)
        return err_sys(err, "checkpoint: state");
    if (fdatasync(w->f.memory) < 0 || fdatasync(w->f.index) < 0 ||
        fdatasync(w->f.state) < 0)
        return err_sys(err, "checkpoint: flush");
    json_t *j =
        json_pack("{s:o, s:o, s:{s:I, s:I, s:I, s:s}}", "state", file_json(state, len),
                  "index", file_json(w->index, size), "memory", "bytes",
                  (json_int_t)memory, "stored_bytes", (json_int_t)w->stored,
                  "ram_bytes", (json_int_t)w->ram, "codec", w->level ? "zstd" : "raw");
    if (!j)
        return err_oom(err);
    *files = j;
    return 0;
}
