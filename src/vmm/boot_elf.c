/* SPDX-License-Identifier: Apache-2.0 */
/* ELF kernels, entered by the PVH note (type 18 of "Xen"): 32-bit protected mode with
 * EBX at the start info. 64-bit and 32-bit little-endian x86 files. */
#include "vmm/vm.h"

#include <elf.h>
#include <string.h>
#include <unistd.h>

enum {
    NOTE_PHYS32_ENTRY = 18,
    HEADERS_MAX = 128,
    NOTES_MAX = 1 << 16,
    START_MAGIC = 0x336ec578,
};

/* As the hypervisor interface lays them out. */
struct start_info {
    uint32_t magic, version, flags, nr_modules;
    uint64_t modlist, cmdline, rsdp, memmap;
    uint32_t memmap_entries, reserved;
};
struct module {
    uint64_t addr, size, cmdline, reserved;
};
struct map_entry {
    uint64_t addr, size;
    uint32_t type, reserved;
};

/* A program header of either class. */
struct header {
    uint32_t type;
    uint64_t offset, paddr, filesz, memsz, align;
};

static int bad(struct err *err, const char *what)
{
    return err_set(err, E_INPUT, "broken ELF: %s", what);
}

static int read_at(int fd, uint64_t offset, void *out, size_t len, uint64_t size)
{
    if (offset > size || len > size - offset)
        return -1;
    return pread(fd, out, len, (off_t)offset) == (ssize_t)len ? 0 : -1;
}

static int read_header(int fd, uint64_t at, bool wide, uint64_t size, struct header *h)
{
    if (wide) {
        Elf64_Phdr p;
        if (read_at(fd, at, &p, sizeof p, size) < 0)
            return -1;
        *h = (struct header){p.p_type,   p.p_offset, p.p_paddr,
                             p.p_filesz, p.p_memsz,  p.p_align};
    } else {
        Elf32_Phdr p;
        if (read_at(fd, at, &p, sizeof p, size) < 0)
            return -1;
        *h = (struct header){p.p_type,   p.p_offset, p.p_paddr,
                             p.p_filesz, p.p_memsz,  p.p_align};
    }
    return 0;
}

/* Find the entry in a segment of notes. 1 found, 0 not there, -1 broken. */
static int find_entry(int fd, uint64_t size, const struct header *h, uint64_t *entry)
{
    if (h->filesz > NOTES_MAX)
        return -1;
    AUTO_STR notes = malloc(h->filesz + 1);
    if (!notes || read_at(fd, h->offset, notes, h->filesz, size) < 0)
        return -1;
    uint64_t align = h->align == 8 ? 8 : 4, at = 0;
    while (h->filesz - at >= sizeof(Elf32_Nhdr)) {
        Elf32_Nhdr n;
        memcpy(&n, notes + at, sizeof n);
        at += sizeof n;
        uint64_t name = (n.n_namesz + align - 1) & ~(align - 1);
        uint64_t desc = (n.n_descsz + align - 1) & ~(align - 1);
        if (name > h->filesz - at || n.n_descsz > h->filesz - at - name)
            return -1;
        if (n.n_type == NOTE_PHYS32_ENTRY && n.n_namesz == 4 &&
            memcmp(notes + at, "Xen", 4) == 0 && (n.n_descsz == 4 || n.n_descsz == 8)) {
            *entry = 0;
            memcpy(entry, notes + at + name, n.n_descsz);
            return 1;
        }
        at += name;
        at = desc > h->filesz - at ? h->filesz : at + desc;
    }
    return 0;
}

static int load_segment(struct vm *vm, int fd, uint64_t size, const struct header *h,
                        struct err *err)
{
    if (h->filesz > h->memsz || h->offset > size || h->filesz > size - h->offset)
        return bad(err, "a segment is outside of the file");
    if (h->paddr < BOOT_ACPI_END)
        return err_set(err, E_INPUT, "a segment is below 1 MiB, where our tables are");
    char *to = vm_hva(vm, h->paddr, h->memsz);
    if (!to)
        return err_set(err, E_CONFIG,
                       "needs memory up to %llu MiB: give the machine more",
                       (unsigned long long)((h->paddr + h->memsz) / MIB + 1));
    return boot_read(vm, fd, h->offset, h->paddr, h->filesz, err);
}

int boot_elf(struct vm *vm, int fd, uint64_t size, struct boot_entry *entry,
             uint64_t *end, struct err *err)
{
    union {
        Elf64_Ehdr wide;
        Elf32_Ehdr small;
        unsigned char ident[EI_NIDENT];
    } e;
    memset(&e, 0, sizeof e);
    if (read_at(fd, 0, &e.small, sizeof e.small, size) < 0 ||
        memcmp(e.ident, ELFMAG, SELFMAG) != 0)
        return 0;
    bool wide = e.ident[EI_CLASS] == ELFCLASS64;
    if (wide && read_at(fd, 0, &e.wide, sizeof e.wide, size) < 0)
        return bad(err, "cut short");
    uint64_t at = wide ? e.wide.e_phoff : e.small.e_phoff;
    unsigned n = wide ? e.wide.e_phnum : e.small.e_phnum;
    unsigned step = wide ? e.wide.e_phentsize : e.small.e_phentsize;
    unsigned machine = wide ? e.wide.e_machine : e.small.e_machine;
    if (e.ident[EI_DATA] != ELFDATA2LSB || (machine != EM_X86_64 && machine != EM_386))
        return err_set(err, E_INPUT, "an ELF of another machine");
    if (n == 0 || n > HEADERS_MAX || at > size ||
        step < (wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
        return bad(err, "program headers");
    bool found = false;
    *end = 0;
    for (unsigned i = 0; i < n; i++) {
        struct header h;
        if (read_header(fd, at + (uint64_t)i * step, wide, size, &h) < 0)
            return bad(err, "program headers");
        if (h.type == PT_NOTE && !found) {
            int got = find_entry(fd, size, &h, &entry->rip);
            if (got < 0)
                return bad(err, "notes");
            found = got > 0;
        }
        if (h.type != PT_LOAD || h.memsz == 0)
            continue;
        if (load_segment(vm, fd, size, &h, err) < 0)
            return -1;
        if (h.paddr + h.memsz > *end)
            *end = h.paddr + h.memsz;
    }
    if (!found)
        return err_set(err, E_INPUT,
                       "an ELF without a PVH entry (a kernel needs "
                       "CONFIG_PVH)");
    if (!vm_hva(vm, entry->rip, 1) || entry->rip > 0xffffffff)
        return bad(err, "the entry is outside of memory");
    entry->long_mode = false;
    entry->arg = BOOT_START_INFO;
    return 1;
}

int boot_elf_info(struct vm *vm, const struct boot_images *im)
{
    struct boot_e820 map[8];
    struct {
        struct start_info info;
        struct module module;
        struct map_entry map[8];
    } s = {.info = {.magic = START_MAGIC,
                    .version = 1,
                    .nr_modules = im->initrd_size ? 1 : 0,
                    .modlist = BOOT_START_INFO + sizeof(struct start_info),
                    .cmdline = BOOT_CMDLINE,
                    .rsdp = im->rsdp,
                    .memmap = BOOT_START_INFO + sizeof(struct start_info) +
                              sizeof(struct module)},
           .module = {.addr = im->initrd, .size = im->initrd_size}};
    unsigned n = boot_memory_map(vm, map, 8);
    s.info.memmap_entries = n;
    for (unsigned i = 0; i < n; i++)
        s.map[i] = (struct map_entry){map[i].addr, map[i].size, map[i].type, 0};
    return vm_write(vm, BOOT_START_INFO, &s, sizeof s);
}
