/* SPDX-License-Identifier: Apache-2.0 */
/* A machine without KVM for devices under test: memory, a bus, watches polled when told. */
#pragma once
#include "vmm/device.h"

enum { FAKE_MEMORY = 1 << 20 };

struct vm *fake_new(void);
void fake_free(struct vm *vm);
uint8_t *fake_memory(struct vm *vm);
/* A device of this type, decoded from JSON text and set up; NULL with err. */
struct device *fake_device(struct vm *vm, const char *type, const char *json,
                           struct err *err);
/* Guest's accesses. Nobody there: ones. */
uint64_t fake_read(struct vm *vm, bool pio, uint64_t addr, unsigned len);
void fake_write(struct vm *vm, bool pio, uint64_t addr, unsigned len, uint64_t v);
/* Call watches until none is ready, waiting at most ms for the first; at most `turns`. */
void fake_run(struct vm *vm, int ms, unsigned turns);
/* Interrupts raised since asked last. */
unsigned fake_interrupts(struct vm *vm);
