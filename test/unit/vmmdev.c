/* SPDX-License-Identifier: Apache-2.0 */
/* Devices of lodge-vmm against an in-memory guest, without KVM. */
#include "unit.h"

#include "vmm_fake.h"

#include <linux/pci_regs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/pci.h"
#include "vmm/virtq.h"

/* Where the guest keeps its ring. */
enum {
    DESC = 0x1000,
    AVAIL = 0x2000,
    USED = 0x3000,
    DATA = 0x10000,
    SIZE = 16,
    NOTIFY = 0x3000
};

static uint64_t ecam(unsigned slot, unsigned reg)
{
    return LAYOUT_ECAM_BASE + ((uint64_t)slot << 15) + reg;
}

static uint64_t bar(struct vm *vm, unsigned slot)
{
    uint64_t lo = fake_read(vm, false, ecam(slot, PCI_BASE_ADDRESS_0), 4);
    return (lo & ~0xfull) | fake_read(vm, false, ecam(slot, PCI_BASE_ADDRESS_1), 4)
                                << 32;
}

static void desc(struct vm *vm, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
                 uint16_t next)
{
    struct vring_desc d = {.addr = addr, .len = len, .flags = flags, .next = next};
    memcpy(fake_memory(vm) + DESC + i * sizeof d, &d, sizeof d);
}

static void offer(struct vm *vm, uint16_t head)
{
    struct vring_avail *a = (void *)(fake_memory(vm) + AVAIL);
    a->ring[a->idx % SIZE] = head;
    a->idx++;
}

static unsigned used(struct vm *vm)
{
    return ((struct vring_used *)(fake_memory(vm) + USED))->idx;
}

/* Bring the device in the slot to DRIVER_OK with queue 0. */
static uint64_t drive(struct vm *vm, unsigned slot)
{
    fake_write(vm, false, ecam(slot, PCI_COMMAND), 2, PCI_COMMAND_MEMORY);
    uint64_t b = bar(vm, slot);
    fake_write(vm, false, b + VIRTIO_PCI_COMMON_STATUS, 1, 3);
    fake_write(vm, false, b + VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
    fake_write(vm, false, b + VIRTIO_PCI_COMMON_GF, 4, 1);
    fake_write(vm, false, b + VIRTIO_PCI_COMMON_STATUS, 1, 11);
    assert_int_equal(fake_read(vm, false, b + VIRTIO_PCI_COMMON_STATUS, 1), 11);
    fake_write(vm, false, b + VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
    fake_write(vm, false, b + VIRTIO_PCI_COMMON_Q_SIZE, 2, SIZE);
    fake_write(vm, false, b + VIRTIO_PCI_COMMON_Q_DESCLO, 4, DESC);
    fake_write(vm, false, b + VIRTIO_PCI_COMMON_Q_AVAILLO, 4, AVAIL);
    fake_write(vm, false, b + VIRTIO_PCI_COMMON_Q_USEDLO, 4, USED);
    fake_write(vm, false, b + VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
    fake_write(vm, false, b + VIRTIO_PCI_COMMON_STATUS, 1, 15);
    return b;
}

static void test_pci(void **state)
{
    struct vm *vm = fake_new();
    assert_non_null(fake_device(vm, "rng", "{}", NULL));
    assert_int_equal(fake_read(vm, false, ecam(1, 0), 4), 0x10441af4);
    assert_int_equal(fake_read(vm, false, ecam(2, 0), 4), 0xffffffff);
    assert_int_equal(fake_read(vm, false, ecam(1, 0x1000), 4), 0xffffffff);
    uint64_t b = bar(vm, 1);
    /* Sizing: 32 KiB, and the address comes back. */
    fake_write(vm, false, ecam(1, PCI_BASE_ADDRESS_0), 4, 0xffffffff);
    assert_int_equal(fake_read(vm, false, ecam(1, PCI_BASE_ADDRESS_0), 4) & ~0xfull,
                     0xffff8000);
    fake_write(vm, false, ecam(1, PCI_BASE_ADDRESS_0), 4, (uint32_t)b);
    assert_int_equal(fake_read(vm, false, b, 4), 0xffffffff);
    fake_write(vm, false, ecam(1, PCI_COMMAND), 2, PCI_COMMAND_MEMORY);
    assert_int_equal(fake_read(vm, false, b, 4), 0);
    /* Moved; and moved where no BAR may be: over memory. */
    fake_write(vm, false, ecam(1, PCI_BASE_ADDRESS_0), 4, (uint32_t)b + 0x100000);
    assert_int_equal(fake_read(vm, false, b, 4), 0xffffffff);
    assert_int_equal(fake_read(vm, false, b + 0x100000, 4), 0);
    fake_write(vm, false, ecam(1, PCI_BASE_ADDRESS_1), 4, 0);
    assert_int_equal(fake_read(vm, false, 0x100000, 4), 0xffffffff);
    /* Read-only registers stay. */
    fake_write(vm, false, ecam(1, 0), 4, 0);
    assert_int_equal(fake_read(vm, false, ecam(1, 0), 4), 0x10441af4);
    fake_free(vm);
}

static void test_msix(void **state)
{
    struct vm *vm = fake_new();
    assert_non_null(fake_device(vm, "rng", "{}", NULL));
    uint64_t b = drive(vm, 1);
    unsigned cap = (unsigned)fake_read(vm, false, ecam(1, PCI_CAPABILITY_LIST), 1);
    assert_int_equal(fake_read(vm, false, ecam(1, cap), 1), PCI_CAP_ID_MSIX);
    fake_write(vm, false, b + VIRTIO_PCI_COMMON_Q_MSIX, 2, 77);
    assert_int_equal(fake_read(vm, false, b + VIRTIO_PCI_COMMON_Q_MSIX, 2), 0xffff);
    fake_write(vm, false, b + VIRTIO_PCI_COMMON_Q_MSIX, 2, 1);
    fake_write(vm, false, ecam(1, cap + PCI_MSIX_FLAGS), 2, PCI_MSIX_FLAGS_ENABLE);
    desc(vm, 0, DATA, 64, VRING_DESC_F_WRITE, 0);
    offer(vm, 0);
    fake_write(vm, false, b + NOTIFY, 2, 0);
    fake_run(vm, 1000, 10);
    assert_int_equal(used(vm), 1);
    /* The entry is masked: pending, delivered when unmasked. */
    assert_int_equal(fake_interrupts(vm), 0);
    assert_int_equal(fake_read(vm, false, b + 0x5000, 8), 2);
    fake_write(vm, false, b + 0x4000 + 16 + PCI_MSIX_ENTRY_VECTOR_CTRL, 4, 0);
    assert_int_equal(fake_interrupts(vm), 1);
    assert_int_equal(fake_read(vm, false, b + 0x5000, 8), 0);
    fake_free(vm);
}

/* One vector, and no more whatever the guest asks for. */
static void test_msi(void **state)
{
    struct vm *vm = fake_new();
    struct pci_fn fn;
    assert_int_equal(pci_fn_init(&fn, vm, "it", 0x15ad, 0x07c0, 0x010000, 2, NULL), 0);
    assert_int_equal(pci_fn_msi(&fn, NULL), 0);
    assert_int_equal(pci_fn_plug(&fn, NULL), 0);
    unsigned cap = (unsigned)fake_read(vm, false, ecam(1, PCI_CAPABILITY_LIST), 1);
    assert_int_equal(fake_read(vm, false, ecam(1, cap), 2), PCI_CAP_ID_MSI);
    fake_write(vm, false, ecam(1, cap + PCI_MSI_ADDRESS_LO), 4, 0xfee01003);
    fake_write(vm, false, ecam(1, cap + PCI_MSI_ADDRESS_HI), 4, 0x100);
    fake_write(vm, false, ecam(1, cap + PCI_MSI_DATA_64), 2, 0x4031);
    assert_true(fn.msi.irq.masked);
    fake_write(vm, false, ecam(1, cap + PCI_MSI_FLAGS), 2, 0xffff);
    assert_int_equal(fake_read(vm, false, ecam(1, cap + PCI_MSI_FLAGS), 2),
                     PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_ENABLE);
    assert_true(fn.msi.enabled && !fn.msi.irq.masked);
    assert_int_equal(fn.msi.irq.addr, 0x100fee01000);
    assert_int_equal(fn.msi.irq.data, 0x4031);
    vm_irq_raise(&fn.msi.irq);
    assert_int_equal(fake_interrupts(vm), 1);
    fake_write(vm, false, ecam(1, cap + PCI_MSI_FLAGS), 2, 0);
    assert_true(!fn.msi.enabled && fn.msi.irq.masked);
    pci_fn_done(&fn);
    fake_free(vm);
}

/* Each of these chains must end in "needs reset", without harm, and only a reset helps. */
static void test_bad_chains(void **state)
{
    static const struct {
        uint64_t addr;
        uint32_t len;
        uint16_t flags, next, head;
    } bad[] = {
        {DATA, 64, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 0, 0}, /* a loop */
        {DATA, 64, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 99,
         0},                                            /* beyond the table */
        {DATA, 0, VRING_DESC_F_WRITE, 0, 0},            /* empty */
        {FAKE_MEMORY - 1, 2, VRING_DESC_F_WRITE, 0, 0}, /* over the edge */
        {~0ull - 1, 64, VRING_DESC_F_WRITE, 0, 0},      /* wraps around */
        {DATA, 64, VRING_DESC_F_INDIRECT, 0, 0},        /* not negotiated */
        {DATA, 64, VRING_DESC_F_WRITE, 0, SIZE},        /* no such head */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct vm *vm = fake_new();
        struct device *d = fake_device(vm, "rng", "{}", NULL);
        uint64_t b = drive(vm, 1);
        desc(vm, 0, bad[i].addr, bad[i].len, bad[i].flags, bad[i].next);
        offer(vm, bad[i].head);
        fake_write(vm, false, b + NOTIFY, 2, 0);
        fake_run(vm, 1000, 10);
        assert_int_equal(used(vm), 0);
        assert_true(fake_read(vm, false, b + VIRTIO_PCI_COMMON_STATUS, 1) &
                    VIRTIO_CONFIG_S_NEEDS_RESET);
        assert_int_equal(d->guest_errors, 1);
        fake_write(vm, false, b + VIRTIO_PCI_COMMON_STATUS, 1, 0);
        memset(fake_memory(vm), 0, DATA);
        drive(vm, 1);
        desc(vm, 0, DATA, 64, VRING_DESC_F_WRITE, 0);
        offer(vm, 0);
        fake_write(vm, false, b + NOTIFY, 2, 0);
        fake_run(vm, 1000, 10);
        assert_int_equal(used(vm), 1);
        fake_free(vm);
    }
}

static int request(struct vm *vm, uint64_t b, uint32_t type, uint64_t sector,
                   uint32_t len)
{
    struct virtio_blk_outhdr h = {.type = type, .sector = sector};
    unsigned before = used(vm);
    memcpy(fake_memory(vm) + DATA, &h, sizeof h);
    fake_memory(vm)[DATA + 0x20] = 0xee;
    uint16_t in = type == VIRTIO_BLK_T_OUT ? 0 : VRING_DESC_F_WRITE;
    desc(vm, 0, DATA, sizeof h, VRING_DESC_F_NEXT, len ? 1 : 2);
    desc(vm, 1, DATA + 0x1000, len, VRING_DESC_F_NEXT | in, 2);
    desc(vm, 2, DATA + 0x20, 1, VRING_DESC_F_WRITE, 0);
    offer(vm, 0);
    fake_write(vm, false, b + NOTIFY, 2, 0);
    for (int i = 0; i < 100 && used(vm) == before; i++)
        fake_run(vm, 100, 4);
    assert_int_equal(used(vm), before + 1);
    return fake_memory(vm)[DATA + 0x20];
}

static void test_blk(void **state)
{
    struct vm *vm = fake_new();
    char json[64];
    int fd = memfd_create("disk", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, 64 * 512), 0);
    snprintf(json, sizeof json, "{\"fd\": %d, \"serial\": \"lodge-root\"}", dup(fd));
    struct device *d = fake_device(vm, "blk", json, NULL);
    assert_non_null(d);
    uint64_t b = drive(vm, 1);
    memset(fake_memory(vm) + DATA + 0x1000, 'a', 1024);
    assert_int_equal(request(vm, b, VIRTIO_BLK_T_OUT, 62, 1024), VIRTIO_BLK_S_OK);
    memset(fake_memory(vm) + DATA + 0x1000, 0, 1024);
    assert_int_equal(request(vm, b, VIRTIO_BLK_T_IN, 63, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(fake_memory(vm)[DATA + 0x1000 + 511], 'a');
    assert_int_equal(fake_memory(vm)[DATA + 0x1000 + 512], 0);
    assert_int_equal(request(vm, b, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
    /* Beyond the end, not whole sectors, a sector that overflows, an unknown type. */
    assert_int_equal(request(vm, b, VIRTIO_BLK_T_OUT, 63, 1024), VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(vm, b, VIRTIO_BLK_T_IN, 0, 100), VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(vm, b, VIRTIO_BLK_T_IN, ~0ull / 512, 512),
                     VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(vm, b, 999, 0, 512), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(request(vm, b, VIRTIO_BLK_T_GET_ID, 0, 20), VIRTIO_BLK_S_OK);
    assert_string_equal((char *)fake_memory(vm) + DATA + 0x1000, "lodge-root");
    /* Saved here, restored into another machine with the same memory: goes on. */
    struct state_writer w = {0};
    state_begin(&w, d->id, 1);
    assert_int_equal(d->ops->pause(d, NULL), 0);
    d->ops->save(d, &w);
    state_end(&w);
    assert_int_equal(state_finish(&w, NULL), 0);
    struct vm *to = fake_new();
    snprintf(json, sizeof json, "{\"fd\": %d, \"serial\": \"lodge-root\"}", dup(fd));
    struct device *e = fake_device(to, "blk", json, NULL);
    memcpy(fake_memory(to), fake_memory(vm), FAKE_MEMORY);
    struct state_reader r;
    struct err err = {0};
    state_open(&r, w.buf.data, w.buf.len);
    assert_int_equal(state_find(&r, d->id, &err), 0);
    assert_int_equal(e->ops->restore(e, &r, &err), 0);
    assert_int_equal(e->ops->resume(e, &err), 0);
    assert_int_equal(request(to, b, VIRTIO_BLK_T_IN, 62, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(fake_memory(to)[DATA + 0x1000], 'a');
    fake_free(to);
    state_done(&w);
    fake_free(vm);
    close(fd);
}

static void test_readonly(void **state)
{
    struct vm *vm = fake_new();
    char json[64];
    int fd = memfd_create("disk", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, 4096), 0);
    snprintf(json, sizeof json, "{\"fd\": %d, \"readonly\": true}", fd);
    assert_non_null(fake_device(vm, "blk", json, NULL));
    uint64_t b = drive(vm, 1);
    assert_int_equal(request(vm, b, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(vm, b, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
    fake_free(vm);
}

static void test_config(void **state)
{
    static const char *const bad[][2] = {
        {"blk", "{}"},
        {"blk", "{\"fd\": 0, \"path\": \"x\"}"},
        {"blk", "{\"path\": \"x\", \"wrong\": 1}"},
        {"blk", "{\"path\": \"x\", \"queues\": 0}"},
        {"console", "{\"ports\": []}"},
        {"console", "{\"ports\": [{\"name\": \"a\"}]}"},
        {"net", "{\"tap\": \"t\", \"mac\": \"01:00:00:00:00:00\"}"},
        {"net", "{\"tap\": \"t\", \"mac\": \"52:54:00:00:00\"}"},
        {"vmgenid", "{\"guid\": \"1234\"}"},
        {"rng", "{\"x\": 1}"},
        {"vfio", "{}"},
        {"vfio", "{\"address\": \"03:00.0\"}"},
        {"vfio", "{\"address\": \"0000:03:00.0x\"}"},
        {"vfio", "{\"address\": \"0000:03:00.0\", \"fd\": 3, \"path\": \"x\"}"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (!device_type(bad[i][0]))
            continue; /* left out of this build */
        struct vm *vm = fake_new();
        struct err err = {0};
        assert_null(fake_device(vm, bad[i][0], bad[i][1], &err));
        assert_int_equal(err.code, E_CONFIG);
        fake_free(vm);
    }
}

/* A device's own list of capabilities: any bytes. */
static void test_find_cap(void **state)
{
    uint8_t cfg[PCI_CFG_SIZE] = {0};
    cfg[PCI_CAPABILITY_LIST] = 0x43; /* the lowest two bits are not the address */
    memcpy(cfg + 0x40, (uint8_t[]){PCI_CAP_ID_VNDR, 0x80}, 2);
    memcpy(cfg + 0x80, (uint8_t[]){PCI_CAP_ID_VNDR, 0xfc}, 2);
    memcpy(cfg + 0xfc, (uint8_t[]){PCI_CAP_ID_MSIX, 0x40}, 2); /* and round again */
    assert_int_equal(pci_find_cap(cfg, PCI_CAP_ID_VNDR, 3, 0), 0);
    cfg[PCI_STATUS] = PCI_STATUS_CAP_LIST;
    assert_int_equal(pci_find_cap(cfg, PCI_CAP_ID_VNDR, 3, 0), 0x40);
    assert_int_equal(pci_find_cap(cfg, PCI_CAP_ID_VNDR, 3, 1), 0x80);
    assert_int_equal(pci_find_cap(cfg, PCI_CAP_ID_MSIX, 4, 0), 0xfc);
    assert_int_equal(pci_find_cap(cfg, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF, 0), 0);
    assert_int_equal(pci_find_cap(cfg, PCI_CAP_ID_VNDR, 3, 1000), 0);
    assert_int_equal(pci_find_cap(cfg, PCI_CAP_ID_EXP, 2, 0), 0);
    cfg[PCI_CAPABILITY_LIST] = 0x10; /* into the header */
    assert_int_equal(pci_find_cap(cfg, PCI_CAP_ID_VNDR, 3, 0), 0);
}

static void test_serial(void **state)
{
    struct vm *vm = fake_new();
    int p[2];
    char json[32], got[8] = {0};
    assert_int_equal(pipe(p), 0);
    snprintf(json, sizeof json, "{\"fd\": %d}", p[1]);
    assert_non_null(fake_device(vm, "serial", json, NULL));
    for (const char *c = "hello"; *c; c++)
        fake_write(vm, true, LAYOUT_PORT_SERIAL, 1, (uint8_t)*c);
    fake_run(vm, 1000, 4);
    assert_int_equal(read(p[0], got, 5), 5);
    assert_string_equal(got, "hello");
    assert_int_equal(fake_read(vm, true, LAYOUT_PORT_SERIAL + 5, 1) & 0x20, 0x20);
    fake_free(vm);
    close(p[0]);
}

static void answer(int sock, uint32_t request, uint64_t value)
{
    struct {
        uint32_t request, flags, size;
        uint64_t value;
    } __attribute__((packed)) m = {request, 5, 8, value};
    assert_int_equal(write(sock, &m, sizeof m), sizeof m);
}

static struct device *file_server(struct vm *vm, int *server)
{
    char json[64];
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    answer(pair[1], 1, 1ull << 30 | 1ull << 32); /* its features */
    answer(pair[1], 15, 0);
    snprintf(json, sizeof json, "{\"tag\": \"t\", \"fd\": %d}", pair[0]);
    struct device *d = fake_device(vm, "fs", json, NULL);
    assert_non_null(d);
    *server = pair[1];
    return d;
}

static bool gone(struct device *d)
{
    json_t *j = d->ops->stats(d);
    bool yes = !strcmp(json_string_value(json_object_get(j, "server")), "gone");
    json_decref(j);
    return yes;
}

/* A file server that answers wrongly, or takes nothing more, does not stop the machine:
 * it is given up, once. */
static void test_bad_server(void **state)
{
    struct vm *vm = fake_new();
    int server;
    struct device *d = file_server(vm, &server);
    uint64_t b = drive(vm, 1);
    answer(server, 3, 0);
    assert_false(gone(d));
    fake_write(vm, false, b + VIRTIO_PCI_COMMON_STATUS, 1, 0);
    assert_true(gone(d));
    fake_free(vm);
    close(server);

    vm = fake_new();
    d = file_server(vm, &server);
    b = drive(vm, 1);
    for (unsigned i = 0; i < 100000 && !gone(d); i++)
        fake_write(vm, false, b + VIRTIO_PCI_COMMON_Q_MSIX, 2, i & 1);
    assert_true(gone(d));
    fake_free(vm);
    close(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pci),    cmocka_unit_test(test_msix),
        cmocka_unit_test(test_msi),    cmocka_unit_test(test_bad_chains),
        cmocka_unit_test(test_blk),    cmocka_unit_test(test_readonly),
        cmocka_unit_test(test_config), cmocka_unit_test(test_find_cap),
        cmocka_unit_test(test_serial), cmocka_unit_test(test_bad_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
