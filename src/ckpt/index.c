/* SPDX-License-Identifier: Apache-2.0 */
#include "ckpt/index.h"
#include "ckpt/ckpt.h"
#include "ckpt/state.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"

static const char magic[8] = "LDGINDEX";
enum { RAM_MAX_BITS = 50 };

static void put32(uint8_t *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof v);
}

static void put64(uint8_t *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof v);
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

unsigned index_count(const uint64_t *map)
{
    unsigned n = 0;
    for (unsigned i = 0; i < INDEX_WORDS; i++)
        n += (unsigned)__builtin_popcountll(map[i]);
    return n;
}

uint64_t index_chunks(uint64_t ram)
{
    return (ram + CKPT_CHUNK - 1) / CKPT_CHUNK;
}

size_t index_bytes(uint64_t ram)
{
    return INDEX_HEADER + index_chunks(ram) * INDEX_RECORD + INDEX_TRAILER;
}

unsigned index_pages(uint64_t ram, uint64_t n)
{
    uint64_t left = (ram - n * CKPT_CHUNK) / CKPT_PAGE;
    return left < CKPT_CHUNK_PAGES ? (unsigned)left : CKPT_CHUNK_PAGES;
}

void index_encode(uint8_t *buf, uint64_t ram, const struct index_chunk *chunks)
{
    uint64_t n = index_chunks(ram);
    memset(buf, 0, index_bytes(ram));
    memcpy(buf, magic, sizeof magic);
    put32(buf + 8, INDEX_VERSION);
    put32(buf + 12, CKPT_CHUNK);
    put32(buf + 16, CKPT_PAGE);
    put64(buf + 24, ram);
    put64(buf + 32, n);
    uint8_t *p = buf + INDEX_HEADER;
    for (uint64_t i = 0; i < n; i++, p += INDEX_RECORD) {
        const struct index_chunk *c = &chunks[i];
        put64(p, c->offset);
        put32(p + 8, c->stored);
        put32(p + 12, c->codec);
        put64(p + 16, c->hash);
        for (unsigned w = 0; w < INDEX_WORDS; w++) {
            put64(p + 32 + 8 * w, c->data[w]);
            put64(p + 96 + 8 * w, c->zero[w]);
        }
    }
    put32(p, crc32c(buf, (size_t)(p - buf)));
}

/* Does one record make sense? NULL, or what is wrong. */
static const char *record_check(const struct index_chunk *c, uint64_t n, uint64_t ram,
                                uint64_t memory_bytes, bool whole)
{
    unsigned pages = index_pages(ram, n), stored = index_count(c->data);
    for (unsigned w = 0; w < INDEX_WORDS; w++) {
        uint64_t valid = pages >= 64 * (w + 1) ? ~0ull
                         : pages <= 64 * w     ? 0
                                               : (1ull << (pages - 64 * w)) - 1;
        if (c->data[w] & c->zero[w])
            return "a page is both stored and zero";
        if ((c->data[w] | c->zero[w]) & ~valid)
            return "a page is beyond the end of memory";
        if (whole && (c->data[w] | c->zero[w]) != valid)
            return "a page is missing, and there is no parent to have it";
    }
    if (stored == 0)
        return c->codec != INDEX_NOTHING || c->stored || c->offset || c->hash
                   ? "nothing is stored, yet it has a place"
                   : NULL;
    if (c->codec == INDEX_RAW) {
        if (c->offset != n * CKPT_CHUNK || c->stored != stored * CKPT_PAGE)
            return "a wrong place";
        if (c->offset > memory_bytes ||
            (uint64_t)pages * CKPT_PAGE > memory_bytes - c->offset)
            return "its place is beyond the end of the file";
        return NULL;
    }
    if (c->codec != INDEX_ZSTD)
        return "an unknown codec";
    if (c->stored == 0 || c->stored > 2 * CKPT_CHUNK || c->offset > memory_bytes ||
        c->stored > memory_bytes - c->offset)
        return "its place is beyond the end of the file";
    return NULL;
}

int index_decode(const uint8_t *buf, size_t len, uint64_t ram, uint64_t memory_bytes,
                 bool whole, struct index_chunk **chunks, struct err *err)
{
    if (ram == 0 || ram % CKPT_PAGE || ram >> RAM_MAX_BITS)
        return err_set(err, E_INPUT, "index: %llu bytes of memory cannot be",
                       (unsigned long long)ram);
    if (len != index_bytes(ram))
        return err_set(err, E_INPUT, "index: %zu bytes, not %zu: cut or damaged", len,
                       index_bytes(ram));
    if (memcmp(buf, magic, sizeof magic) != 0)
        return err_set(err, E_INPUT, "index: this is no index of a checkpoint");
    if (get32(buf + len - INDEX_TRAILER) != crc32c(buf, len - INDEX_TRAILER) ||
        get32(buf + len - 4) != 0)
        return err_set(err, E_INPUT, "index: damaged (wrong checksum)");
    uint64_t n = index_chunks(ram);
    if (get32(buf + 8) != INDEX_VERSION)
        return err_set(err, E_INPUT, "index: version %u is not known to this version",
                       get32(buf + 8));
    if (get32(buf + 12) != CKPT_CHUNK || get32(buf + 16) != CKPT_PAGE ||
        get64(buf + 24) != ram || get64(buf + 32) != n)
        return err_set(err, E_INPUT, "index: it is of another machine's memory");
    struct index_chunk *all = calloc(n, sizeof *all);
    if (!all)
        return err_oom(err);
    const uint8_t *p = buf + INDEX_HEADER;
    for (uint64_t i = 0; i < n; i++, p += INDEX_RECORD) {
        struct index_chunk *c = &all[i];
        c->offset = get64(p);
        c->stored = get32(p + 8);
        c->codec = get32(p + 12);
        c->hash = get64(p + 16);
        for (unsigned w = 0; w < INDEX_WORDS; w++) {
            c->data[w] = get64(p + 32 + 8 * w);
            c->zero[w] = get64(p + 96 + 8 * w);
        }
        const char *wrong = record_check(c, i, ram, memory_bytes, whole);
        if (wrong) {
            free(all);
            return err_set(err, E_INPUT, "index: chunk %llu: %s", (unsigned long long)i,
                           wrong);
        }
    }
    *chunks = all;
    return 0;
}
