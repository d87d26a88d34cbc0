/* SPDX-License-Identifier: Apache-2.0 */
/* bzImage kernels, entered at their 64-bit entry (0x200 behind the protected-mode part),
 * as the kernel's x86 boot protocol (2.12 and later) says. */
#include "vmm/vm.h"

#include <string.h>
#include <unistd.h>

enum {
    SETUP_OFFSET = 0x1f1, /* of the header in the file and in the zero page */
    MAGIC = 0x53726448,   /* "HdrS" */
    ENTRY_64 = 0x200,
    XLF_KERNEL_64 = 1,
    ZERO_PAGE = 4096,
};

/* The setup header, from byte 0x1f1. */
struct setup {
    uint8_t setup_sects;
    uint16_t root_flags;
    uint32_t syssize;
    uint16_t ram_size, vid_mode, root_dev, boot_flag, jump;
    uint32_t header;
    uint16_t version;
    uint32_t realmode_swtch;
    uint16_t start_sys_seg, kernel_version;
    uint8_t type_of_loader, loadflags;
    uint16_t setup_move_size;
    uint32_t code32_start, ramdisk_image, ramdisk_size, bootsect_kludge;
    uint16_t heap_end_ptr;
    uint8_t ext_loader_ver, ext_loader_type;
    uint32_t cmd_line_ptr, initrd_addr_max, kernel_alignment;
    uint8_t relocatable_kernel, min_alignment;
    uint16_t xloadflags;
    uint32_t cmdline_size, hardware_subarch;
    uint64_t hardware_subarch_data;
    uint32_t payload_offset, payload_length;
    uint64_t setup_data, pref_address;
    uint32_t init_size, handover_offset;
} __attribute__((packed));

/* Offsets in the zero page. */
enum { ZP_RSDP = 0x70, ZP_E820_COUNT = 0x1e8, ZP_E820 = 0x2d0, ZP_E820_MAX = 128 };

int boot_bzimage(struct vm *vm, int fd, uint64_t size, struct boot_entry *entry,
                 uint64_t *end, struct err *err)
{
    struct setup s;
    uint8_t page[ZERO_PAGE] = {0};
    if (pread(fd, &s, sizeof s, SETUP_OFFSET) != (ssize_t)sizeof s || s.header != MAGIC)
        return 0;
    if (s.version < 0x20c || !(s.xloadflags & XLF_KERNEL_64))
        return err_set(err, E_INPUT,
                       "a bzImage without a 64-bit entry (boot protocol "
                       "%u.%u)",
                       s.version >> 8, s.version & 0xff);
    uint64_t setup = ((uint64_t)(s.setup_sects ? s.setup_sects : 4) + 1) * 512;
    if (setup >= size || size - setup <= ENTRY_64)
        return err_set(err, E_INPUT, "broken bzImage: cut short");
    uint64_t load = s.pref_address;
    if (load < MIB || load >= LAYOUT_LOW_RAM_MAX || !s.relocatable_kernel)
        load = s.relocatable_kernel ? 16 * MIB : s.pref_address;
    uint64_t need = s.init_size > size - setup ? s.init_size : size - setup;
    if (load < MIB || !vm_hva(vm, load, need))
        return err_set(err, E_CONFIG,
                       "needs memory up to %llu MiB: give the machine more",
                       (unsigned long long)((load + need) / MIB + 1));
    if (strlen(vm->config->cmdline ? vm->config->cmdline : "") > s.cmdline_size)
        return err_set(err, E_CONFIG, "cmdline: this kernel takes at most %u bytes",
                       s.cmdline_size);
    if (boot_read(vm, fd, setup, load, size - setup, err) < 0)
        return -1;
    /* The header's end is told by its jump; what lies behind it stays zero. */
    size_t header = sizeof s;
    uint8_t jump = (uint8_t)(s.jump >> 8);
    if (0x202u + jump - SETUP_OFFSET < header)
        header = 0x202u + jump - SETUP_OFFSET;
    s.type_of_loader = 0xff;
    s.cmd_line_ptr = BOOT_CMDLINE;
    s.setup_data = 0;
    memcpy(page + SETUP_OFFSET, &s, header);
    if (vm_write(vm, BOOT_PARAMS, page, sizeof page) < 0)
        return err_set(err, E_CONFIG, "memory: too small to boot");
    entry->long_mode = true;
    entry->rip = load + ENTRY_64;
    entry->arg = BOOT_PARAMS;
    *end = load + need;
    return 1;
}

int boot_bzimage_info(struct vm *vm, const struct boot_images *im)
{
    uint8_t *page = vm_hva(vm, BOOT_PARAMS, ZERO_PAGE);
    struct boot_e820 map[8];
    if (!page)
        return -1;
    struct setup s;
    memcpy(&s, page + SETUP_OFFSET, sizeof s);
    s.ramdisk_image = (uint32_t)im->initrd;
    s.ramdisk_size = (uint32_t)im->initrd_size;
    memcpy(page + SETUP_OFFSET, &s, sizeof s);
    memcpy(page + ZP_RSDP, &im->rsdp, sizeof im->rsdp);
    unsigned n = boot_memory_map(vm, map, 8);
    page[ZP_E820_COUNT] = (uint8_t)n;
    memcpy(page + ZP_E820, map, n * sizeof map[0]);
    return 0;
}
