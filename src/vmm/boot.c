/* SPDX-License-Identifier: Apache-2.0 */
/* Direct boot: kernel, initrd, command line and ACPI tables into RAM, the first vCPU to
 * the kernel's entry. An ELF is entered by PVH (32-bit protected mode), a bzImage at its
 * 64-bit entry. The files are the user's and not trusted: every number is checked. */
#include "vmm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CR0_PE = 1, CR0_ET = 1 << 4, CR0_PG = 1u << 31, CR4_PAE = 1 << 5 };
enum { EFER_LME = 1 << 8, EFER_LMA = 1 << 10 };
enum { PTE_PRESENT = 1, PTE_WRITE = 2, PTE_LARGE = 1 << 7 };

unsigned boot_memory_map(const struct vm *vm, struct boot_e820 *map, unsigned max)
{
    const struct boot_e820 fixed[] = {
        {0, BOOT_LOW_END, 1},
        {BOOT_ACPI, BOOT_ACPI_END - BOOT_ACPI, 3},
        {BOOT_ACPI_END, memory_low_end(vm) - BOOT_ACPI_END, 1},
        {LAYOUT_ECAM_BASE, LAYOUT_ECAM_SIZE, 2},
    };
    unsigned n = 0;
    for (; n < ARRAY_SIZE(fixed) && n < max; n++)
        map[n] = fixed[n];
    uint64_t size = vm->config->memory.size;
    if (size > LAYOUT_LOW_RAM_MAX && n < max)
        map[n++] =
            (struct boot_e820){LAYOUT_HIGH_RAM_BASE, size - LAYOUT_LOW_RAM_MAX, 1};
    return n;
}

static struct kvm_segment segment(uint16_t selector, uint8_t type, bool code64)
{
    return (struct kvm_segment){.base = 0,
                                .limit = 0xffffffff,
                                .selector = selector,
                                .type = type,
                                .present = 1,
                                .dpl = 0,
                                .db = !code64,
                                .s = 1,
                                .l = code64,
                                .g = 1};
}

/* A flat descriptor of the same kind for the table in memory. */
static uint64_t descriptor(uint8_t type, bool code64)
{
    uint64_t flags = code64 ? 0xa : 0xc;
    return 0xffff | 0xfull << 48 | flags << 52 | (uint64_t)(0x90 | type) << 40;
}

/* 4 GiB mapped one to one by 2 MiB pages. */
static int write_pages(struct vm *vm)
{
    uint64_t *p = vm_hva(vm, BOOT_PAGES, 6 * 4096);
    if (!p)
        return -1;
    memset(p, 0, 6 * 4096);
    p[0] = (BOOT_PAGES + 0x1000) | PTE_PRESENT | PTE_WRITE;
    for (unsigned i = 0; i < 4; i++)
        p[512 + i] = (BOOT_PAGES + 0x2000 + 0x1000ull * i) | PTE_PRESENT | PTE_WRITE;
    for (unsigned i = 0; i < 4 * 512; i++)
        p[1024 + i] = 2 * MIB * i | PTE_PRESENT | PTE_WRITE | PTE_LARGE;
    return 0;
}

static int set_first_vcpu(struct vm *vm, const struct boot_entry *entry,
                          struct err *err)
{
    struct vcpu *v = &vm->vcpus[0];
    struct kvm_sregs s;
    bool l = entry->long_mode;
    /* Linux wants __BOOT_CS 0x10 and __BOOT_DS 0x18; PVH leaves the numbers to us. */
    uint64_t gdt[5] = {0, 0, descriptor(0xb, l), descriptor(0x3, false),
                       0x008b00000000ffffull /* TSS */};
    if (vm_write(vm, BOOT_GDT, gdt, sizeof gdt) < 0 || (l && write_pages(vm) < 0))
        return err_set(err, E_CONFIG, "memory: too small to boot");
    if (ioctl(v->fd, KVM_GET_SREGS, &s) < 0)
        return err_sys(err, "KVM: registers");
    s.cs = segment(0x10, 0xb, l);
    s.ds = s.es = s.fs = s.gs = s.ss = segment(0x18, 0x3, false);
    s.tr = (struct kvm_segment){
        .selector = 0x20, .limit = 0xffff, .type = 0xb, .present = 1};
    s.gdt = (struct kvm_dtable){.base = BOOT_GDT, .limit = sizeof gdt - 1};
    s.idt = (struct kvm_dtable){0};
    s.cr0 = CR0_PE | CR0_ET;
    s.cr4 = 0;
    s.efer = 0;
    if (l) {
        s.cr3 = BOOT_PAGES;
        s.cr4 = CR4_PAE;
        s.cr0 |= CR0_PG;
        s.efer = EFER_LME | EFER_LMA;
    }
    struct kvm_regs r = {.rip = entry->rip, .rflags = 2};
    if (l)
        r.rsi = entry->arg;
    else
        r.rbx = entry->arg;
    if (ioctl(v->fd, KVM_SET_SREGS, &s) < 0 || ioctl(v->fd, KVM_SET_REGS, &r) < 0)
        return err_sys(err, "KVM: registers");
    return 0;
}

/* MISC_ENABLE's fast strings, and a write-back default memory type: what firmware does
 * on every vCPU. An MSR that this KVM does not know is left out. */
static int set_msrs(struct vm *vm, struct err *err)
{
    const struct kvm_msr_entry wanted[] = {
        {.index = 0x1a0, .data = 1},           /* IA32_MISC_ENABLE */
        {.index = 0x2ff, .data = 1 << 11 | 6}, /* IA32_MTRR_DEF_TYPE */
    };
    for (unsigned i = 0; i < vm->nvcpus; i++)
        for (size_t j = 0; j < ARRAY_SIZE(wanted); j++) {
            struct {
                struct kvm_msrs head;
                struct kvm_msr_entry entry;
            } m = {.head.nmsrs = 1, .entry = wanted[j]};
            if (ioctl(vm->vcpus[i].fd, KVM_SET_MSRS, &m) < 0)
                return err_sys(err, "KVM: MSRs of vCPU %u", i);
        }
    return 0;
}

/* A regular file (or memfd) and its size. */
static int open_file(const struct device_file *f, const char *what, int *fd,
                     uint64_t *size, struct err *err)
{
    struct stat st;
    *fd = device_file_open(f, O_RDONLY, err);
    if (*fd < 0)
        return err_at(err, "%s", what);
    if (fstat(*fd, &st) < 0)
        return err_sys(err, "%s", what);
    if (!S_ISREG(st.st_mode))
        return err_set(err, E_INPUT, "%s '%s': not a regular file", what,
                       f->path ? f->path : "(descriptor)");
    *size = (uint64_t)st.st_size;
    return 0;
}

/* Read size bytes of fd at offset straight into RAM. */
int boot_read(struct vm *vm, int fd, uint64_t offset, uint64_t gpa, uint64_t size,
              struct err *err)
{
    char *to = vm_hva(vm, gpa, size);
    if (size == 0)
        return 0;
    if (!to)
        return err_set(err, E_CONFIG,
                       "%llu KiB at 0x%llx do not fit into the guest's memory",
                       (unsigned long long)(size >> 10), (unsigned long long)gpa);
    while (size > 0) {
        ssize_t n = pread(fd, to, size < GIB ? size : GIB, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, "read");
        if (n == 0)
            return err_set(err, E_INPUT, "the file is cut short");
        to += n;
        offset += (uint64_t)n;
        size -= (uint64_t)n;
    }
    return 0;
}

static int load_initrd(struct vm *vm, uint64_t kernel_end, struct boot_images *im,
                       struct err *err)
{
    const struct config *c = vm->config;
    AUTO_FD fd = -1;
    if (!c->initrd.path && c->initrd.fd < 0)
        return 0;
    if (open_file(&c->initrd, "initrd", &fd, &im->initrd_size, err) < 0)
        return -1;
    /* As high as kernels of all ages can see it: below 2 GiB and the end of low RAM. */
    uint64_t top = memory_low_end(vm);
    top = top < 2 * GIB ? top : 2 * GIB;
    if (im->initrd_size > top || top - im->initrd_size < kernel_end + MIB)
        return err_set(err, E_CONFIG,
                       "initrd: %llu MiB do not fit beside the kernel in %llu MiB",
                       (unsigned long long)(im->initrd_size / MIB),
                       (unsigned long long)(c->memory.size / MIB));
    im->initrd = (top - im->initrd_size) & ~(2 * MIB - 1);
    if (im->initrd < kernel_end)
        im->initrd = (top - im->initrd_size) & ~0xfffull;
    if (boot_read(vm, fd, 0, im->initrd, im->initrd_size, err) < 0)
        return err_at(err, "initrd");
    return 0;
}

int boot_load(struct vm *vm, struct err *err)
{
    const struct config *c = vm->config;
    struct boot_entry entry = {0};
    struct boot_images im = {0};
    uint64_t size, end;
    AUTO_FD fd = -1;
    const char *cmdline = c->cmdline ? c->cmdline : "";
    if (open_file(&c->kernel, "kernel", &fd, &size, err) < 0)
        return -1;
    if (strlen(cmdline) >= BOOT_CMDLINE_MAX)
        return err_set(err, E_CONFIG, "cmdline: longer than %d bytes",
                       BOOT_CMDLINE_MAX);
    if (vm_write(vm, BOOT_CMDLINE, cmdline, strlen(cmdline) + 1) < 0)
        return err_set(err, E_CONFIG, "memory: too small to boot");
    bool elf = true;
    int got = boot_elf(vm, fd, size, &entry, &end, err);
    if (got == 0) {
        elf = false;
        got = boot_bzimage(vm, fd, size, &entry, &end, err);
    }
    if (got == 0)
        err_set(err, E_INPUT, "neither an ELF with a PVH note nor a bzImage");
    if (got <= 0)
        return err_at(err, "kernel '%s'",
                      c->kernel.path ? c->kernel.path : "(descriptor)");
    im.rsdp = BOOT_ACPI;
    im.cmdline_size = strlen(cmdline);
    if (load_initrd(vm, end, &im, err) < 0 || acpi_build(vm, err) < 0)
        return -1;
    if ((elf ? boot_elf_info(vm, &im) : boot_bzimage_info(vm, &im)) < 0)
        return err_set(err, E_CONFIG, "memory: too small to boot");
    return set_msrs(vm, err) < 0 ? -1 : set_first_vcpu(vm, &entry, err);
}
