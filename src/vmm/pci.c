/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/pci.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct pci_host {
    struct bus_range ecam;
    struct pci_fn bridge;
    struct pci_fn *slot[PCI_SLOTS];
};

enum {
    TAG_CFG = PCI_TAG,
    TAG_MSIX,
    MSIX_ENTRY = sizeof(struct pci_msix_entry),
    MSIX_BODY = 10,
    MSI_SIZE = PCI_MSI_DATA_64 + 2, /* with a 64-bit address */
    CFG_PAGE = 4096,
    CAPS_MAX = 48, /* as many as fit: a list that goes round ends there */
};

static uint64_t ones(unsigned len)
{
    return len >= 8 ? ~0ull : (1ull << 8 * len) - 1;
}

static void put32(uint8_t *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof v);
}

static void put16(uint8_t *p, uint16_t v)
{
    p[0] = v & 0xff;
    p[1] = v >> 8;
}

/* --- MSI-X ---------------------------------------------------------------- */

/* Bring the interrupt of one entry in line with the table. */
static void msix_apply(struct pci_fn *fn, unsigned i)
{
    struct pci_msix *m = &fn->msix;
    const struct pci_msix_entry *e = &m->entry[i];
    bool masked = !m->enabled || m->masked || (e->ctrl & PCI_MSIX_ENTRY_CTRL_MASKBIT);
    vm_irq_set(&m->irq[i], (uint64_t)e->addr_hi << 32 | e->addr_lo, e->data, masked);
}

static void msix_control(struct pci_fn *fn)
{
    struct pci_msix *m = &fn->msix;
    uint16_t flags = pci_get16(fn->cfg + m->cap + PCI_MSIX_FLAGS);
    bool enabled = flags & PCI_MSIX_FLAGS_ENABLE,
         masked = flags & PCI_MSIX_FLAGS_MASKALL;
    if (enabled == m->enabled && masked == m->masked)
        return;
    m->enabled = enabled;
    m->masked = masked;
    for (unsigned i = 0; i < m->count; i++) {
        if (!enabled)
            vm_irq_clear_pending(&m->irq[i]);
        msix_apply(fn, i);
    }
}

uint64_t pci_msix_table_read(struct pci_fn *fn, uint64_t off, unsigned len)
{
    uint64_t v = 0;
    if (off + len <= (uint64_t)fn->msix.count * MSIX_ENTRY && off % len == 0)
        memcpy(&v, (const char *)fn->msix.entry + off, len);
    return v;
}

void pci_msix_table_write(struct pci_fn *fn, uint64_t off, unsigned len, uint64_t v)
{
    struct pci_msix *m = &fn->msix;
    /* Only whole, aligned words and double words, as the specification allows. */
    if ((len != 4 && len != 8) || off % len ||
        off + len > (uint64_t)m->count * MSIX_ENTRY)
        return;
    memcpy((char *)m->entry + off, &v, len);
    unsigned i = off / MSIX_ENTRY;
    struct pci_msix_entry *e = &m->entry[i];
    e->ctrl &= PCI_MSIX_ENTRY_CTRL_MASKBIT;
    e->addr_lo &= ~3u;
    /* A masked entry is applied as a whole when it is unmasked. */
    if (off % MSIX_ENTRY + len > PCI_MSIX_ENTRY_VECTOR_CTRL ||
        !(e->ctrl & PCI_MSIX_ENTRY_CTRL_MASKBIT))
        msix_apply(fn, i);
}

uint64_t pci_msix_pba_read(struct pci_fn *fn, uint64_t off, unsigned len)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 8 * len; i++) {
        uint64_t n = off * 8 + i;
        if (n < fn->msix.count && vm_irq_pending(&fn->msix.irq[n]))
            v |= 1ull << i;
    }
    return v;
}

void pci_msix_raise(struct pci_fn *fn, unsigned vector)
{
    if (vector < fn->msix.count && __atomic_load_n(&fn->msix.enabled, __ATOMIC_RELAXED))
        vm_irq_raise(&fn->msix.irq[vector]);
}

/* --- MSI ------------------------------------------------------------------ */

/* Bring the interrupt in line with the capability. */
static void msi_apply(struct pci_fn *fn)
{
    struct pci_msi *m = &fn->msi;
    const uint8_t *cap = fn->cfg + m->cap;
    uint64_t high = pci_get32(cap + PCI_MSI_ADDRESS_HI);
    m->enabled = pci_get16(cap + PCI_MSI_FLAGS) & PCI_MSI_FLAGS_ENABLE;
    vm_irq_set(&m->irq, high << 32 | pci_get32(cap + PCI_MSI_ADDRESS_LO),
               pci_get16(cap + PCI_MSI_DATA_64), !m->enabled);
}

/* --- BARs ----------------------------------------------------------------- */

/* The BAR's address as the guest wrote it. */
static uint64_t bar_address(const struct pci_fn *fn, unsigned n)
{
    const uint8_t *p = fn->cfg + PCI_BASE_ADDRESS_0 + 4 * n;
    uint64_t low = pci_get32(p);
    uint64_t high = low & PCI_BASE_ADDRESS_MEM_TYPE_64 ? pci_get32(p + 4) : 0;
    return high << 32 | (low & ~0xfull);
}

/* May a BAR be here? Only inside the windows that the DSDT names. */
static bool in_window(const struct pci_fn *fn, uint64_t a, uint64_t size)
{
    uint64_t base, len;
    vm_pci64_window(fn->vm, &base, &len);
    if (a >= base && size <= len && a - base <= len - size)
        return true;
    base = LAYOUT_PCI32_BASE, len = LAYOUT_PCI32_SIZE;
    return a >= base && size <= len && a - base <= len - size;
}

/* Map, move or unmap as command and BAR registers say. */
static void bar_update(struct pci_fn *fn, unsigned n)
{
    struct pci_bar *b = &fn->bar[n];
    bool was_on = b->range.on;
    uint64_t was = b->range.base, now = bar_address(fn, n);
    bool on =
        (fn->cfg[PCI_COMMAND] & PCI_COMMAND_MEMORY) && in_window(fn, now, b->size);
    if (on == was_on && (!on || now == was))
        return;
    if (on)
        (void)bus_move(fn->vm, &b->range,
                       now); /* refused: it is off, as on a real bus */
    else
        bus_off(fn->vm, &b->range);
    if (fn->bar_changed)
        fn->bar_changed(fn, n, was_on, was);
}

static void bars_update(struct pci_fn *fn)
{
    for (unsigned n = 0; n < PCI_BARS; n++)
        if (fn->bar[n].size)
            bar_update(fn, n);
}

/* --- config space --------------------------------------------------------- */

uint64_t pci_fn_read(struct pci_fn *fn, unsigned reg, unsigned len)
{
    uint64_t v = 0;
    if (reg + len > 4096)
        return ones(len);
    memcpy(&v, fn->cfg + reg, len);
    return le64toh(v);
}

static bool touches(unsigned reg, unsigned len, unsigned at, unsigned size)
{
    return reg < at + size && at < reg + len;
}

void pci_fn_write(struct pci_fn *fn, unsigned reg, unsigned len, uint64_t v)
{
    if (reg + len > PCI_CFG_SIZE)
        return;
    for (unsigned i = 0; i < len; i++) {
        uint8_t m = fn->wmask[reg + i];
        fn->cfg[reg + i] = (fn->cfg[reg + i] & ~m) | ((uint8_t)(v >> 8 * i) & m);
    }
    if (touches(reg, len, PCI_COMMAND, 2) || touches(reg, len, PCI_BASE_ADDRESS_0, 24))
        bars_update(fn);
    if (fn->msix.count && touches(reg, len, fn->msix.cap + PCI_MSIX_FLAGS, 2))
        msix_control(fn);
    if (fn->msi.cap && touches(reg, len, fn->msi.cap, MSI_SIZE))
        msi_apply(fn);
    if (fn->written)
        fn->written(fn);
}

/* ECAM: which function and register; NULL if nothing is there. */
static struct pci_fn *ecam_find(struct pci_host *h, uint64_t off, unsigned *reg)
{
    *reg = off & 0xfff;
    if (off >> 20 || ((off >> 12) & 7))
        return NULL;
    return h->slot[(off >> 15) & (PCI_SLOTS - 1)];
}

static uint64_t ecam_read(void *arg, uint64_t off, unsigned len)
{
    unsigned reg;
    struct pci_fn *fn = ecam_find(arg, off, &reg);
    return fn ? pci_fn_read(fn, reg, len) : ones(len);
}

static void ecam_write(void *arg, uint64_t off, unsigned len, uint64_t v)
{
    unsigned reg;
    struct pci_fn *fn = ecam_find(arg, off, &reg);
    if (fn)
        pci_fn_write(fn, reg, len, v);
}

/* --- set-up ---------------------------------------------------------------- */

int pci_fn_init(struct pci_fn *fn, struct vm *vm, const char *name, uint16_t vendor,
                uint16_t device, uint32_t class, uint8_t revision, struct err *err)
{
    *fn = (struct pci_fn){.vm = vm, .name = name, .next_cap = 0x40};
    fn->cfg =
        mmap(NULL, CFG_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (fn->cfg == MAP_FAILED) {
        fn->cfg = NULL;
        return err_sys(err, "%s: config space", name);
    }
    put16(fn->cfg + PCI_VENDOR_ID, vendor);
    put16(fn->cfg + PCI_DEVICE_ID, device);
    put32(fn->cfg + PCI_CLASS_REVISION, class << 8 | revision);
    put16(fn->wmask + PCI_COMMAND,
          PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
    fn->wmask[PCI_CACHE_LINE_SIZE] = 0xff;
    fn->wmask[PCI_INTERRUPT_LINE] = 0xff;
    return 0;
}

int pci_fn_bar(struct pci_fn *fn, unsigned n, uint32_t type, uint64_t size,
               uint64_t (*read)(void *, uint64_t, unsigned),
               void (*write)(void *, uint64_t, unsigned, uint64_t), void *arg,
               struct err *err)
{
    bool is64 = type & PCI_BASE_ADDRESS_MEM_TYPE_64;
    uint64_t base = is64 ? vm_alloc_mmio64(fn->vm, size, size, err)
                         : vm_alloc_mmio32(fn->vm, size, size, err);
    if (!base)
        return err_at(err, "%s: BAR %u", fn->name, n);
    struct pci_bar *b = &fn->bar[n];
    *b = (struct pci_bar){.fn = fn, .size = size};
    b->range = (struct bus_range){.base = base,
                                  .size = size,
                                  .name = fn->name,
                                  .read = read,
                                  .write = write,
                                  .arg = arg};
    uint8_t *p = fn->cfg + PCI_BASE_ADDRESS_0 + 4 * n;
    uint8_t *m = fn->wmask + PCI_BASE_ADDRESS_0 + 4 * n;
    put32(p, (uint32_t)base | type);
    put32(m, (uint32_t) ~(size - 1) & ~0xfu);
    if (is64) {
        put32(p + 4, base >> 32);
        put32(m + 4, ~(size - 1) >> 32);
    }
    return 0;
}

uint8_t pci_fn_cap(struct pci_fn *fn, uint8_t id, const void *body, unsigned len)
{
    unsigned at = fn->next_cap;
    if (at + 2 + len > PCI_CFG_SIZE)
        return 0;
    fn->cfg[at] = id;
    memcpy(fn->cfg + at + 2, body, len);
    fn->cfg[fn->last_cap ? fn->last_cap + 1u : PCI_CAPABILITY_LIST] = at;
    fn->cfg[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    fn->last_cap = at;
    fn->next_cap = (at + 2 + len + 3) & ~3u;
    return at;
}

unsigned pci_find_cap(const uint8_t *cfg, uint8_t id, unsigned len, unsigned skip)
{
    unsigned at = cfg[PCI_STATUS] & PCI_STATUS_CAP_LIST ? cfg[PCI_CAPABILITY_LIST] : 0;
    for (int i = 0; at >= PCI_STD_HEADER_SIZEOF && i < CAPS_MAX;
         i++, at = cfg[at + 1]) {
        at &= ~3u;
        if (cfg[at] == id && at + len <= PCI_CFG_SIZE && !skip--)
            return at;
    }
    return 0;
}

int pci_fn_msix(struct pci_fn *fn, unsigned count, uint32_t table, uint32_t pba,
                struct err *err)
{
    uint8_t body[MSIX_BODY];
    struct pci_msix *m = &fn->msix;
    if (!count || count > PCI_VECTORS_MAX)
        return err_set(err, E_BUG, "%s: %u vectors", fn->name, count);
    put16(body, count - 1);
    put32(body + 2, table);
    put32(body + 6, pba);
    m->cap = pci_fn_cap(fn, PCI_CAP_ID_MSIX, body, sizeof body);
    m->entry = calloc(count, sizeof *m->entry);
    m->irq = calloc(count, sizeof *m->irq);
    if (!m->cap || !m->entry || !m->irq)
        return err_oom(err);
    put16(fn->wmask + m->cap + PCI_MSIX_FLAGS,
          PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    for (unsigned i = 0; i < count; i++) {
        m->entry[i].ctrl = PCI_MSIX_ENTRY_CTRL_MASKBIT;
        vm_irq_init(fn->vm, &m->irq[i]);
    }
    m->count = count;
    return 0;
}

int pci_fn_msi(struct pci_fn *fn, struct err *err)
{
    uint8_t body[MSI_SIZE - PCI_MSI_FLAGS] = {PCI_MSI_FLAGS_64BIT};
    struct pci_msi *m = &fn->msi;
    vm_irq_init(fn->vm, &m->irq);
    m->cap = pci_fn_cap(fn, PCI_CAP_ID_MSI, body, sizeof body);
    if (!m->cap)
        return err_set(err, E_FAIL, "%s: config space is full", fn->name);
    uint8_t *mask = fn->wmask + m->cap;
    put16(mask + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE);
    put32(mask + PCI_MSI_ADDRESS_LO, ~3u);
    put32(mask + PCI_MSI_ADDRESS_HI, ~0u);
    put16(mask + PCI_MSI_DATA_64, 0xffff);
    return 0;
}

int pci_fn_plug(struct pci_fn *fn, struct err *err)
{
    struct pci_host *h = *vm_pci(fn->vm);
    for (unsigned i = 1; i < PCI_SLOTS; i++) {
        if (h->slot[i])
            continue;
        h->slot[i] = fn;
        fn->slot = i;
        return 0;
    }
    return err_set(err, E_CONFIG, "%s: no PCI slot is free; a machine has %d", fn->name,
                   PCI_SLOTS - 1);
}

void pci_fn_done(struct pci_fn *fn)
{
    struct pci_host *h = fn->vm ? *vm_pci(fn->vm) : NULL;
    if (h && fn->slot && h->slot[fn->slot] == fn)
        h->slot[fn->slot] = NULL;
    for (unsigned n = 0; n < PCI_BARS; n++)
        if (fn->bar[n].size && fn->bar[n].range.on)
            bus_remove(fn->vm, &fn->bar[n].range);
    for (unsigned i = 0; i < fn->msix.count; i++)
        vm_irq_done(&fn->msix.irq[i]);
    if (fn->msi.cap)
        vm_irq_done(&fn->msi.irq);
    free(fn->msix.entry);
    free(fn->msix.irq);
    if (fn->cfg)
        munmap(fn->cfg, CFG_PAGE);
    *fn = (struct pci_fn){0};
}

/* --- saving ----------------------------------------------------------------- */

void pci_fn_save(struct pci_fn *fn, struct state_writer *w)
{
    state_put(w, TAG_CFG, fn->cfg, PCI_CFG_SIZE);
    struct pci_msix *m = &fn->msix;
    if (!m->count)
        return;
    uint64_t pending[PCI_VECTORS_MAX / 64] = {0};
    for (unsigned i = 0; i < m->count; i++)
        if (vm_irq_pending(&m->irq[i]))
            pending[i / 64] |= 1ull << i % 64;
    state_put(w, TAG_MSIX, m->entry, m->count * sizeof *m->entry);
    state_put(w, TAG_MSIX + 1, pending, sizeof pending);
}

int pci_fn_restore(struct pci_fn *fn, const struct state_reader *r, struct err *err)
{
    uint8_t cfg[PCI_CFG_SIZE];
    struct pci_msix *m = &fn->msix;
    AUTO_STR entries = malloc(m->count * sizeof *m->entry + 1);
    uint64_t pending[PCI_VECTORS_MAX / 64] = {0};
    if (!entries)
        return err_oom(err);
    if (state_get(r, TAG_CFG, cfg, sizeof cfg, err) < 0)
        return -1;
    for (unsigned i = 0; i < PCI_CFG_SIZE; i++)
        if ((cfg[i] ^ fn->cfg[i]) & (uint8_t)~fn->wmask[i])
            return err_set(err, E_CONFIG,
                           "%s: saved with another configuration (config byte 0x%x)",
                           fn->name, i);
    if (m->count) {
        if (state_get(r, TAG_MSIX, entries, m->count * sizeof *m->entry, err) < 0 ||
            state_get(r, TAG_MSIX + 1, pending, sizeof pending, err) < 0)
            return -1;
        memcpy(m->entry, entries, m->count * sizeof *m->entry);
    }
    memcpy(fn->cfg, cfg, sizeof cfg);
    bars_update(fn);
    if (fn->msi.cap)
        msi_apply(fn);
    if (!m->count)
        return 0;
    msix_control(fn);
    for (unsigned i = 0; i < m->count; i++) {
        m->entry[i].ctrl &= PCI_MSIX_ENTRY_CTRL_MASKBIT;
        msix_apply(fn, i);
        if (pending[i / 64] >> i % 64 & 1)
            vm_irq_raise(&m->irq[i]);
    }
    return 0;
}

/* --- the host bridge --------------------------------------------------------- */

int pci_host_init(struct vm *vm, struct err *err)
{
    struct pci_host *h = calloc(1, sizeof *h);
    if (!h)
        return err_oom(err);
    *vm_pci(vm) = h;
    /* The generic PCIe host bridge's numbers: a driver is neither needed nor found. */
    if (pci_fn_init(&h->bridge, vm, "pci", 0x1b36, 0x0008, 0x060000, 0, err) < 0)
        return -1;
    h->slot[0] = &h->bridge;
    h->ecam = (struct bus_range){.base = LAYOUT_ECAM_BASE,
                                 .size = LAYOUT_ECAM_SIZE,
                                 .name = "ecam",
                                 .read = ecam_read,
                                 .write = ecam_write,
                                 .arg = h};
    return bus_add(vm, &h->ecam, err);
}

void pci_host_done(struct vm *vm)
{
    struct pci_host *h = *vm_pci(vm);
    if (!h)
        return;
    if (h->ecam.on)
        bus_remove(vm, &h->ecam);
    pci_fn_done(&h->bridge);
    free(h);
    *vm_pci(vm) = NULL;
}

uint8_t *pci_ecam_page(struct vm *vm, unsigned devfn)
{
    struct pci_host *h = *vm_pci(vm);
    struct pci_fn *fn =
        devfn < 8 * PCI_SLOTS && !(devfn & 7) ? h->slot[devfn >> 3] : NULL;
    return fn ? fn->cfg : NULL;
}

void pci_host_save(struct vm *vm, struct state_writer *w)
{
    struct pci_host *h = *vm_pci(vm);
    pci_fn_save(&h->bridge, w);
}

int pci_host_restore(struct vm *vm, struct state_reader *r, struct err *err)
{
    struct pci_host *h = *vm_pci(vm);
    return pci_fn_restore(&h->bridge, r, err);
}
