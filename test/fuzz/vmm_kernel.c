/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels as a user gives them: ELF and bzImage, loaded into a guest's RAM. */
#include "vmm_core.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

const char fuzz_name[] = "vmm_kernel";
const char *const fuzz_seeds[] = {NULL};

enum { RAM_MIB = 48 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vm *vm = core_vm(RAM_MIB * MIB);
    struct boot_entry entry = {0};
    struct boot_images im = {.initrd = 32 * MIB, .initrd_size = 4096};
    struct err err = {0};
    uint64_t end = 0;
    int fd = memfd_create("kernel", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    int elf = boot_elf(vm, fd, size, &entry, &end, &err);
    int got = elf ? elf : boot_bzimage(vm, fd, size, &entry, &end, &err);
    if (got < 0 && !*err.text)
        abort(); /* refused without a reason */
    if (got > 0) {
        if (end > RAM_MIB * MIB || !vm_hva(vm, entry.rip, 1))
            abort();
        (void)(elf ? boot_elf_info(vm, &im) : boot_bzimage_info(vm, &im));
    }
    close(fd);
    if (got)
        core_clear(vm);
    return 0;
}
