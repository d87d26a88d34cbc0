/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of the guest channel on the wire; private to chan*.c, tests and fuzzers.
 *
 *   0  magic "LDG1"    4  session tag    8  stream    12  payload length
 *  16  type           17  flags         18  flow, 0   20  CRC-32C of bytes 0..19
 *  24  payload         behind it: the CRC again, inverted
 *
 * All numbers are little-endian. The tag is the low half of the nonce of who receives
 * (0 in a hello and on direct connections): a frame of an earlier session is known by
 * it. The trailer tells a frame that was cut off and completed by something else. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WIRE_HEADER = 24, WIRE_TRAILER = 4, WIRE_HELLO_MAX = 160 };
#define WIRE_MAGIC 0x3147444cu

enum wire_type {
    WIRE_HELLO = 1,
    WIRE_OPEN,
    WIRE_MSG,
    WIRE_DATA,
    WIRE_EOF,
    WIRE_CREDIT,
    WIRE_CLOSE,
    WIRE_TYPES
};
enum { WIRE_MORE = 1 }; /* flag of OPEN and MSG: the next frame goes on with it */

struct wire_head {
    uint32_t tag, stream, len;
    uint8_t type, flags, flow;
};

struct wire_hello {
    uint32_t version;
    uint8_t role;
    uint64_t nonce, echo;
    char program[65];
};

void wire_put32(uint8_t *p, uint32_t v);
uint32_t wire_get32(const uint8_t *p);
/* The header into p[WIRE_HEADER]; gives the trailer. */
uint32_t wire_encode(const struct wire_head *h, uint8_t *p);
/* False: this is no header. *trailer is what must follow the payload. */
bool wire_decode(const uint8_t *p, struct wire_head *h, uint32_t *trailer);
/* The payload of a hello; gives its length (at most WIRE_HELLO_MAX). */
size_t wire_hello_encode(const struct wire_hello *h, uint8_t *p);
bool wire_hello_decode(const uint8_t *p, size_t len, struct wire_hello *h);
