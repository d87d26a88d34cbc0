/* SPDX-License-Identifier: Apache-2.0 */
/* node_facts_probe(): a child a probe, each with its member in memory shared with us. A
 * child that is not done at the deadline is killed and not waited for any longer. */
#include "node/node.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "node/kvm_guest.h"
#include "node/probe.h"

/* The member's place is all that differs; each wrapper keeps the types honest. */
#define X(name, member)                                                                \
    static void run_##member(struct node_facts *f)                                     \
    {                                                                                  \
        node_##member##_probe(&f->member);                                             \
    }
NODE_PROBES(X)
#undef X

static const struct {
    void (*run)(struct node_facts *shared);
    size_t offset, size;
} probes[NODE_PROBE_COUNT] = {
#define X(name, member)                                                                \
    {run_##member, offsetof(struct node_facts, member), sizeof(struct node_##member)},
    NODE_PROBES(X)
#undef X
};

struct child {
    pid_t pid; /* 0: none, or done */
    int pidfd;
};

static void child_main(int probe, pid_t parent, struct node_facts *shared)
{
    sigset_t none;
    sigemptyset(&none);
    for (int s = 1; s < NSIG; s++)
        if (s != SIGKILL && s != SIGSTOP)
            signal(s, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent)
        probes[probe].run(shared);
    _exit(0);
}

static int start(int probe, struct node_facts *shared, struct child *c, struct err *err)
{
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        return err_sys(err, "fork");
    if (pid == 0)
        child_main(probe, parent, shared);
    c->pid = pid;
    c->pidfd = syscall(SYS_pidfd_open, pid, 0);
    return c->pidfd < 0 ? err_sys(err, "pidfd") : 0;
}

/* True if the child ended by itself, as it should. */
static bool reap(struct child *c, int flags, bool *gone)
{
    siginfo_t info = {0};
    *gone = waitid(P_PID, c->pid, &info, WEXITED | flags) < 0 || info.si_pid == c->pid;
    if (*gone)
        c->pid = 0;
    return info.si_code == CLD_EXITED && info.si_status == 0;
}

/* Wait for those that answer until the deadline. */
static void wait_all(struct child *c, uint64_t end, const struct node_facts *shared,
                     struct node_facts *facts)
{
    for (;;) {
        struct pollfd p[NODE_PROBE_COUNT];
        int left = 0;
        for (int i = 0; i < NODE_PROBE_COUNT; i++) {
            p[i] = (struct pollfd){.fd = c[i].pid ? c[i].pidfd : -1, .events = POLLIN};
            left += c[i].pid != 0;
        }
        int64_t ms = (int64_t)(end - clock_ms());
        if (left == 0 || ms <= 0 ||
            (poll(p, NODE_PROBE_COUNT, ms) < 0 && errno != EINTR))
            return;
        for (int i = 0; i < NODE_PROBE_COUNT; i++) {
            bool gone = false;
            if (!c[i].pid || !p[i].revents || !reap(&c[i], WNOHANG, &gone))
                continue;
            facts->answered[i] = true;
            memcpy((char *)facts + probes[i].offset,
                   (const char *)shared + probes[i].offset, probes[i].size);
        }
    }
}

/* End the rest. One that sits in the kernel and cannot die now is left to init. */
static void end_all(struct child *c)
{
    enum { TRIES = 20, PAUSE_US = 5000 };
    for (int i = 0; i < NODE_PROBE_COUNT; i++)
        if (c[i].pid)
            kill(c[i].pid, SIGKILL);
    for (int i = 0; i < NODE_PROBE_COUNT; i++) {
        bool gone = false;
        for (int n = 0; c[i].pid && n < TRIES; n++) {
            reap(&c[i], WNOHANG, &gone);
            if (!gone)
                usleep(PAUSE_US);
        }
        if (c[i].pidfd >= 0)
            close(c[i].pidfd);
    }
}

int node_facts_probe_some(unsigned mask, int timeout_ms, struct node_facts **out,
                          struct err *err)
{
    uint64_t end = clock_ms() + (timeout_ms > 0 ? timeout_ms : 0);
    AUTO(node_facts) facts = calloc(1, sizeof *facts);
    if (!facts)
        return err_oom(err);
    struct node_facts *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return err_sys(err, "memory for probes");
    struct child children[NODE_PROBE_COUNT];
    for (int i = 0; i < NODE_PROBE_COUNT; i++)
        children[i] = (struct child){.pidfd = -1};
    int r = 0;
    for (int i = 0; i < NODE_PROBE_COUNT && r == 0; i++)
        if (mask & 1u << i)
            r = start(i, shared, &children[i], err);
    if (r == 0)
        wait_all(children, end, shared, facts);
    end_all(children);
    munmap(shared, sizeof *shared);
    if (r == 0)
        *out = move(facts);
    return r;
}

int node_facts_probe(int timeout_ms, struct node_facts **out, struct err *err)
{
    return node_facts_probe_some((1u << NODE_PROBE_COUNT) - 1, timeout_ms, out, err);
}

void node_facts_free(struct node_facts *facts)
{
    free(facts);
}
