/* SPDX-License-Identifier: Apache-2.0 */
/* Saved state: sections of type-length-value, each with a version and a CRC32C.
 *
 *   section: "LVSC", name (32 bytes, NUL padded), u32 version, u32 bytes of payload,
 *            u32 CRC32C of the payload, u32 CRC32C of the header before it; payload
 *   payload: records { u32 tag, u32 bytes, data, zeros up to a multiple of 8 }
 *
 * The version's highest bit says that a reader who does not know the section may skip
 * it; one without it must be known.
 *
 * Little-endian. A reader skips tags it does not know, and takes a default for a tag
 * that an older writer did not know; a section's version changes only when the meaning
 * of a tag does. A record may hold an array of a struct of fixed layout. */
#pragma once
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STATE_OPTIONAL 0x80000000u
enum { STATE_NAME_MAX = 32, STATE_SECTION_MAX = 16 << 20 };

/* Writing. {0} is valid. Out of memory marks the buffer: check with state_finish(). */
struct state_writer {
    struct str_buf buf;
    size_t section; /* where the open section's header is */
    bool open;
};
void state_begin(struct state_writer *w, const char *name, uint32_t version);
void state_begin_optional(struct state_writer *w, const char *name, uint32_t version);
void state_put(struct state_writer *w, uint32_t tag, const void *data, size_t len);
void state_put_u64(struct state_writer *w, uint32_t tag, uint64_t value);
void state_end(struct state_writer *w);
/* E_SYS when an allocation failed. The bytes are w->buf.data, w->buf.len. */
int state_finish(struct state_writer *w, struct err *err);
void state_done(struct state_writer *w);

/* Reading: borrowed bytes. */
struct state_reader {
    const uint8_t *data;
    size_t len, pos; /* of the whole */
    char name[STATE_NAME_MAX];
    uint32_t version;
    bool optional;
    const uint8_t *payload;
    size_t payload_len;
};
void state_open(struct state_reader *r, const void *data, size_t len);
/* The next section: 1, 0 at the end, -1 when it is damaged. */
int state_next(struct state_reader *r, struct err *err);
/* The section called name, searched from the start; E_NOENT when there is none. */
int state_find(struct state_reader *r, const char *name, struct err *err);
/* The (nth) record with that tag in this section: its data, or NULL. */
const void *state_peek(const struct state_reader *r, uint32_t tag, unsigned nth,
                       size_t *len);
/* A record of exactly len bytes; E_INPUT if it is missing or of another size. */
int state_get(const struct state_reader *r, uint32_t tag, void *out, size_t len,
              struct err *err);
int state_get_u64(const struct state_reader *r, uint32_t tag, uint64_t *out,
                  struct err *err);
/* The same with a value for a writer that did not know the tag. */
uint64_t state_get_u64_or(const struct state_reader *r, uint32_t tag, uint64_t other);
