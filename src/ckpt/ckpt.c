/* SPDX-License-Identifier: Apache-2.0 */
/* An open checkpoint: its manifest, state and index checked, its memory read chunk by
 * chunk through its parents, each stored page checked by its chunk's hash. */
#include "ckpt/ckpt.h"
#include "ckpt/index.h"
#include "ckpt/state.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>

enum { FILE_MAX = 1 << 30 };

struct ckpt {
    json_t *manifest;
    const char *id;
    char *state;
    size_t state_len;
    uint64_t ram;
    int memory;
    uint64_t memory_bytes;
    bool raw;
    struct index_chunk *chunks;
    uint8_t *packed, *frame; /* one chunk's stored pages; as stored */
    ZSTD_DCtx *zstd;
    struct ckpt *parent;
};

void ckpt_free(struct ckpt *c)
{
    while (c) {
        struct ckpt *parent = c->parent;
        if (c->memory >= 0)
            close(c->memory);
        json_decref(c->manifest);
        ZSTD_freeDCtx(c->zstd);
        free(c->state);
        free(c->chunks);
        free(c->packed);
        free(c->frame);
        free(c);
        c = parent;
    }
}

const json_t *ckpt_manifest(const struct ckpt *c)
{
    return c->manifest;
}

const char *ckpt_id(const struct ckpt *c)
{
    return c->id;
}

const void *ckpt_state(const struct ckpt *c, size_t *len)
{
    *len = c->state_len;
    return c->state;
}

uint64_t ckpt_ram_bytes(const struct ckpt *c)
{
    return c->ram;
}

uint64_t ckpt_chunks(const struct ckpt *c)
{
    return index_chunks(c->ram);
}

/* --- opening ---------------------------------------------------------------------- */

static json_t *file_of(const struct ckpt *c, const char *name)
{
    return json_object_get(json_object_get(c->manifest, "files"), name);
}

/* A whole small file, of the size and hash that the manifest tells. */
static int load(const struct ckpt *c, int dirfd, const char *name, char **out,
                size_t *len, struct err *err)
{
    json_t *told = file_of(c, name);
    uint64_t bytes = (uint64_t)json_integer_value(json_object_get(told, "bytes"));
    char hash[17];
    struct stat st;
    AUTO_FD fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, "%s", name);
    if (!S_ISREG(st.st_mode) || bytes > FILE_MAX || (uint64_t)st.st_size != bytes)
        return err_set(err, E_INPUT, "%s: %lld bytes, not %llu: cut or damaged", name,
                       (long long)st.st_size, (unsigned long long)bytes);
    if (fd_slurp(fd, name, bytes, out, len, err) < 0)
        return -1;
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)XXH64(*out, *len, 0));
    if (*len != bytes ||
        strcmp(hash, json_string_value(json_object_get(told, "xxh64"))) != 0)
        return err_set(err, E_INPUT, "%s: damaged (wrong hash)", name);
    return 0;
}

static int open_memory(struct ckpt *c, int dirfd, struct err *err)
{
    json_t *told = file_of(c, "memory");
    struct stat st;
    c->memory_bytes = (uint64_t)json_integer_value(json_object_get(told, "bytes"));
    c->ram = (uint64_t)json_integer_value(json_object_get(told, "ram_bytes"));
    c->raw = strcmp(json_string_value(json_object_get(told, "codec")), "raw") == 0;
    c->memory = openat(dirfd, "memory", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (c->memory < 0 || fstat(c->memory, &st) < 0)
        return err_sys(err, "memory");
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != c->memory_bytes)
        return err_set(err, E_INPUT, "memory: %lld bytes, not %llu: cut or damaged",
                       (long long)st.st_size, (unsigned long long)c->memory_bytes);
    return 0;
}

/* Every section whole, whether we know it or not. */
static int check_state(const struct ckpt *c, struct err *err)
{
    struct state_reader r;
    int got;
    state_open(&r, c->state, c->state_len);
    while ((got = state_next(&r, err)) > 0)
        continue;
    return got;
}

static int open_one(int dirfd, struct ckpt **out, struct err *err)
{
    AUTO_STR index = NULL;
    size_t len;
    AUTO(ckpt) c = calloc(1, sizeof *c);
    if (!c)
        return err_oom(err);
    c->memory = -1;
    if (ckpt_manifest_read(dirfd, &c->manifest, err) < 0)
        return -1;
    c->id = json_string_value(json_object_get(c->manifest, "id"));
    if (!file_of(c, "state"))
        return err_set(err, E_UNAVAIL, "the checkpoint is not one of type 'hpc'");
    if (load(c, dirfd, "state", &c->state, &c->state_len, err) < 0 ||
        check_state(c, err) < 0 || open_memory(c, dirfd, err) < 0 ||
        load(c, dirfd, "index", &index, &len, err) < 0)
        return -1;
    bool whole = json_is_null(json_object_get(c->manifest, "parent"));
    if (index_decode((const uint8_t *)index, len, c->ram, c->memory_bytes, whole,
                     &c->chunks, err) < 0)
        return -1;
    c->packed = malloc(CKPT_CHUNK);
    if (!c->packed)
        return err_oom(err);
    if (!c->raw) {
        c->frame = malloc(2 * CKPT_CHUNK);
        c->zstd = ZSTD_createDCtx();
        if (!c->frame || !c->zstd)
            return err_oom(err);
    }
    *out = move(c);
    return 0;
}

int ckpt_open(int dirfd, struct ckpt **out, struct err *err)
{
    AUTO(ckpt) first = NULL;
    AUTO_FD up = -1;
    if (open_one(dirfd, &first, err) < 0)
        return -1;
    struct ckpt *c = first;
    for (unsigned depth = 0;; depth++) {
        json_t *p = json_object_get(c->manifest, "parent");
        const char *name = json_string_value(json_object_get(p, "name"));
        const char *id = json_string_value(json_object_get(p, "id"));
        if (!name)
            break;
        if (depth == CKPT_PARENTS_MAX)
            return err_set(err, E_INPUT, "more than %d parents", CKPT_PARENTS_MAX);
        if (up < 0)
            up = openat(dirfd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        AUTO_FD at = openat(up, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (at < 0)
            return err_sys(err, "parent '%s'", name);
        if (open_one(at, &c->parent, err) < 0)
            return err_at(err, "parent '%s'", name);
        if (strcmp(c->parent->id, id) != 0)
            return err_set(err, E_INPUT, "parent '%s' is another checkpoint (%s)", name,
                           c->parent->id);
        c = c->parent;
        if (c->ram != first->ram)
            return err_set(err, E_INPUT, "parent '%s' has another size of memory",
                           name);
    }
    *out = move(first);
    return 0;
}

/* --- memory ------------------------------------------------------------------------ */

static int read_at(int fd, void *data, size_t len, uint64_t at, struct err *err)
{
    ssize_t n = fd_read_at(fd, data, len, at);
    if (n < 0)
        return err_sys(err, "memory");
    if ((size_t)n < len)
        return err_set(err, E_INPUT, "memory: cut short while it is read");
    return 0;
}

/* The stored pages of chunk n, one after the other, into c->packed; checked. */
static int unpack(struct ckpt *c, uint64_t n, struct err *err)
{
    const struct index_chunk *k = &c->chunks[n];
    size_t len = (size_t)index_count(k->data) * CKPT_PAGE, used = 0;
    if (k->codec == INDEX_RAW) {
        for (unsigned i = 0; i < CKPT_CHUNK_PAGES;) {
            unsigned first = i;
            while (i < CKPT_CHUNK_PAGES && index_bit(k->data, i))
                i++;
            size_t run = (size_t)(i - first) * CKPT_PAGE;
            if (run && read_at(c->memory, c->packed + used, run,
                               k->offset + (uint64_t)first * CKPT_PAGE, err) < 0)
                return -1;
            used += run;
            i += i == first;
        }
    } else {
        if (!c->zstd)
            return err_set(err, E_INPUT,
                           "memory: chunk %llu is compressed, and the "
                           "manifest says raw",
                           (unsigned long long)n);
        if (read_at(c->memory, c->frame, k->stored, k->offset, err) < 0)
            return -1;
        size_t z =
            ZSTD_decompressDCtx(c->zstd, c->packed, CKPT_CHUNK, c->frame, k->stored);
        if (ZSTD_isError(z) || z != len)
            return err_set(err, E_INPUT, "memory: chunk %llu is damaged (zstd)",
                           (unsigned long long)n);
    }
    if (XXH64(c->packed, len, n) != k->hash)
        return err_set(err, E_INPUT, "memory: chunk %llu is damaged (wrong hash)",
                       (unsigned long long)n);
    return 0;
}

bool ckpt_chunk_is_zero(const struct ckpt *c, uint64_t n)
{
    uint64_t left[INDEX_WORDS];
    memset(left, 0xff, sizeof left);
    for (; c; c = c->parent)
        for (unsigned w = 0; w < INDEX_WORDS; w++) {
            if (c->chunks[n].data[w] & left[w])
                return false;
            left[w] &= ~c->chunks[n].zero[w];
        }
    return true;
}

int ckpt_read_chunk(struct ckpt *top, uint64_t n, void *out, bool zeroed,
                    struct err *err)
{
    unsigned pages = index_pages(top->ram, n);
    uint64_t left[INDEX_WORDS] = {0};
    for (unsigned i = 0; i < pages; i++)
        index_set(left, i);
    for (struct ckpt *c = top; c; c = c->parent) {
        const struct index_chunk *k = &c->chunks[n];
        uint64_t any = 0;
        unsigned used = 0;
        for (unsigned w = 0; w < INDEX_WORDS; w++)
            any |= k->data[w] & left[w];
        if (any && unpack(c, n, err) < 0)
            return c == top ? -1 : err_at(err, "parent %s", c->id);
        for (unsigned i = 0; i < pages; i++) {
            char *page = (char *)out + (size_t)i * CKPT_PAGE;
            bool mine = index_bit(left, i);
            if (index_bit(k->data, i)) {
                if (mine)
                    memcpy(page, c->packed + (size_t)used * CKPT_PAGE, CKPT_PAGE);
                used++;
            } else if (mine && !zeroed && index_bit(k->zero, i)) {
                memset(page, 0, CKPT_PAGE);
            }
        }
        for (unsigned w = 0; w < INDEX_WORDS; w++)
            left[w] &= ~(k->data[w] | k->zero[w]);
    }
    if (index_count(left))
        return err_set(err, E_INPUT, "memory: chunk %llu has a page that no parent has",
                       (unsigned long long)n);
    return 0;
}

int ckpt_map_fd(const struct ckpt *c, struct err *err)
{
    if (c->parent)
        return err_set(err, E_UNAVAIL,
                       "it has a parent, so its memory is in several "
                       "files: restore by reading");
    if (!c->raw)
        return err_set(err, E_UNAVAIL, "its memory is compressed: restore by reading");
    return c->memory;
}

int ckpt_verify_memory(struct ckpt *c, struct err *err)
{
    if (ckpt_map_fd(c, err) < 0)
        return -1;
    AUTO_STR buffer = malloc(CKPT_CHUNK);
    if (!buffer)
        return err_oom(err);
    for (uint64_t n = 0; n < ckpt_chunks(c); n++) {
        const struct index_chunk *k = &c->chunks[n];
        /* In a hole all is zero without reading it. */
        off_t at = (off_t)(n * CKPT_CHUNK), data = lseek(c->memory, at, SEEK_DATA);
        bool hole = (data < 0 && errno == ENXIO) || data >= at + CKPT_CHUNK;
        unsigned pages = index_pages(c->ram, n);
        if (hole && k->codec == INDEX_NOTHING)
            continue;
        if (read_at(c->memory, buffer, (size_t)pages * CKPT_PAGE, (uint64_t)at, err) <
            0)
            return -1;
        for (unsigned i = 0; i < pages; i++) {
            const char *p = buffer + (size_t)i * CKPT_PAGE;
            if (index_bit(k->zero, i) && (p[0] || memcmp(p, p + 1, CKPT_PAGE - 1) != 0))
                return err_set(err, E_INPUT,
                               "memory: chunk %llu: page %u should be zero",
                               (unsigned long long)n, i);
        }
        if (k->codec != INDEX_NOTHING && unpack(c, n, err) < 0)
            return -1;
    }
    return 0;
}
