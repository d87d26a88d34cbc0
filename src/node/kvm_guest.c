/* SPDX-License-Identifier: Apache-2.0 */
/* /dev/kvm: is it there, is it open to us, and is it real? Flags do not tell: a
 * software KVM offers every capability. So a guest of a few instructions runs in long
 * mode at ring 0 what every Linux kernel runs (SSE, cmpxchg16b) and a loop that is
 * timed against the same loop on the host. Called by node_facts_probe(), in a child
 * that may be killed. */
#include "node/kvm_guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/own.h"

enum {
    MEM_SIZE = 2 << 20,
    AT_PML4 = 0x1000,
    AT_PDPT = 0x2000,
    AT_PD = 0x3000,
    AT_BOARD = 0x8000,
    AT_CODE = 0x10000,
    DONE_PORT = 0xf4,
    LOOPS = 200000,
    ROUNDS = 3,
    GUEST_MS = 700,    /* the guest is given up after so long, as often as it runs */
    SOFT_PERCENT = 800 /* a loop that takes eight times the host's is interpreted */
};

/* What guest and host share, at AT_BOARD; offsets are known to the assembly below. */
struct board {
    uint32_t stage;              /* 0x00: how far the guest came */
    uint32_t swapped;            /* 0x04: cmpxchg16b did its exchange */
    uint32_t loops;              /* 0x08 */
    uint32_t pad;                /* */
    uint64_t tsc[2];             /* 0x10: before and after the loop */
    uint32_t a[4], b[4], sum[4]; /* 0x20, 0x30, 0x40 */
    uint64_t wide[2] __attribute__((aligned(16))); /* 0x50 */
};

/* Position independent; %rdi is the board. */
asm(".pushsection .rodata\n"
    "node_guest_start:\n"
    "    movl $1, 0x00(%rdi)\n"
    "    movdqa 0x20(%rdi), %xmm0\n"
    "    paddd 0x30(%rdi), %xmm0\n"
    "    movdqa %xmm0, 0x40(%rdi)\n"
    "    movl $2, 0x00(%rdi)\n"
    "    movq $1, %rax\n"
    "    movq $2, %rdx\n"
    "    movq $3, %rbx\n"
    "    movq $4, %rcx\n"
    "    lock cmpxchg16b 0x50(%rdi)\n"
    "    sete 0x04(%rdi)\n"
    "    movl $3, 0x00(%rdi)\n"
    "    rdtsc\n"
    "    movl %eax, 0x10(%rdi)\n"
    "    movl %edx, 0x14(%rdi)\n"
    "    movl 0x08(%rdi), %ecx\n"
    "1:  decl %ecx\n"
    "    jnz 1b\n"
    "    rdtsc\n"
    "    movl %eax, 0x18(%rdi)\n"
    "    movl %edx, 0x1c(%rdi)\n"
    "    movl $4, 0x00(%rdi)\n"
    "    outb %al, $0xf4\n"
    "2:  hlt\n"
    "    jmp 2b\n"
    "node_guest_end:\n"
    ".popsection\n");
extern const unsigned char node_guest_start[], node_guest_end[];

static const char *const stages[] = {"its first instruction", "SSE", "cmpxchg16b",
                                     "a loop", "the end"};

static uint64_t thread_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static uint64_t host_loop_ns(void)
{
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t start = thread_ns();
        uint32_t n = LOOPS;
        asm volatile("1: decl %0\n jnz 1b" : "+r"(n) : : "cc");
        uint64_t took = thread_ns() - start;
        best = took < best ? took : best;
    }
    return best ? best : 1;
}

static void set_segment(struct kvm_segment *s, bool code)
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

static int set_registers(int vcpu)
{
    struct kvm_sregs s;
    if (ioctl(vcpu, KVM_GET_SREGS, &s) < 0)
        return -1;
    set_segment(&s.cs, true);
    struct kvm_segment *const data[] = {&s.ds, &s.es, &s.fs, &s.gs, &s.ss};
    for (size_t i = 0; i < sizeof data / sizeof *data; i++)
        set_segment(data[i], false);
    s.cr0 = 0x80000033; /* PG NE ET MP PE */
    s.cr3 = AT_PML4;
    s.cr4 = 0x620; /* PAE OSFXSR OSXMMEXCPT */
    s.efer = 0x500;
    struct kvm_regs r = {.rip = AT_CODE, .rdi = AT_BOARD, .rsp = AT_BOARD, .rflags = 2};
    return ioctl(vcpu, KVM_SET_SREGS, &s) < 0 || ioctl(vcpu, KVM_SET_REGS, &r) < 0 ? -1
                                                                                   : 0;
}

static int set_cpuid(int kvm, int vcpu)
{
    enum { ENTRIES = 256 };
    AUTO_STR raw = calloc(1, sizeof(struct kvm_cpuid2) +
                                 ENTRIES * sizeof(struct kvm_cpuid_entry2));
    struct kvm_cpuid2 *ids = (void *)raw;
    if (!ids)
        return -1;
    ids->nent = ENTRIES;
    return ioctl(kvm, KVM_GET_SUPPORTED_CPUID, ids) < 0 ||
                   ioctl(vcpu, KVM_SET_CPUID2, ids) < 0
               ? -1
               : 0;
}

static void write_memory(char *mem)
{
    memset(mem, 0, AT_CODE);
    memcpy(mem + AT_PML4, &(uint64_t){AT_PDPT | 3}, 8);
    memcpy(mem + AT_PDPT, &(uint64_t){AT_PD | 3}, 8);
    memcpy(mem + AT_PD, &(uint64_t){0x83}, 8); /* the first 2 MiB, at their place */
    struct board b = {
        .loops = LOOPS, .a = {1, 2, 3, 4}, .b = {10, 20, 30, 40}, .wide = {1, 2}};
    memcpy(mem + AT_BOARD, &b, sizeof b);
    memcpy(mem + AT_CODE, node_guest_start, node_guest_end - node_guest_start);
}

static void on_alarm(int sig)
{
    (void)sig;
}

struct guest {
    int vm, vcpu;
    char *mem;
    struct kvm_run *run;
};

static void guest_done(struct guest *g)
{
    if (g->mem != MAP_FAILED)
        munmap(g->mem, MEM_SIZE);
    if (g->vcpu >= 0)
        close(g->vcpu);
    if (g->vm >= 0)
        close(g->vm);
}

static int guest_init(int kvm, struct guest *g)
{
    *g = (struct guest){.vcpu = -1, .run = MAP_FAILED};
    g->mem = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                  -1, 0);
    g->vm = ioctl(kvm, KVM_CREATE_VM, 0);
    if (g->mem == MAP_FAILED || g->vm < 0)
        return -1;
    struct kvm_userspace_memory_region slot = {.memory_size = MEM_SIZE,
                                               .userspace_addr = (uintptr_t)g->mem};
    if (ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0 ||
        (g->vcpu = ioctl(g->vm, KVM_CREATE_VCPU, 0)) < 0)
        return -1;
    int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (size < (int)sizeof *g->run)
        return -1;
    g->run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, g->vcpu, 0);
    return g->run == MAP_FAILED ? -1 : set_cpuid(kvm, g->vcpu);
}

/* Run the guest from its start to its OUT; how long that took. */
static int run_once(struct guest *g, struct node_kvm *k, uint64_t *ns)
{
    write_memory(g->mem);
    const struct board *b = (void *)(g->mem + AT_BOARD);
    if (set_registers(g->vcpu) < 0) {
        snprintf(k->problem, sizeof k->problem, "cannot set a vCPU's registers: %s",
                 strerror(errno));
        return -1;
    }
    struct itimerval on = {.it_value = {.tv_usec = GUEST_MS * 1000}}, off = {0};
    setitimer(ITIMER_REAL, &on, NULL);
    uint64_t start = thread_ns();
    int r = ioctl(g->vcpu, KVM_RUN, 0), why = errno;
    *ns = thread_ns() - start;
    setitimer(ITIMER_REAL, &off, NULL);
    if (r == 0 && g->run->exit_reason == KVM_EXIT_IO && g->run->io.port == DONE_PORT)
        return 0;
    const char *at = stages[b->stage < 4 ? b->stage : 4];
    if (r < 0 && why == EINTR)
        snprintf(k->problem, sizeof k->problem, "a guest did not end in %d ms, at %s",
                 GUEST_MS, at);
    else if (r < 0)
        snprintf(k->problem, sizeof k->problem, "a guest does not run: %s",
                 strerror(why));
    else
        snprintf(k->problem, sizeof k->problem,
                 "a guest at ring 0 fails at %s (exit reason %u)", at,
                 g->run->exit_reason);
    return -1;
}

static int check_results(const struct board *b, struct node_kvm *k)
{
    static const uint32_t want[4] = {11, 22, 33, 44};
    const char *wrong = memcmp(b->sum, want, sizeof want) ? "SSE"
                        : !b->swapped || b->wide[0] != 3 || b->wide[1] != 4
                            ? "cmpxchg16b"
                        : b->tsc[1] <= b->tsc[0] ? "the TSC"
                                                 : NULL;
    if (!wrong)
        return 0;
    snprintf(k->problem, sizeof k->problem, "a guest gets wrong results from %s",
             wrong);
    return -1;
}

static void try_guest(int kvm, struct node_kvm *k)
{
    struct guest g;
    if (guest_init(kvm, &g) < 0) {
        snprintf(k->problem, sizeof k->problem, "cannot make a machine: %s",
                 strerror(errno));
        guest_done(&g);
        return;
    }
    /* It makes guests; what they are worth is to be seen. */
    k->kind = NODE_KVM_SOFTWARE;
    uint64_t best = UINT64_MAX;
    int r = 0;
    for (int i = 0; i < ROUNDS && r == 0; i++) {
        uint64_t ns = 0;
        r = run_once(&g, k, &ns);
        if (r == 0)
            r = check_results((void *)(g.mem + AT_BOARD), k);
        best = ns < best ? ns : best;
    }
    guest_done(&g);
    if (r < 0)
        return;
    uint64_t percent = best * 100 / host_loop_ns();
    k->loop_percent = percent < 1000000 ? (int)percent : 1000000;
    if (k->loop_percent < SOFT_PERCENT)
        k->kind = NODE_KVM_REAL;
    else
        snprintf(k->problem, sizeof k->problem, "ring 0 runs %d times slower than here",
                 k->loop_percent / 100);
}

/* Which module serves /dev/kvm, and whether it translates the guest's pages itself. */
static void find_module(struct node_kvm *k)
{
    static const struct {
        const char *module, *nested;
    } rows[] = {{"kvm_amd", "/sys/module/kvm_amd/parameters/npt"},
                {"kvm_intel", "/sys/module/kvm_intel/parameters/ept"},
                {"kvm_pvm", NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[64];
        snprintf(path, sizeof path, "/sys/module/%s", rows[i].module);
        if (access(path, F_OK) < 0)
            continue;
        snprintf(k->module, sizeof k->module, "%s", rows[i].module);
        AUTO_STR value = NULL;
        if (rows[i].nested && fd_read_file(rows[i].nested, 16, &value, NULL, NULL) == 0)
            k->nested_paging = *value == 'Y' || *value == '1';
        return;
    }
}

void node_kvm_probe(struct node_kvm *k)
{
    k->present = access("/dev/kvm", F_OK) == 0;
    find_module(k);
    if (!k->present)
        return;
    AUTO_FD kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0) {
        snprintf(k->problem, sizeof k->problem, "%s", strerror(errno));
        return;
    }
    k->api = ioctl(kvm, KVM_GET_API_VERSION, 0);
    if (k->api != KVM_API_VERSION) {
        snprintf(k->problem, sizeof k->problem, "API version %d, not %d", k->api,
                 KVM_API_VERSION);
        return;
    }
    k->usable = true;
    struct sigaction sa = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &sa, NULL);
    try_guest(kvm, k);
}
