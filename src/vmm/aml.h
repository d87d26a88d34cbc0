/* SPDX-License-Identifier: Apache-2.0 */
/* A small writer of ACPI machine language: enough for our DSDT. Blocks nest; lengths
 * are filled in at the end of a block. After overflow (or out of memory) the buffer is
 * marked and takes nothing more. */
#pragma once
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum { AML_DEPTH = 8 };
struct aml {
    struct str_buf buf;
    size_t open[AML_DEPTH]; /* where each open block's length goes */
    unsigned depth;
    bool failed;
};

void aml_scope(struct aml *a, const char *path);  /* "\\_SB_" */
void aml_device(struct aml *a, const char *name); /* four characters */
void aml_method(struct aml *a, const char *name, unsigned args, bool serialized);
void aml_end(struct aml *a); /* closes scope, device, method, package, buffer, if */

/* Name (NAME, value): call aml_name, then one value. */
void aml_name(struct aml *a, const char *name);
void aml_int(struct aml *a, uint64_t value);
void aml_string(struct aml *a, const char *s);
void aml_eisaid(struct aml *a, const char *id);  /* "PNP0A08" */
void aml_package(struct aml *a, unsigned count); /* then values, then aml_end */
void aml_path(struct aml *a, const char *path);  /* a reference */

/* Resource template: aml_resources, then descriptors, then aml_resources_end. */
void aml_resources(struct aml *a);
void aml_io(struct aml *a, uint16_t port, uint8_t len);
void aml_memory32(struct aml *a, uint32_t base, uint32_t size, bool writable);
void aml_irq_edge(struct aml *a, uint32_t gsi);
void aml_bus_range(struct aml *a, uint16_t first, uint16_t last);
void aml_window32(struct aml *a, uint32_t base, uint32_t size);
void aml_window64(struct aml *a, uint64_t base, uint64_t size);
void aml_resources_end(struct aml *a);

/* OperationRegion (name, SystemIO or SystemMemory) and one field of it, 8 to 32 bits a
 * unit. */
void aml_region(struct aml *a, const char *name, bool io, uint64_t base, uint32_t len);
void aml_field(struct aml *a, const char *region, unsigned unit_bits, const char *name);

/* Statements, inside a method. */
void aml_store_path_to_local(struct aml *a, const char *path, unsigned local);
void aml_if_local_and(struct aml *a, unsigned local, uint64_t mask); /* then aml_end */
void aml_notify(struct aml *a, const char *path, uint8_t value);
void aml_return_int(struct aml *a, uint64_t value);
