/* SPDX-License-Identifier: Apache-2.0 */
/* The index of a checkpoint's memory: a header and one record a chunk, little-endian,
 * then one CRC32C over all of it.
 *
 *   header (64 bytes): "LDGINDEX", u32 version, u32 chunk bytes, u32 page bytes, u32 0,
 *                      u64 bytes of RAM, u64 chunks, zeros
 *   record (160 bytes): u64 offset in "memory", u32 stored bytes, u32 codec, u64 XXH64 of
 *                      the stored pages one after the other (seed: the chunk's number),
 *                      u64 0, 512 bits: page is stored here, 512 bits: page is zero
 *   trailer: u32 CRC32C, u32 0
 *
 * A page with neither bit is the parent's. */
#pragma once
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { INDEX_VERSION = 1, INDEX_HEADER = 64, INDEX_RECORD = 160, INDEX_TRAILER = 8 };
enum { INDEX_WORDS = 512 / 64 };
enum index_codec {
    INDEX_NOTHING, /* no page is stored */
    INDEX_RAW,     /* offset is the chunk's own: page p at offset + p * 4096 */
    INDEX_ZSTD,    /* one frame at offset holds the stored pages one after the other */
};

struct index_chunk {
    uint64_t offset;
    uint32_t stored;
    uint32_t codec;
    uint64_t hash;
    uint64_t data[INDEX_WORDS], zero[INDEX_WORDS];
};

static inline bool index_bit(const uint64_t *map, unsigned page)
{
    return map[page / 64] >> page % 64 & 1;
}
static inline void index_set(uint64_t *map, unsigned page)
{
    map[page / 64] |= 1ull << page % 64;
}
unsigned index_count(const uint64_t *map);

uint64_t index_chunks(uint64_t ram);
size_t index_bytes(uint64_t ram);
/* How many pages chunk n has: 512 but for the last one. */
unsigned index_pages(uint64_t ram, uint64_t n);
/* Into buf, which has index_bytes(ram). */
void index_encode(uint8_t *buf, uint64_t ram, const struct index_chunk *chunks);
/* Check all of it: sizes, checksum, each record's sense against a memory file of
 * memory_bytes; `whole`: no page may be a parent's. *chunks is the caller's to free. */
int index_decode(const uint8_t *buf, size_t len, uint64_t ram, uint64_t memory_bytes,
                 bool whole, struct index_chunk **chunks, struct err *err);
