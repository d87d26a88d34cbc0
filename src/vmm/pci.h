/* SPDX-License-Identifier: Apache-2.0 */
/* PCI as the guest sees it: one bus behind ECAM, single-function devices, BARs we place
 * before boot (there is no firmware), MSI-X, MSI of one vector for devices that have no
 * other, and no line. Everything here but set-up runs in bus callbacks, so under the bus
 * lock. */
#pragma once
#include "base/err.h"
#include "vmm/device.h"

#include <linux/pci_regs.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    PCI_SLOTS = 32, /* slot 0 is the host bridge */
    PCI_CFG_SIZE = 256,
    PCI_BARS = 6,
    PCI_VECTORS_MAX = 256,
};

struct pci_fn;

struct pci_bar {
    struct bus_range range; /* base, size, read, write, arg; on while decoded */
    struct pci_fn *fn;
    uint64_t size; /* 0: there is none */
};

struct pci_msix {
    unsigned count;
    uint8_t cap; /* where the capability is in cfg */
    bool enabled, masked;
    struct pci_msix_entry {
        uint32_t addr_lo, addr_hi, data, ctrl;
    } * entry;
    struct vm_irq *irq;
};

struct pci_msi {
    uint8_t cap; /* where the capability is in cfg; 0: there is none */
    bool enabled;
    struct vm_irq irq;
};

struct pci_fn {
    struct vm *vm;
    const char *name; /* for messages */
    unsigned slot;
    uint8_t *cfg; /* a page of its own, the only truth for reads (see pci_ecam_page) */
    uint8_t wmask[PCI_CFG_SIZE];
    uint8_t next_cap; /* first free byte for a capability */
    uint8_t last_cap;
    struct pci_bar bar[PCI_BARS];
    struct pci_msix msix;
    struct pci_msi msi;
    void *arg;
    /* Optional. A BAR was mapped (now at bar[n].range.base) or unmapped. */
    void (*bar_changed)(struct pci_fn *fn, unsigned n, bool was_on, uint64_t was);
    /* Optional. The guest wrote to config space, and all that follows from it is done. */
    void (*written)(struct pci_fn *fn);
};

/* Fill in the type-0 header. class is 24 bits: base, sub, interface. */
int pci_fn_init(struct pci_fn *fn, struct vm *vm, const char *name, uint16_t vendor,
                uint16_t device, uint32_t class, uint8_t revision, struct err *err);
/* Reserve a memory BAR of a power of two ≥ 4 KiB; type: PCI_BASE_ADDRESS_MEM_* (one of
 * TYPE_64 takes the next BAR's register, too). */
int pci_fn_bar(struct pci_fn *fn, unsigned n, uint32_t type, uint64_t size,
               uint64_t (*read)(void *, uint64_t, unsigned),
               void (*write)(void *, uint64_t, unsigned, uint64_t), void *arg,
               struct err *err);
/* Little-endian fields of config space, aligned or not. */
static inline uint16_t pci_get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t pci_get32(const uint8_t *p)
{
    return pci_get16(p) | (uint32_t)pci_get16(p + 2) << 16;
}

/* Where a capability of at least len bytes is in a device's config space, after `skip`
 * others like it; 0: there is none. The device is not believed: it may be any bytes. */
unsigned pci_find_cap(const uint8_t *cfg, uint8_t id, unsigned len, unsigned skip);
/* Append a capability: `body` follows its two header bytes. Gives its offset; 0 when
 * config space is full. */
uint8_t pci_fn_cap(struct pci_fn *fn, uint8_t id, const void *body, unsigned len);
/* MSI-X with its table and pending bits at these offsets; the BAR's number is in the
 * lowest three bits of each. */
int pci_fn_msix(struct pci_fn *fn, unsigned count, uint32_t table, uint32_t pba,
                struct err *err);
/* MSI of one vector, which cannot be masked. */
int pci_fn_msi(struct pci_fn *fn, struct err *err);
/* Take the next free slot; from here on the guest sees it. */
int pci_fn_plug(struct pci_fn *fn, struct err *err);
void pci_fn_done(struct pci_fn *fn);

/* The MSI-X table and pending bits, called by the BAR's owner with the offset in them.
 */
uint64_t pci_msix_table_read(struct pci_fn *fn, uint64_t off, unsigned len);
void pci_msix_table_write(struct pci_fn *fn, uint64_t off, unsigned len, uint64_t v);
uint64_t pci_msix_pba_read(struct pci_fn *fn, uint64_t off, unsigned len);
/* Raise a vector; beyond the table or with MSI-X off: nothing. Any thread. */
void pci_msix_raise(struct pci_fn *fn, unsigned vector);

/* Config space, reg + len within 4096. */
uint64_t pci_fn_read(struct pci_fn *fn, unsigned reg, unsigned len);
void pci_fn_write(struct pci_fn *fn, unsigned reg, unsigned len, uint64_t v);

/* Records of the function in the open section; tags PCI_TAG + 0.. */
enum { PCI_TAG = 0x100 };
void pci_fn_save(struct pci_fn *fn, struct state_writer *w);
int pci_fn_restore(struct pci_fn *fn, const struct state_reader *r, struct err *err);

/* The 4 KiB of config space of a function (devfn: slot << 3 | function) as the guest is
 * to read them, aligned to a page; NULL when there is none. Reading has no effects, so
 * the machine may map it read-only into the guest. */
uint8_t *pci_ecam_page(struct vm *vm, unsigned devfn);
