/* SPDX-License-Identifier: Apache-2.0 */
/* What a reader of checkpoints parses. The input's first byte chooses: a manifest, the
 * saved state, an index whose checksum is made right first, so that its records are
 * reached. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "ckpt/ckpt.h"
#include "ckpt/index.h"
#include "ckpt/state.h"

const char fuzz_name[] = "ckpt";
const char *const fuzz_seeds[] = {NULL};

static void fuzz_state(const uint8_t *data, size_t size)
{
    struct state_reader r;
    uint64_t v;
    size_t len;
    state_open(&r, data, size);
    while (state_next(&r, NULL) > 0)
        for (uint32_t tag = 0; tag < 4; tag++) {
            state_peek(&r, tag, 1, &len);
            if (state_get_u64(&r, tag, &v, NULL) < 0)
                continue;
        }
    (void)state_find(&r, "machine", NULL);
}

static void fuzz_index(const uint8_t *data, size_t size)
{
    struct index_chunk *chunks;
    uint64_t ram;
    if (size < 40)
        return;
    uint8_t *copy = malloc(size);
    if (!copy)
        return;
    memcpy(copy, data, size);
    memcpy(&ram, copy + 24, sizeof ram);
    if (size > INDEX_TRAILER) {
        uint32_t crc = crc32c(copy, size - INDEX_TRAILER);
        memcpy(copy + size - INDEX_TRAILER, &crc, sizeof crc);
    }
    if (index_decode(copy, size, ram, ram, size & 1, &chunks, NULL) == 0)
        free(chunks);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *m;
    if (size == 0)
        return 0;
    if (data[0] == 's')
        fuzz_state(data + 1, size - 1);
    else if (data[0] == 'i')
        fuzz_index(data + 1, size - 1);
    else if (ckpt_manifest_parse((const char *)data, size, &m, NULL) == 0)
        json_decref(m);
    return 0;
}
