/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of the guest channel; see the header. Pure. */
#include "proto/chan_wire.h"

#include <string.h>

#include "base/crc32c.h"

void wire_put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = v >> (8 * i);
}

uint32_t wire_get32(const uint8_t *p)
{
    return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put64(uint8_t *p, uint64_t v)
{
    wire_put32(p, v);
    wire_put32(p + 4, v >> 32);
}

static uint64_t get64(const uint8_t *p)
{
    return wire_get32(p) | (uint64_t)wire_get32(p + 4) << 32;
}

uint32_t wire_encode(const struct wire_head *h, uint8_t *p)
{
    wire_put32(p, WIRE_MAGIC);
    wire_put32(p + 4, h->tag);
    wire_put32(p + 8, h->stream);
    wire_put32(p + 12, h->len);
    p[16] = h->type;
    p[17] = h->flags;
    p[18] = h->flow;
    p[19] = 0;
    uint32_t crc = crc32c(p, 20);
    wire_put32(p + 20, crc);
    return ~crc;
}

bool wire_decode(const uint8_t *p, struct wire_head *h, uint32_t *trailer)
{
    if (wire_get32(p) != WIRE_MAGIC)
        return false;
    uint32_t crc = crc32c(p, 20);
    if (wire_get32(p + 20) != crc)
        return false;
    *h = (struct wire_head){.tag = wire_get32(p + 4),
                            .stream = wire_get32(p + 8),
                            .len = wire_get32(p + 12),
                            .type = p[16],
                            .flags = p[17],
                            .flow = p[18]};
    *trailer = ~crc;
    return true;
}

enum { HELLO_FIXED = 24 };

size_t wire_hello_encode(const struct wire_hello *h, uint8_t *p)
{
    size_t len = strnlen(h->program, sizeof h->program - 1);
    wire_put32(p, h->version);
    wire_put32(p + 4, h->role);
    put64(p + 8, h->nonce);
    put64(p + 16, h->echo);
    memcpy(p + HELLO_FIXED, h->program, len);
    return HELLO_FIXED + len;
}

bool wire_hello_decode(const uint8_t *p, size_t len, struct wire_hello *h)
{
    if (len < HELLO_FIXED || len > WIRE_HELLO_MAX)
        return false;
    *h = (struct wire_hello){.version = wire_get32(p),
                             .role = wire_get32(p + 4) & 0xff,
                             .nonce = get64(p + 8),
                             .echo = get64(p + 16)};
    /* What a later version adds behind the name is not for us. */
    for (size_t i = 0; i < len - HELLO_FIXED && i < sizeof h->program - 1; i++) {
        uint8_t ch = p[HELLO_FIXED + i];
        if (!ch)
            break;
        h->program[i] = ch >= ' ' && ch < 127 ? ch : '?';
    }
    return h->nonce != 0;
}
