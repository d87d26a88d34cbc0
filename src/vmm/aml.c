/* SPDX-License-Identifier: Apache-2.0 */
/* Writer of ACPI machine language (ACPI 6.4, chapter 20) and resource descriptors (6.4).
 * Block lengths always take three bytes, so that they can be filled in afterwards. */
#include "vmm/aml.h"

#include <string.h>

enum { LENGTH_BYTES = 3, LENGTH_MAX = (1 << 20) - 1 };

static void byte(struct aml *a, unsigned v)
{
    uint8_t b = (uint8_t)v;
    str_buf_add(&a->buf, &b, 1);
}

static void number(struct aml *a, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        byte(a, v >> 8 * i & 0xff);
}

static void begin(struct aml *a)
{
    if (a->depth == AML_DEPTH) {
        a->failed = true;
        return;
    }
    a->open[a->depth++] = a->buf.len;
    number(a, 0, LENGTH_BYTES);
}

void aml_end(struct aml *a)
{
    if (a->failed || a->buf.failed || a->depth == 0) {
        a->failed = true;
        return;
    }
    size_t at = a->open[--a->depth], len = a->buf.len - at;
    uint8_t *p = (uint8_t *)a->buf.data + at;
    if (len > LENGTH_MAX)
        a->failed = true;
    p[0] = (uint8_t)(2 << 6 | (len & 0xf));
    p[1] = (uint8_t)(len >> 4);
    p[2] = (uint8_t)(len >> 12);
}

/* A name of up to some four-character segments: "\\_SB_.PCI0". */
void aml_path(struct aml *a, const char *path)
{
    if (*path == '\\') {
        byte(a, '\\');
        path++;
    }
    unsigned n = *path ? 1 : 0;
    for (const char *p = path; *p; p++)
        n += *p == '.';
    if (strlen(path) + 1 != n * 5u) {
        a->failed = true;
        return;
    }
    if (n == 2)
        byte(a, 0x2e);
    if (n > 2) {
        byte(a, 0x2f);
        byte(a, n);
    }
    for (unsigned i = 0; i < n; i++)
        str_buf_add(&a->buf, path + 5 * i, 4);
}

void aml_scope(struct aml *a, const char *path)
{
    byte(a, 0x10);
    begin(a);
    aml_path(a, path);
}

void aml_device(struct aml *a, const char *name)
{
    byte(a, 0x5b);
    byte(a, 0x82);
    begin(a);
    aml_path(a, name);
}

void aml_method(struct aml *a, const char *name, unsigned args, bool serialized)
{
    byte(a, 0x14);
    begin(a);
    aml_path(a, name);
    byte(a, args | (serialized ? 8 : 0));
}

void aml_name(struct aml *a, const char *name)
{
    byte(a, 0x08);
    aml_path(a, name);
}

void aml_int(struct aml *a, uint64_t v)
{
    if (v <= 1) {
        byte(a, (unsigned)v);
        return;
    }
    unsigned bytes = v <= 0xff ? 1 : v <= 0xffff ? 2 : v <= 0xffffffff ? 4 : 8;
    byte(a, bytes == 1 ? 0x0a : bytes == 2 ? 0x0b : bytes == 4 ? 0x0c : 0x0e);
    number(a, v, bytes);
}

void aml_string(struct aml *a, const char *s)
{
    byte(a, 0x0d);
    str_buf_add(&a->buf, s, strlen(s) + 1);
}

static unsigned hex(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'A' + 10);
}

void aml_eisaid(struct aml *a, const char *id)
{
    unsigned v = (id[0] - '@') << 10 | (id[1] - '@') << 5 | (id[2] - '@');
    byte(a, 0x0c);
    byte(a, v >> 8);
    byte(a, v);
    byte(a, hex(id[3]) << 4 | hex(id[4]));
    byte(a, hex(id[5]) << 4 | hex(id[6]));
}

void aml_package(struct aml *a, unsigned count)
{
    byte(a, 0x12);
    begin(a);
    byte(a, count);
}

void aml_resources(struct aml *a)
{
    byte(a, 0x11);
    begin(a);
    byte(a, 0x0b);
    number(a, 0, 2); /* filled in at the end */
}

void aml_resources_end(struct aml *a)
{
    byte(a, 0x79);
    byte(a, 0);
    if (!a->buf.failed && a->depth > 0) {
        size_t at = a->open[a->depth - 1] + LENGTH_BYTES + 1;
        size_t len = a->buf.len - at - 2;
        a->buf.data[at] = (char)(len & 0xff);
        a->buf.data[at + 1] = (char)(len >> 8);
    }
    aml_end(a);
}

void aml_io(struct aml *a, uint16_t port, uint8_t len)
{
    byte(a, 0x47);
    byte(a, 1);
    number(a, port, 2);
    number(a, port, 2);
    byte(a, 1);
    byte(a, len);
}

void aml_memory32(struct aml *a, uint32_t base, uint32_t size, bool writable)
{
    byte(a, 0x86);
    number(a, 9, 2);
    byte(a, writable);
    number(a, base, 4);
    number(a, size, 4);
}

void aml_irq_edge(struct aml *a, uint32_t gsi)
{
    byte(a, 0x89);
    number(a, 6, 2);
    byte(a, 3); /* consumer, edge, active high, exclusive */
    byte(a, 1);
    number(a, gsi, 4);
}

void aml_bus_range(struct aml *a, uint16_t first, uint16_t last)
{
    byte(a, 0x88);
    number(a, 13, 2);
    byte(a, 2);
    byte(a, 0x0c);
    byte(a, 0);
    number(a, 0, 2);
    number(a, first, 2);
    number(a, last, 2);
    number(a, 0, 2);
    number(a, last - first + 1u, 2);
}

static void window(struct aml *a, unsigned tag, unsigned bytes, uint64_t base,
                   uint64_t size)
{
    byte(a, tag);
    number(a, 3 + 5 * bytes, 2);
    byte(a, 0);
    byte(a, 0x0c);
    byte(a, 1);
    number(a, 0, bytes);
    number(a, base, bytes);
    number(a, base + size - 1, bytes);
    number(a, 0, bytes);
    number(a, size, bytes);
}

void aml_window32(struct aml *a, uint32_t base, uint32_t size)
{
    window(a, 0x87, 4, base, size);
}

void aml_window64(struct aml *a, uint64_t base, uint64_t size)
{
    window(a, 0x8a, 8, base, size);
}

void aml_region(struct aml *a, const char *name, bool io, uint64_t base, uint32_t len)
{
    byte(a, 0x5b);
    byte(a, 0x80);
    aml_path(a, name);
    byte(a, io);
    aml_int(a, base);
    aml_int(a, len);
}

void aml_field(struct aml *a, const char *region, unsigned unit_bits, const char *name)
{
    byte(a, 0x5b);
    byte(a, 0x81);
    begin(a);
    aml_path(a, region);
    byte(a, unit_bits == 8 ? 1 : unit_bits == 16 ? 2 : 3);
    aml_path(a, name);
    byte(a, unit_bits); /* at most 63: one byte of length */
    aml_end(a);
}

void aml_store_path_to_local(struct aml *a, const char *path, unsigned local)
{
    byte(a, 0x70);
    aml_path(a, path);
    byte(a, 0x60 + local);
}

void aml_if_local_and(struct aml *a, unsigned local, uint64_t mask)
{
    byte(a, 0xa0);
    begin(a);
    byte(a, 0x7b);
    byte(a, 0x60 + local);
    aml_int(a, mask);
    byte(a, 0);
}

void aml_notify(struct aml *a, const char *path, uint8_t value)
{
    byte(a, 0x86);
    aml_path(a, path);
    aml_int(a, value);
}

void aml_return_int(struct aml *a, uint64_t value)
{
    byte(a, 0xa4);
    aml_int(a, value);
}
