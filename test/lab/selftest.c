/* SPDX-License-Identifier: Apache-2.0 */
/* Is the lab's KVM what the hypervisor's tests need? Tiny guests in long mode do port and
 * memory I/O, halt, start a second CPU, dirty pages and fault on missing ones, in small
 * and huge pages. Speaks TAP; `selftest vfio 0000:00:04.0` instead opens an NVMe disk
 * that is bound to vfio-pci. Run in L1 by test/t3002-lab-kvm.t. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <linux/vfio.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    AT_AP = 0x2000, /* where a SIPI of vector 2 starts */
    AT_GDT = 0x5000,
    AT_IDT = 0x6000,
    AT_WORD = 0x8000, /* a word for guest and host */
    AT_CODE = 0x10000,
    AT_HANDLER = 0x12000,
    AT_PML4 = 0x20000,
    AT_FAR = 0x300000, /* a page nobody touches but the test */
    VECTOR = 0x40,
    PORT_OUT = 0x10,
    PORT_IN = 0x11,
    SMALL = 4 << 20,
    MAX_CPUS = 2,
    LIMIT_S = 120
};
#define AT_DEVICE 0xd0000000u

/* The guests. Each runs at AT_CODE with flat segments and the first 4 GiB mapped, and
 * tells its end by a byte to PORT_OUT. */
#define GUEST(name, code)                                                              \
    asm(".pushsection .rodata\nguest_" name ":\n" code "\nguest_" name                 \
        "_end:\n.popsection\n.code64\n")
#define SAY(byte) "mov $" #byte ", %al\n out %al, $0x10\n 9: hlt\n jmp 9b\n"

GUEST("pio", "in $0x11, %al\n add $1, %al\n out %al, $0x10\n 9: hlt\n jmp 9b\n");
GUEST("mmio", "mov $0xd0000000, %ebx\n movl $0x12345678, 8(%rbx)\n mov 16(%rbx), %eax\n"
              "out %al, $0x10\n 9: hlt\n jmp 9b\n");
GUEST("hlt", "movl $7, 0x8000\n hlt\n" SAY(0x33));
GUEST("irq", "mov $0xfee000f0, %ebx\n movl $0x1ff, (%rbx)\n movl $1, 0x8000\n sti\n"
             "1: hlt\n cmpl $0x5a, 0x8000\n jne 1b\n" SAY(0x5a));
GUEST("handler",
      "movl $0x5a, 0x8000\n mov $0xfee000b0, %ebx\n movl $0, (%rbx)\n iretq\n");
GUEST("smp", "mov $0xfee000f0, %ebx\n movl $0x1ff, (%rbx)\n"
             "mov $0xfee00310, %ebx\n movl $0x01000000, (%rbx)\n"
             "mov $0xfee00300, %ebx\n movl $0x4500, (%rbx)\n movl $0x4602, (%rbx)\n"
             "1: pause\n cmpl $1, 0x8000\n jne 1b\n" SAY(0x11));
GUEST("ap",
      ".code16\n xor %ax, %ax\n mov %ax, %ds\n movw $1, 0x8000\n 1: hlt\n jmp 1b\n");
GUEST("dirty", "movl $1, 0x100000\n movl $1, 0x12c000\n" SAY(0x22));
GUEST("touch", "mov 0x300000, %eax\n out %al, $0x10\n 9: hlt\n jmp 9b\n");
/* Write a word into each 64 KiB from 1 MiB up to %rsi. */
GUEST("fill", "mov $0x100000, %edi\n 1: mov %edi, (%rdi)\n add $0x10000, %rdi\n"
              "cmp %rsi, %rdi\n jb 1b\n" SAY(0x44));
#define CODE(name) extern const uint8_t guest_##name[], guest_##name##_end[]
CODE(pio);
CODE(mmio);
CODE(hlt);
CODE(irq);
CODE(handler);
CODE(smp);
CODE(ap);
CODE(dirty);
CODE(touch);
CODE(fill);

static int kvm;
static char why[256];

static int fail(const char *what)
{
    snprintf(why, sizeof why, "%s: %s", what, strerror(errno));
    return -1;
}

#define EXPECT(cond)                                                                   \
    do {                                                                               \
        if (!(cond)) {                                                                 \
            snprintf(why, sizeof why, "line %d: %s", __LINE__, #cond);                 \
            return -1;                                                                 \
        }                                                                              \
    } while (0)

struct tiny {
    int vm, ncpus, cpu[MAX_CPUS];
    struct kvm_run *run[MAX_CPUS];
    char *mem;
    size_t size;
    volatile bool told; /* the guest has said its word: no more interrupts */
};

static void put(struct tiny *t, uint32_t at, const uint8_t *from, const uint8_t *end)
{
    memcpy(t->mem + at, from, end - from);
}
#define PUT(t, at, name) put(t, at, guest_##name, guest_##name##_end)

static void segment(struct kvm_segment *s, bool code)
{
    *s = (struct kvm_segment){.limit = 0xffffffff,
                              .selector = code ? 8 : 16,
                              .type = code ? 11 : 3,
                              .present = 1,
                              .s = 1,
                              .g = 1,
                              .l = code,
                              .db = !code};
}

static void tables(struct tiny *t)
{
    uint64_t *pml4 = (void *)(t->mem + AT_PML4);
    pml4[0] = (AT_PML4 + 0x1000) | 3;
    for (int i = 0; i < 4; i++)
        pml4[512 + i] = (AT_PML4 + 0x2000 + i * 0x1000) | 3;
    for (uint64_t i = 0; i < 4 * 512; i++)
        pml4[1024 + i] = i << 21 | 0x83;
    uint64_t *gdt = (void *)(t->mem + AT_GDT);
    gdt[1] = 0x00af9b000000ffff;
    gdt[2] = 0x00cf93000000ffff;
    uint64_t *idt = (void *)(t->mem + AT_IDT);
    idt[2 * VECTOR] = (AT_HANDLER & 0xffff) | 8 << 16 | 0x8e00ull << 32 |
                      (uint64_t)(AT_HANDLER >> 16) << 48;
    PUT(t, AT_HANDLER, handler);
    PUT(t, AT_AP, ap);
}

static int set_cpuid(int cpu)
{
    enum { ENTRIES = 256 };
    struct kvm_cpuid2 *ids = calloc(1, sizeof *ids + ENTRIES * sizeof ids->entries[0]);
    if (!ids)
        return fail("memory");
    ids->nent = ENTRIES;
    int r = ioctl(kvm, KVM_GET_SUPPORTED_CPUID, ids);
    if (r == 0)
        r = ioctl(cpu, KVM_SET_CPUID2, ids);
    free(ids);
    return r < 0 ? fail("CPUID") : 0;
}

static int start_state(struct tiny *t)
{
    struct kvm_sregs s;
    if (ioctl(t->cpu[0], KVM_GET_SREGS, &s) < 0)
        return fail("get registers");
    segment(&s.cs, true);
    struct kvm_segment *const data[] = {&s.ds, &s.es, &s.fs, &s.gs, &s.ss};
    for (int i = 0; i < 5; i++)
        segment(data[i], false);
    s.gdt = (struct kvm_dtable){.base = AT_GDT, .limit = 23};
    s.idt = (struct kvm_dtable){.base = AT_IDT, .limit = 4095};
    s.cr0 = 0x80000033;
    s.cr3 = AT_PML4;
    s.cr4 = 0x620;
    s.efer = 0x500;
    struct kvm_regs r = {
        .rip = AT_CODE, .rsp = AT_IDT - 0x800, .rsi = t->size, .rflags = 2};
    if (ioctl(t->cpu[0], KVM_SET_SREGS, &s) < 0 ||
        ioctl(t->cpu[0], KVM_SET_REGS, &r) < 0)
        return fail("set registers");
    return 0;
}

static void tiny_done(struct tiny *t)
{
    for (int i = 0; i < t->ncpus; i++)
        close(t->cpu[i]);
    if (t->vm > 0)
        close(t->vm);
    if (t->mem && t->mem != MAP_FAILED)
        munmap(t->mem, t->size);
}

/* A machine with its memory mapped with map_flags. */
static int tiny_init(struct tiny *t, size_t size, int map_flags, bool irqchip,
                     int ncpus, uint32_t slot_flags)
{
    *t = (struct tiny){.size = size};
    t->mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | map_flags, -1, 0);
    if (t->mem == MAP_FAILED)
        return fail("guest memory");
    if ((t->vm = ioctl(kvm, KVM_CREATE_VM, 0)) < 0)
        return fail("create VM");
    struct kvm_userspace_memory_region slot = {
        .memory_size = size, .userspace_addr = (uintptr_t)t->mem, .flags = slot_flags};
    if (ioctl(t->vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
        return fail("memory slot");
    if (irqchip && ioctl(t->vm, KVM_CREATE_IRQCHIP, 0) < 0)
        return fail("irqchip");
    int run_size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    for (int i = 0; i < ncpus; i++) {
        if ((t->cpu[i] = ioctl(t->vm, KVM_CREATE_VCPU, i)) < 0)
            return fail("create vCPU");
        t->ncpus = i + 1;
        t->run[i] =
            mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, t->cpu[i], 0);
        if (t->run[i] == MAP_FAILED || set_cpuid(t->cpu[i]) < 0)
            return fail("vCPU");
    }
    tables(t);
    return start_state(t);
}

static int run(struct tiny *t, uint32_t reason)
{
    if (ioctl(t->cpu[0], KVM_RUN, 0) < 0)
        return fail("KVM_RUN");
    if (t->run[0]->exit_reason != reason) {
        snprintf(why, sizeof why, "exit reason %u, not %u", t->run[0]->exit_reason,
                 reason);
        return -1;
    }
    return 0;
}

static uint8_t *io_byte(struct tiny *t)
{
    return (uint8_t *)t->run[0] + t->run[0]->io.data_offset;
}

/* Run to the OUT of the given byte. */
static int run_to(struct tiny *t, uint8_t byte)
{
    if (run(t, KVM_EXIT_IO) < 0)
        return -1;
    EXPECT(t->run[0]->io.direction == KVM_EXIT_IO_OUT &&
           t->run[0]->io.port == PORT_OUT);
    EXPECT(*io_byte(t) == byte);
    return 0;
}

/* --- the checks ------------------------------------------------------------------- */
static int check_api(struct tiny *t)
{
    (void)t;
    EXPECT(ioctl(kvm, KVM_GET_API_VERSION, 0) == 12);
    return 0;
}

static int check_pio(struct tiny *t)
{
    if (tiny_init(t, SMALL, 0, false, 1, 0) < 0)
        return -1;
    PUT(t, AT_CODE, pio);
    if (run(t, KVM_EXIT_IO) < 0)
        return -1;
    EXPECT(t->run[0]->io.direction == KVM_EXIT_IO_IN && t->run[0]->io.port == PORT_IN);
    *io_byte(t) = 41;
    return run_to(t, 42);
}

static int check_mmio(struct tiny *t)
{
    if (tiny_init(t, SMALL, 0, false, 1, 0) < 0)
        return -1;
    PUT(t, AT_CODE, mmio);
    struct kvm_run *r = t->run[0];
    uint32_t word;
    if (run(t, KVM_EXIT_MMIO) < 0)
        return -1;
    memcpy(&word, r->mmio.data, 4);
    EXPECT(r->mmio.is_write && r->mmio.phys_addr == AT_DEVICE + 8 && r->mmio.len == 4);
    EXPECT(word == 0x12345678);
    if (run(t, KVM_EXIT_MMIO) < 0)
        return -1;
    EXPECT(!r->mmio.is_write && r->mmio.phys_addr == AT_DEVICE + 16);
    memcpy(r->mmio.data, &(uint32_t){0x99}, 4);
    return run_to(t, 0x99);
}

static int check_hlt(struct tiny *t)
{
    if (tiny_init(t, SMALL, 0, false, 1, 0) < 0)
        return -1;
    PUT(t, AT_CODE, hlt);
    if (run(t, KVM_EXIT_HLT) < 0)
        return -1;
    EXPECT(*(uint32_t *)(t->mem + AT_WORD) == 7);
    return run_to(t, 0x33);
}

/* Not before the guest's local APIC is on, or the interrupt is lost; and again until it
 * came: the emulated CPU forgets STI's shadow over an exit, so that one may be taken just
 * before the HLT that it should end. */
static void *send_irq(void *arg)
{
    struct tiny *t = arg;
    struct kvm_msi msi = {.address_lo = 0xfee00000, .data = VECTOR};
    volatile uint32_t *word = (uint32_t *)(t->mem + AT_WORD);
    while (*word == 0 && !t->told)
        usleep(10000);
    for (int i = 0; i < LIMIT_S && !t->told; i++) {
        usleep(i ? 1000000 : 100000);
        ioctl(t->vm, KVM_SIGNAL_MSI, &msi);
    }
    return NULL;
}

/* With the irqchip in the kernel HLT does not come back; an interrupt ends it. */
static int check_hlt_irqchip(struct tiny *t)
{
    pthread_t sender;
    if (tiny_init(t, SMALL, 0, true, 1, 0) < 0)
        return -1;
    PUT(t, AT_CODE, irq);
    if (pthread_create(&sender, NULL, send_irq, t) != 0)
        return fail("thread");
    int r = run_to(t, 0x5a);
    t->told = true;
    pthread_join(sender, NULL);
    return r;
}

static void on_kick(int sig)
{
    (void)sig;
}

static void *run_ap(void *arg)
{
    struct tiny *t = arg;
    /* EAGAIN: it was started; EINTR: the test is over. */
    while (ioctl(t->cpu[1], KVM_RUN, 0) < 0 && errno == EAGAIN)
        ;
    return NULL;
}

static int check_smp(struct tiny *t)
{
    pthread_t ap;
    if (tiny_init(t, SMALL, 0, true, 2, 0) < 0)
        return -1;
    PUT(t, AT_CODE, smp);
    if (pthread_create(&ap, NULL, run_ap, t) != 0)
        return fail("thread");
    int r = run_to(t, 0x11);
    /* The kick may come before the thread is in the kernel: set its flag as well. */
    t->run[1]->immediate_exit = 1;
    pthread_kill(ap, SIGUSR1);
    pthread_join(ap, NULL);
    return r;
}

static int check_dirty_log(struct tiny *t)
{
    if (tiny_init(t, SMALL, 0, false, 1, KVM_MEM_LOG_DIRTY_PAGES) < 0)
        return -1;
    PUT(t, AT_CODE, dirty);
    if (run_to(t, 0x22) < 0)
        return -1;
    uint64_t bits[SMALL / 4096 / 64] = {0};
    struct kvm_dirty_log log = {.dirty_bitmap = bits};
    if (ioctl(t->vm, KVM_GET_DIRTY_LOG, &log) < 0)
        return fail("dirty log");
    int dirty = 0;
    for (uint32_t page = 0x100; page < SMALL / 4096; page++)
        dirty += bits[page / 64] >> page % 64 & 1;
    EXPECT(bits[0x100 / 64] >> (0x100 % 64) & 1);
    EXPECT(bits[0x12c / 64] >> (0x12c % 64) & 1);
    EXPECT(dirty == 2);
    return 0;
}

struct fault {
    int fd;
    char *page;
    bool served;
};

static void *serve_fault(void *arg)
{
    struct fault *f = arg;
    static char page[4096] __attribute__((aligned(4096)));
    struct uffd_msg msg;
    struct pollfd p = {.fd = f->fd, .events = POLLIN};
    if (poll(&p, 1, LIMIT_S * 1000) != 1 ||
        read(f->fd, &msg, sizeof msg) != sizeof msg ||
        msg.event != UFFD_EVENT_PAGEFAULT ||
        (msg.arg.pagefault.address & ~4095ull) != (uintptr_t)f->page)
        return NULL;
    page[0] = 0x77;
    struct uffdio_copy copy = {
        .dst = (uintptr_t)f->page, .src = (uintptr_t)page, .len = 4096};
    f->served = ioctl(f->fd, UFFDIO_COPY, &copy) == 0;
    return NULL;
}

static int check_userfaultfd(struct tiny *t)
{
    pthread_t server;
    if (tiny_init(t, SMALL, 0, false, 1, 0) < 0)
        return -1;
    PUT(t, AT_CODE, touch);
    struct fault f = {.page = t->mem + AT_FAR};
    f.fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    struct uffdio_api api = {.api = UFFD_API};
    struct uffdio_register reg = {.range = {(uintptr_t)f.page, 4096},
                                  .mode = UFFDIO_REGISTER_MODE_MISSING};
    if (f.fd < 0 || ioctl(f.fd, UFFDIO_API, &api) < 0 ||
        ioctl(f.fd, UFFDIO_REGISTER, &reg) < 0)
        return fail("userfaultfd");
    if (pthread_create(&server, NULL, serve_fault, &f) != 0)
        return fail("thread");
    int r = run_to(t, 0x77);
    pthread_join(server, NULL);
    close(f.fd);
    EXPECT(r < 0 || f.served);
    return r;
}

static int fill_huge(struct tiny *t, size_t size, int shift)
{
    if (tiny_init(t, size, MAP_HUGETLB | shift << MAP_HUGE_SHIFT, false, 1, 0) < 0)
        return -1;
    PUT(t, AT_CODE, fill);
    if (run_to(t, 0x44) < 0)
        return -1;
    for (size_t at = 0x100000; at < size; at += 0x10000)
        EXPECT(*(uint32_t *)(t->mem + at) == (uint32_t)at);
    return 0;
}

static int check_2m_pages(struct tiny *t)
{
    return fill_huge(t, 32 << 20, 21);
}

static int check_1g_pages(struct tiny *t)
{
    return fill_huge(t, 1 << 30, 30);
}

/* --- an NVMe disk by VFIO ---------------------------------------------------------- */
static int check_vfio(const char *address)
{
    char link[256] = {0}, path[128];
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/iommu_group", address);
    if (readlink(path, link, sizeof link - 1) < 0)
        return fail(path);
    const char *number = strrchr(link, '/');
    EXPECT(number);
    snprintf(path, sizeof path, "/dev/vfio%s", number);
    int box = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
    int group = open(path, O_RDWR | O_CLOEXEC);
    if (box < 0 || group < 0)
        return fail(path);
    struct vfio_group_status status = {.argsz = sizeof status};
    if (ioctl(group, VFIO_GROUP_GET_STATUS, &status) < 0)
        return fail("group status");
    EXPECT(status.flags & VFIO_GROUP_FLAGS_VIABLE);
    if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &box) < 0 ||
        ioctl(box, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
        return fail("IOMMU");
    void *mem =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct vfio_iommu_type1_dma_map map = {.argsz = sizeof map,
                                           .flags = VFIO_DMA_MAP_FLAG_READ |
                                                    VFIO_DMA_MAP_FLAG_WRITE,
                                           .vaddr = (uintptr_t)mem,
                                           .iova = 0x100000,
                                           .size = 4096};
    if (ioctl(box, VFIO_IOMMU_MAP_DMA, &map) < 0)
        return fail("map for DMA");
    int device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, address);
    if (device < 0)
        return fail("device");
    struct vfio_region_info bar = {.argsz = sizeof bar,
                                   .index = VFIO_PCI_BAR0_REGION_INDEX};
    uint32_t version = 0;
    if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &bar) < 0 ||
        pread(device, &version, 4, bar.offset + 8) != 4)
        return fail("BAR 0");
    /* NVMe's version register: major, minor, tertiary. */
    EXPECT(version >> 16 >= 1 && version >> 16 < 4);
    return 0;
}

static const struct {
    const char *name;
    int (*check)(struct tiny *t);
} checks[] = {
    {"api", check_api},
    {"pio", check_pio},
    {"mmio", check_mmio},
    {"hlt", check_hlt},
    {"hlt-irqchip", check_hlt_irqchip},
    {"smp", check_smp},
    {"dirty-log", check_dirty_log},
    {"userfaultfd", check_userfaultfd},
    {"2m-pages", check_2m_pages},
    {"1g-pages", check_1g_pages},
};

static int report(int number, const char *name, int r)
{
    if (r < 0)
        printf("# %s\n", why);
    printf("%sok %d - %s\n", r < 0 ? "not " : "", number, name);
    fflush(stdout);
    return r < 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "vfio")) {
        printf("1..1\n");
        return report(1, "vfio", check_vfio(argv[2]));
    }
    int count = sizeof checks / sizeof *checks, bad = 0;
    struct sigaction kick = {.sa_handler = on_kick};
    sigaction(SIGUSR1, &kick, NULL);
    alarm(LIMIT_S);
    kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    printf("1..%d\n", count);
    for (int i = 0; i < count; i++) {
        struct tiny t = {0};
        bad += report(i + 1, checks[i].name,
                      kvm < 0 ? fail("/dev/kvm") : checks[i].check(&t));
        tiny_done(&t);
    }
    return bad > 0;
}
