/* SPDX-License-Identifier: Apache-2.0 */
/* Disks and persistent memory under a hostile guest. By the input's first byte the disk
 * is read-only or not, has one queue or two, works with or without io_uring. */
#include "vmm_guest.h"

#include <errno.h>

const char fuzz_name[] = "vmm_disk";
const char *const fuzz_seeds[] = {NULL};

struct io_uring;
int __real_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
static bool uring;

/* A host that forbids io_uring, most of the time: it makes the order of things vary. */
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
    return uring ? __real_io_uring_queue_init(entries, ring, flags) : -EPERM;
}

static unsigned setup(struct vm *vm, uint8_t choice)
{
    char json[128];
    uring = choice % 8 == 7;
    snprintf(json, sizeof json, "{\"fd\": %d, \"readonly\": %s, \"queues\": %d}",
             fuzz_file(64 << 10), choice & 8 ? "true" : "false", choice & 16 ? 2 : 1);
    (void)fake_device(vm, "blk", json, NULL);
    snprintf(json, sizeof json, "{\"fd\": %d, \"readonly\": %s}", fuzz_file(5000),
             choice & 32 ? "true" : "false");
    (void)fake_device(vm, "pmem", json, NULL);
    return 2;
}

static const struct fuzz_machine machine = {.setup = setup};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_guest(&machine, data, size);
}
