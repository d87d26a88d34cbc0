/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile guest: the input writes memory, config space, BARs, ports and kicks, in any
 * order, of a machine with a disk, a console, rng and serial. */
#include "fuzz.h"
#include "vmm_fake.h"

#include <fcntl.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

const char fuzz_name[] = "vmmdev";
const char *const fuzz_seeds[] = {NULL};

/* A queue ready to go, so that chains are reached without luck. */
static void prepare(struct vm *vm, unsigned slot)
{
    uint64_t e = LAYOUT_ECAM_BASE + ((uint64_t)slot << 15);
    fake_write(vm, false, e + PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    uint64_t b = (fake_read(vm, false, e + PCI_BASE_ADDRESS_0, 4) & ~0xfull) |
                 fake_read(vm, false, e + PCI_BASE_ADDRESS_1, 4) << 32;
    fake_write(vm, false, b + 20, 1, 3);
    for (unsigned i = 0; i < 2; i++) {
        fake_write(vm, false, b + 0, 4, i);
        uint64_t offered = fake_read(vm, false, b + 4, 4);
        fake_write(vm, false, b + 8, 4, i);
        fake_write(vm, false, b + 12, 4, offered);
    }
    fake_write(vm, false, b + 20, 1, 11);
    for (unsigned q = 0; q < 4; q++) {
        fake_write(vm, false, b + 22, 2, q);
        fake_write(vm, false, b + 24, 2, 8);
        fake_write(vm, false, b + 32, 4, 0x1000 * q);
        fake_write(vm, false, b + 40, 4, 0x1000 * q + 0x100);
        fake_write(vm, false, b + 48, 4, 0x1000 * q + 0x200);
        fake_write(vm, false, b + 28, 2, 1);
    }
    fake_write(vm, false, b + 20, 1, 15);
}

struct step {
    uint8_t what, len;
    uint16_t addr;
    uint64_t value;
} __attribute__((packed));

static void play(struct vm *vm, const struct step *s)
{
    unsigned len = 1u << (s->len & 3);
    unsigned slot = s->len >> 2 & 7;
    switch (s->what % 6) {
    case 0:
        memcpy(fake_memory(vm) + s->addr, &s->value, sizeof s->value);
        break;
    case 1:
        fake_write(vm, false,
                   LAYOUT_ECAM_BASE + ((uint64_t)slot << 15) + (s->addr & 0xfff), len,
                   s->value);
        (void)fake_read(vm, false, LAYOUT_ECAM_BASE + (s->addr * 16ull), len);
        break;
    case 2:
        fake_write(vm, false, 4 * GIB + 0x8000ull * slot + (s->addr & 0x7fff), len,
                   s->value);
        break;
    case 3:
        (void)fake_read(vm, false, 4 * GIB + 0x8000ull * slot + (s->addr & 0x7fff),
                        len);
        break;
    case 4:
        fake_write(vm, true, LAYOUT_PORT_SERIAL + (s->addr & 7), 1, s->value);
        (void)fake_read(vm, true, LAYOUT_PORT_SERIAL + (s->addr >> 3 & 7), 1);
        break;
    default:
        fake_write(vm, false, 4 * GIB + 0x8000ull * slot + 0x3000 + 4 * (s->addr & 7),
                   2, 0);
        fake_run(vm, 0, 8);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vm *vm = fake_new();
    char json[128];
    int disk = memfd_create("disk", MFD_CLOEXEC), pair[2], line[2];
    if (ftruncate(disk, 64 << 10) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line) < 0)
        return 0;
    snprintf(json, sizeof json, "{\"fd\": %d}", disk);
    (void)fake_device(vm, "blk", json, NULL);
    snprintf(json, sizeof json, "{\"ports\": [{\"name\": \"a\", \"fd\": %d}]}",
             pair[0]);
    (void)fake_device(vm, "console", json, NULL);
    (void)fake_device(vm, "rng", "{}", NULL);
    snprintf(json, sizeof json, "{\"fd\": %d}", line[0]);
    (void)fake_device(vm, "serial", json, NULL);
    (void)!write(pair[1], "input", 5);
    (void)!write(line[1], "input", 5);
    for (unsigned slot = 1; slot <= 3; slot++)
        prepare(vm, slot);
    fake_run(vm, 0, 8);
    struct step s;
    for (; size >= sizeof s; data += sizeof s, size -= sizeof s) {
        memcpy(&s, data, sizeof s);
        play(vm, &s);
    }
    fake_run(vm, 0, 16);
    fake_free(vm);
    close(pair[1]);
    close(line[1]);
    return 0;
}
