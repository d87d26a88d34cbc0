/* SPDX-License-Identifier: Apache-2.0 */
/* The bus of the real core: accesses of any width anywhere near PCI's config space, BARs
 * (which move), the IOAPIC, power and panic registers and ports. */
#include "vmm_core.h"

#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

const char fuzz_name[] = "vmm_bus";
const char *const fuzz_seeds[] = {NULL};

enum { RAM_MIB = 16, DEVICES = 3 };

struct step {
    uint8_t where, len, write;
    uint32_t at;
    uint64_t value;
} __attribute__((packed));

static struct device devices[DEVICES];

static void plug(struct vm *vm)
{
    static const char *const types[DEVICES] = {"rng", "balloon", "rng"};
    struct err err = {0};
    for (unsigned i = 0; i < DEVICES; i++) {
        const struct device_ops *ops = device_type(types[i]);
        devices[i] =
            (struct device){.ops = ops, .vm = vm, .id = (char *)types[i], .index = i};
        devices[i].state = calloc(1, ops->state_size);
        if (!devices[i].state || ops->init(&devices[i], &err) < 0)
            abort();
    }
}

static struct vm *machine(void)
{
    struct vm *vm = core_vm(RAM_MIB * MIB);
    struct err err = {0};
    vm->bus = (struct bus){0};
    bus_init(vm);
    vm->mmio32_next = LAYOUT_PCI32_BASE;
    vm->mmio64_base = vm->mmio64_next = 1ull << 36;
    vm->mmio64_size = 1ull << 36;
    vm->end = VM_END_NONE;
    memset(&vm->power, 0, sizeof vm->power);
    memset(&vm->ioapic, 0, sizeof vm->ioapic);
    vm->pci = NULL;
    if (irq_init(vm, &err) < 0 || power_init(vm, &err) < 0 ||
        pci_host_init(vm, &err) < 0)
        abort();
    plug(vm);
    return vm;
}

static uint64_t where(const struct vm *vm, const struct step *s, bool *pio)
{
    *pio = false;
    switch (s->where % 8) {
    case 0:
        *pio = true;
        return s->at & 0xffff;
    case 1: /* a header, so that commands and BARs are met often */
        return LAYOUT_ECAM_BASE + ((uint64_t)(s->where >> 3 & 3) << 15) +
               (s->at & 0xff);
    case 2:
        return LAYOUT_ECAM_BASE + s->at % (LAYOUT_ECAM_SIZE + 8);
    case 3:
    case 4:
        return vm->mmio64_base + s->at % 0x20000;
    case 5:
        return LAYOUT_IOAPIC_BASE + s->at % 0x60;
    case 6:
        return LAYOUT_PCI32_BASE + s->at;
    default:
        return s->value;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vm *vm = machine();
    struct step s;
    for (; size >= sizeof s; data += sizeof s, size -= sizeof s) {
        bool pio;
        uint8_t bytes[8];
        memcpy(&s, data, sizeof s);
        memcpy(bytes, &s.value, sizeof bytes);
        uint64_t at = where(vm, &s, &pio);
        bus_access(vm, pio, at, 1 + s.len % 8, s.write & 1, bytes);
    }
    for (unsigned i = 0; i < DEVICES; i++) {
        devices[i].ops->done(&devices[i]);
        free(devices[i].state);
    }
    pci_host_done(vm);
    irq_done(vm);
    return 0;
}
