/* SPDX-License-Identifier: Apache-2.0 */
/* Saved state, written and read in memory; see state.h for the format. Readers trust
 * nothing: a damaged or cut section is an error, never a wild read. */
#include "ckpt/state.h"

#include <string.h>

#include "base/crc32c.h"

enum { HEADER = 4 + STATE_NAME_MAX + 4 * 4, RECORD = 8 };
static const char magic[4] = "LVSC";

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
           (uint32_t)p[3] << 24;
}

void state_begin_optional(struct state_writer *w, const char *name, uint32_t version)
{
    state_begin(w, name, version | STATE_OPTIONAL);
}

void state_begin(struct state_writer *w, const char *name, uint32_t version)
{
    uint8_t header[HEADER] = {0};
    memcpy(header, magic, sizeof magic);
    size_t len = strlen(name);
    if (w->open || len >= STATE_NAME_MAX) {
        w->buf.failed = true;
        return;
    }
    memcpy(header + 4, name, len);
    put32(header + 4 + STATE_NAME_MAX, version);
    w->section = w->buf.len;
    w->open = true;
    str_buf_add(&w->buf, header, sizeof header);
}

void state_put(struct state_writer *w, uint32_t tag, const void *data, size_t len)
{
    static const uint8_t zeros[8];
    uint8_t head[RECORD];
    if (!w->open || len > STATE_SECTION_MAX) {
        w->buf.failed = true;
        return;
    }
    put32(head, tag);
    put32(head + 4, (uint32_t)len);
    str_buf_add(&w->buf, head, sizeof head);
    str_buf_add(&w->buf, data, len);
    str_buf_add(&w->buf, zeros, -len & 7);
}

void state_put_u64(struct state_writer *w, uint32_t tag, uint64_t value)
{
    uint8_t b[8];
    put32(b, (uint32_t)value);
    put32(b + 4, (uint32_t)(value >> 32));
    state_put(w, tag, b, sizeof b);
}

void state_end(struct state_writer *w)
{
    if (!w->open || w->buf.failed)
        return;
    w->open = false;
    uint8_t *header = (uint8_t *)w->buf.data + w->section;
    size_t len = w->buf.len - w->section - HEADER;
    if (len > STATE_SECTION_MAX) {
        w->buf.failed = true;
        return;
    }
    uint8_t *p = header + 4 + STATE_NAME_MAX;
    put32(p + 4, (uint32_t)len);
    put32(p + 8, crc32c(header + HEADER, len));
    put32(p + 12, crc32c(header, HEADER - 4));
}

int state_finish(struct state_writer *w, struct err *err)
{
    if (w->buf.failed || w->open)
        return err_set(err, E_SYS,
                       "saved state: out of memory, or a section too large");
    return 0;
}

void state_done(struct state_writer *w)
{
    str_buf_done(&w->buf);
    *w = (struct state_writer){0};
}

void state_open(struct state_reader *r, const void *data, size_t len)
{
    *r = (struct state_reader){.data = data, .len = len};
}

/* Are the payload's records whole? */
static bool records_ok(const uint8_t *p, size_t len)
{
    while (len > 0) {
        if (len < RECORD)
            return false;
        size_t n = get32(p + 4);
        if (n > STATE_SECTION_MAX)
            return false;
        n = RECORD + ((n + 7) & ~(size_t)7);
        if (n > len)
            return false;
        p += n;
        len -= n;
    }
    return true;
}

int state_next(struct state_reader *r, struct err *err)
{
    if (r->pos == r->len)
        return 0;
    const uint8_t *header = r->data + r->pos;
    size_t left = r->len - r->pos;
    if (left < HEADER || memcmp(header, magic, sizeof magic) != 0)
        return err_set(err, E_INPUT, "saved state: no section at byte %zu", r->pos);
    const uint8_t *p = header + 4 + STATE_NAME_MAX;
    size_t len = get32(p + 4);
    if (get32(p + 12) != crc32c(header, HEADER - 4) || p[-1] != 0)
        return err_set(err, E_INPUT, "saved state: damaged header at byte %zu", r->pos);
    memcpy(r->name, header + 4, STATE_NAME_MAX);
    if (len > STATE_SECTION_MAX || len > left - HEADER)
        return err_set(err, E_INPUT, "saved state: section '%s' is cut short", r->name);
    if (get32(p + 8) != crc32c(header + HEADER, len) ||
        !records_ok(header + HEADER, len))
        return err_set(err, E_INPUT, "saved state: section '%s' is damaged", r->name);
    r->version = get32(p) & ~STATE_OPTIONAL;
    r->optional = get32(p) & STATE_OPTIONAL;
    r->payload = header + HEADER;
    r->payload_len = len;
    r->pos += HEADER + len;
    return 1;
}

int state_find(struct state_reader *r, const char *name, struct err *err)
{
    r->pos = 0;
    for (;;) {
        int got = state_next(r, err);
        if (got < 0)
            return -1;
        if (got == 0)
            return err_set(err, E_NOENT, "saved state: no section '%s'", name);
        if (strcmp(r->name, name) == 0)
            return 0;
    }
}

const void *state_peek(const struct state_reader *r, uint32_t tag, unsigned nth,
                       size_t *len)
{
    const uint8_t *p = r->payload;
    size_t left = r->payload_len;
    while (left > 0) {
        size_t n = get32(p + 4);
        if (get32(p) == tag && nth-- == 0) {
            *len = n;
            return p + RECORD;
        }
        size_t step = RECORD + ((n + 7) & ~(size_t)7);
        p += step;
        left -= step;
    }
    return NULL;
}

int state_get(const struct state_reader *r, uint32_t tag, void *out, size_t len,
              struct err *err)
{
    size_t n;
    const void *p = state_peek(r, tag, 0, &n);
    if (!p)
        return err_set(err, E_INPUT, "saved state: section '%s' has no record %u",
                       r->name, tag);
    if (n != len)
        return err_set(err, E_INPUT,
                       "saved state: section '%s': record %u has %zu bytes, not %zu",
                       r->name, tag, n, len);
    memcpy(out, p, len);
    return 0;
}

int state_get_u64(const struct state_reader *r, uint32_t tag, uint64_t *out,
                  struct err *err)
{
    uint8_t b[8];
    if (state_get(r, tag, b, sizeof b, err) < 0)
        return -1;
    *out = get32(b) | (uint64_t)get32(b + 4) << 32;
    return 0;
}

uint64_t state_get_u64_or(const struct state_reader *r, uint32_t tag, uint64_t other)
{
    uint64_t v;
    return state_get_u64(r, tag, &v, NULL) < 0 ? other : v;
}
