/* SPDX-License-Identifier: Apache-2.0 */
/* The guest-physical memory map. Boundaries that RAM touches are multiples of 1 GiB, so
 * that a 1 GiB page of RAM is never cut by a hole.
 *
 *   0            RAM, first part, at most 3 GiB (first MiB: tables of the boot loader)
 *   3 GiB        PCI, 32-bit window
 *   3.5 GiB      ECAM: 1 MiB a bus, one bus
 *   0xfeb00000   registers of the machine's own devices (vmgenid, ...)
 *   0xfec00000   IOAPIC
 *   0xfee00000   local APIC
 *   0xfffbc000   identity map page and TSS that KVM wants on Intel
 *   4 GiB        RAM, second part
 *   after it     PCI, 64-bit window (begins at a multiple of 1 GiB)
 */
#pragma once
#include <stdint.h>

#define KIB (1ull << 10)
#define MIB (1ull << 20)
#define GIB (1ull << 30)

#define LAYOUT_LOW_RAM_MAX    (3 * GIB)
#define LAYOUT_PCI32_BASE     0xc0000000ull
#define LAYOUT_PCI32_SIZE     0x20000000ull
#define LAYOUT_ECAM_BASE      0xe0000000ull
#define LAYOUT_ECAM_BUSES     1u
#define LAYOUT_ECAM_SIZE      (LAYOUT_ECAM_BUSES * MIB)
#define LAYOUT_DEV_BASE       0xfeb00000ull
#define LAYOUT_DEV_SIZE       0x00100000ull
#define LAYOUT_IOAPIC_BASE    0xfec00000ull
#define LAYOUT_LAPIC_BASE     0xfee00000ull
#define LAYOUT_IDENTITY_BASE  0xfffbc000ull
#define LAYOUT_TSS_BASE       0xfffbd000ull
#define LAYOUT_HIGH_RAM_BASE  (4 * GIB)
#define LAYOUT_PCI64_MIN_SIZE (4 * GIB)

/* Machine registers in LAYOUT_DEV_BASE: one page each. */
#define LAYOUT_VMGENID_BASE (LAYOUT_DEV_BASE + 0x0000)

/* I/O ports */
enum {
    LAYOUT_PORT_SERIAL = 0x3f8,  /* 8 ports, pin LAYOUT_PIN_SERIAL */
    LAYOUT_PORT_KEYBOARD = 0x64, /* only its old way to reset the machine */
    LAYOUT_PORT_PANIC = 0x505,   /* pvpanic */
    LAYOUT_PORT_SLEEP = 0x600,   /* ACPI sleep control, +1 sleep status */
    LAYOUT_PORT_RESET = 0x604,   /* ACPI reset register: LAYOUT_RESET_VALUE */
    LAYOUT_PORT_GED = 0x608,     /* 4 bytes: events pending, cleared by reading */
    LAYOUT_PORT_ERST = 0x610,    /* error record store: see power.c */
    LAYOUT_RESET_VALUE = 0x52,
};

/* IOAPIC pins (= GSI). All edge, active high. */
enum { LAYOUT_PIN_SERIAL = 4, LAYOUT_PIN_GED = 9, LAYOUT_PINS = 12 };

/* Bits of the GED register. */
enum { LAYOUT_GED_POWER_BUTTON = 1u << 0, LAYOUT_GED_VMGENID = 1u << 1 };
