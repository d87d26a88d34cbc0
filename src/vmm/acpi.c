/* SPDX-License-Identifier: Apache-2.0 */
/* Hardware-reduced ACPI (ACPI 6.4, chapter 5): RSDP, XSDT, FADT, MADT, MCFG, DSDT; SRAT
 * and SLIT for several nodes. Written once, below 1 MiB, before the guest starts. */
#include "vmm/aml.h"
#include "vmm/vm.h"

#include <string.h>

enum {
    HEADER = 36,
    FADT_SIZE = 276,
    TABLES_MAX = 8,
    FADT_NO_VGA = 1 << 2,
    FADT_NO_ASPM = 1 << 4,
    FADT_NO_CMOS = 1 << 5,
    FADT_PWR_BUTTON = 1 << 4,
    FADT_SLP_BUTTON = 1 << 5,
    FADT_RESET = 1 << 10,
    FADT_HW_REDUCED = 1 << 20,
};

/* Where the next table goes and which there are. */
struct tables {
    struct vm *vm;
    uint64_t next;
    uint64_t at[TABLES_MAX];
    unsigned count;
    bool failed;
};

static void put(struct str_buf *b, uint64_t v, unsigned bytes)
{
    uint8_t d[8];
    for (unsigned i = 0; i < bytes; i++)
        d[i] = (uint8_t)(v >> 8 * i);
    str_buf_add(b, d, bytes);
}

static void pad(struct str_buf *b, size_t to)
{
    while (b->len < to && !b->failed)
        put(b, 0, 1);
}

static void header(struct str_buf *b, const char *signature, unsigned revision)
{
    str_buf_add(b, signature, 4);
    put(b, 0, 4); /* length, filled in by emit() */
    put(b, revision, 1);
    put(b, 0, 1);
    str_buf_add(b, "LODGE ", 6);
    str_buf_add(b, "LODGEVMM", 8);
    put(b, 1, 4);
    str_buf_add(b, "LODG", 4);
    put(b, 1, 4);
}

static uint8_t sum(const void *data, size_t len)
{
    const uint8_t *p = data;
    uint8_t s = 0;
    for (size_t i = 0; i < len; i++)
        s += p[i];
    return (uint8_t)-s;
}

/* Put the table into the guest; its address, or 0. */
static uint64_t emit(struct tables *t, struct str_buf *b)
{
    uint64_t at = (t->next + 15) & ~15ull;
    if (b->failed || at + b->len > BOOT_RESET_VECTOR) {
        t->failed = true;
        return 0;
    }
    uint32_t len = (uint32_t)b->len;
    memcpy(b->data + 4, &len, sizeof len);
    b->data[9] = 0;
    b->data[9] = (char)sum(b->data, b->len);
    t->failed |= vm_write(t->vm, at, b->data, b->len) < 0;
    t->next = at + b->len;
    return at;
}

static void add(struct tables *t, struct str_buf *b)
{
    uint64_t at = emit(t, b);
    if (at && t->count < TABLES_MAX)
        t->at[t->count++] = at;
}

static uint64_t dsdt(struct tables *t)
{
    struct vm *vm = t->vm;
    struct aml a = {0};
    uint64_t base, size;
    header(&a.buf, "DSDT", 2);
    aml_name(&a, "_S5_");
    aml_package(&a, 4);
    aml_int(&a, 5);
    aml_int(&a, 5);
    aml_int(&a, 0);
    aml_int(&a, 0);
    aml_end(&a);
    aml_scope(&a, "\\_SB_");
    aml_device(&a, "PCI0");
    aml_name(&a, "_HID");
    aml_eisaid(&a, "PNP0A08");
    aml_name(&a, "_CID");
    aml_eisaid(&a, "PNP0A03");
    aml_name(&a, "_SEG");
    aml_int(&a, 0);
    aml_name(&a, "_BBN");
    aml_int(&a, 0);
    aml_name(&a, "_UID");
    aml_int(&a, 0);
    aml_name(&a, "_CRS");
    aml_resources(&a);
    aml_bus_range(&a, 0, LAYOUT_ECAM_BUSES - 1);
    aml_window32(&a, LAYOUT_PCI32_BASE, LAYOUT_PCI32_SIZE);
    vm_pci64_window(vm, &base, &size);
    if (size)
        aml_window64(&a, base, size);
    aml_resources_end(&a);
    aml_end(&a);
    /* Linux uses ECAM only when a motherboard resource reserves it. */
    aml_device(&a, "ECAM");
    aml_name(&a, "_HID");
    aml_eisaid(&a, "PNP0C02");
    aml_name(&a, "_CRS");
    aml_resources(&a);
    aml_memory32(&a, (uint32_t)LAYOUT_ECAM_BASE, (uint32_t)LAYOUT_ECAM_SIZE, true);
    aml_resources_end(&a);
    aml_end(&a);
    power_acpi(vm, &a);
    for (size_t i = 0; i < vm->ndevices; i++)
        if (vm->devices[i].ops->acpi)
            vm->devices[i].ops->acpi(&vm->devices[i], &a);
    aml_end(&a);
    t->failed |= a.failed || a.depth != 0;
    uint64_t at = emit(t, &a.buf);
    str_buf_done(&a.buf);
    return at;
}

/* A generic address of one byte of I/O space. */
static void gas_io(struct str_buf *b, uint16_t port)
{
    put(b, 1, 1); /* system I/O */
    put(b, 8, 1);
    put(b, 0, 1);
    put(b, 1, 1); /* byte access */
    put(b, port, 8);
}

static void fadt(struct tables *t, uint64_t dsdt_at)
{
    AUTO_BUF b = {0};
    header(&b, "FACP", 6);
    put(&b, 0, 4);
    put(&b, dsdt_at, 4);
    pad(&b, 109);
    put(&b, FADT_NO_VGA | FADT_NO_ASPM | FADT_NO_CMOS, 2);
    pad(&b, 112);
    put(&b, FADT_PWR_BUTTON | FADT_SLP_BUTTON | FADT_RESET | FADT_HW_REDUCED, 4);
    gas_io(&b, LAYOUT_PORT_RESET);
    put(&b, LAYOUT_RESET_VALUE, 1);
    put(&b, 0, 2);
    put(&b, 4, 1); /* 6.4 */
    put(&b, 0, 8);
    put(&b, dsdt_at, 8);
    pad(&b, 244);
    gas_io(&b, LAYOUT_PORT_SLEEP);
    gas_io(&b, LAYOUT_PORT_SLEEP + 1);
    str_buf_add(&b, "LODGEVMM", 8);
    add(t, &b);
}

static void madt(struct tables *t)
{
    AUTO_BUF b = {0};
    header(&b, "APIC", 5);
    put(&b, LAYOUT_LAPIC_BASE, 4);
    put(&b, 0, 4); /* no PIC */
    for (unsigned i = 0; i < t->vm->nvcpus; i++) {
        if (i < 255) {
            put(&b, 0 | 8 << 8, 2);
            put(&b, i, 1);
            put(&b, i, 1);
            put(&b, 1, 4);
        } else { /* x2APIC */
            put(&b, 9 | 16 << 8, 2);
            put(&b, 0, 2);
            put(&b, i, 4);
            put(&b, 1, 4);
            put(&b, i, 4);
        }
    }
    put(&b, 1 | 12 << 8, 2); /* IOAPIC */
    put(&b, 0, 2);
    put(&b, LAYOUT_IOAPIC_BASE, 4);
    put(&b, 0, 4);
    add(t, &b);
}

static void mcfg(struct tables *t)
{
    AUTO_BUF b = {0};
    header(&b, "MCFG", 1);
    put(&b, 0, 8);
    put(&b, LAYOUT_ECAM_BASE, 8);
    put(&b, 0, 2);
    put(&b, 0, 1);
    put(&b, LAYOUT_ECAM_BUSES - 1, 1);
    put(&b, 0, 4);
    add(t, &b);
}

static void srat(struct tables *t)
{
    const struct vm *vm = t->vm;
    AUTO_BUF b = {0};
    header(&b, "SRAT", 3);
    put(&b, 1, 4);
    put(&b, 0, 8);
    for (unsigned i = 0; i < vm->nvcpus; i++) {
        put(&b, 2 | 24 << 8, 2); /* x2APIC affinity */
        put(&b, 0, 2);
        put(&b, vm->config->cpu.node[i], 4);
        put(&b, i, 4);
        put(&b, 1, 4);
        put(&b, 0, 8);
    }
    for (size_t i = 0; i < vm->nmemory; i++) {
        const struct vm_memory *m = &vm->memory[i];
        if (!m->ram)
            continue;
        put(&b, 1 | 40 << 8, 2);
        put(&b, (uint64_t)m->node, 4);
        put(&b, 0, 2);
        put(&b, m->gpa, 8);
        put(&b, m->size, 8);
        put(&b, 0, 4);
        put(&b, 1, 4);
        put(&b, 0, 8);
    }
    add(t, &b);
}

static void slit(struct tables *t)
{
    const struct config *c = t->vm->config;
    AUTO_BUF b = {0};
    header(&b, "SLIT", 1);
    put(&b, c->memory.nnodes, 8);
    for (unsigned i = 0; i < c->memory.nnodes; i++)
        for (unsigned j = 0; j < c->memory.nnodes; j++) {
            uint8_t d = c->memory.nodes[i].distances[j];
            put(&b, d ? d : i == j ? 10 : 20, 1);
        }
    add(t, &b);
}

static void rsdp(struct tables *t, uint64_t xsdt)
{
    uint8_t r[36] = "RSD PTR ";
    memcpy(r + 9, "LODGE ", 6);
    r[15] = 2;
    r[20] = sizeof r;
    for (int i = 0; i < 8; i++)
        r[24 + i] = (uint8_t)(xsdt >> 8 * i);
    r[8] = sum(r, 20);
    r[32] = sum(r, sizeof r);
    t->failed |= vm_write(t->vm, BOOT_ACPI, r, sizeof r) < 0;
}

/* What a kernel finds that reboots by jumping to the BIOS, in real mode: a write to the
 * reset register. */
static int reset_vector(struct vm *vm)
{
    const uint8_t code[] = {0xb0,
                            LAYOUT_RESET_VALUE, /* mov al, value */
                            0xba,
                            LAYOUT_PORT_RESET & 0xff,
                            LAYOUT_PORT_RESET >> 8,
                            0xee, /* out dx, al */
                            0xf4, /* hlt */
                            0xeb,
                            0xfd}; /* jmp to it */
    return vm_write(vm, BOOT_RESET_VECTOR, code, sizeof code);
}

int acpi_build(struct vm *vm, struct err *err)
{
    struct tables t = {.vm = vm, .next = BOOT_ACPI + 64};
    AUTO_BUF b = {0};
    uint64_t dsdt_at = dsdt(&t);
    fadt(&t, dsdt_at);
    madt(&t);
    mcfg(&t);
    if (vm->config->memory.nnodes > 1) {
        srat(&t);
        slit(&t);
    }
    header(&b, "XSDT", 1);
    for (unsigned i = 0; i < t.count; i++)
        put(&b, t.at[i], 8);
    rsdp(&t, emit(&t, &b));
    t.failed |= reset_vector(vm) < 0;
    return t.failed ? err_set(err, E_BUG, "ACPI tables do not fit") : 0;
}
