/* SPDX-License-Identifier: Apache-2.0 */
/* What this machine is and can do. node_facts_probe() looks, each probe in a child of
 * its own with a common deadline, so that nothing that hangs (a device, libvirtd) can
 * hold the caller; node_judge() says what the facts mean, and only computes. */
#pragma once
#include "base/err.h"
#include "base/own.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    NODE_NUMA_MAX = 64,
    NODE_POOLS_MAX = 3,
    NODE_LINES_MAX = 96,
    NODE_PROBE_MS = 2500 /* a good deadline */
};

/* What a tiny guest found /dev/kvm to be. */
enum node_kvm_kind {
    NODE_KVM_NONE,     /* absent, closed to us, or nothing runs */
    NODE_KVM_SOFTWARE, /* ring 0 is interpreted: no use for a Linux guest */
    NODE_KVM_REAL
};

struct node_machine {
    char hostname[65];
    char kernel[65];
    char cpu_vendor[16]; /* "AuthenticAMD" */
    char cpu_model[64];
    int cpus; /* online */
    uint64_t memory_bytes, available_bytes;
    bool root; /* we run as root */
};

struct node_kvm {
    bool present, usable; /* /dev/kvm exists; can be opened by us */
    enum node_kvm_kind kind;
    int api;
    char module[24];    /* "kvm_amd", "kvm_intel", "kvm_pvm", ... */
    bool nested_paging; /* NPT, EPT */
    int loop_percent;   /* time of a ring-0 loop, the host's being 100 */
    char problem[160];  /* what went wrong, "" if nothing */
};

struct node_pool { /* huge pages of one size */
    uint64_t page_bytes, total, free;
};

struct node_numa {
    int id;
    char cpus[128]; /* "0-15,32-47" */
    uint64_t memory_bytes, free_bytes;
    int npools;
    struct node_pool pools[NODE_POOLS_MAX];
};

struct node_memory {
    int count;
    struct node_numa numa[NODE_NUMA_MAX];
};

struct node_devices {
    int iommu_groups;
    bool vfio, vhost_net, vhost_vsock, tun; /* the device can be opened */
};

struct node_cgroup {
    int version;           /* 0 none, 1 (also hybrid), 2 */
    bool delegated;        /* we may make groups where we are */
    char controllers[160]; /* "cpu memory ..." */
};

struct node_libvirt {
    bool installed, reachable; /* its socket exists; the daemon answers on it */
    char socket[108];
    char problem[120];
};

struct node_qemu {
    char path[128]; /* "" if there is none */
    char version[32];
    bool kvm, tcg;
};

struct node_slurm {
    char version[32]; /* "" if there is none */
};

struct node_munge {
    char version[32];
    bool running;
};

struct node_sshd {
    bool installed, listening; /* on port 22 */
    char version[64];
};

/* One entry a probe: enum name, member of struct node_facts, name in JSON. */
#define NODE_PROBES(X)                                                                 \
    X(MACHINE, machine)                                                                \
    X(KVM, kvm)                                                                        \
    X(MEMORY, memory)                                                                  \
    X(DEVICES, devices)                                                                \
    X(CGROUP, cgroup)                                                                  \
    X(LIBVIRT, libvirt)                                                                \
    X(QEMU, qemu)                                                                      \
    X(SLURM, slurm)                                                                    \
    X(MUNGE, munge)                                                                    \
    X(SSHD, sshd)

enum node_probe {
#define X(name, member) NODE_PROBE_##name,
    NODE_PROBES(X)
#undef X
        NODE_PROBE_COUNT
};

struct node_facts {
#define X(name, member) struct node_##member member;
    NODE_PROBES(X)
#undef X
    /* false: the probe did not end in time or crashed; its member is all zeros. */
    bool answered[NODE_PROBE_COUNT];
};

/* Look at this machine for at most timeout_ms (NODE_PROBE_MS). What does not answer is
 * marked so and is no error. *out is the caller's, for node_facts_free(). */
int node_facts_probe(int timeout_ms, struct node_facts **out, struct err *err);
/* Only some of it: a mask of 1 << NODE_PROBE_x. */
int node_facts_probe_some(unsigned mask, int timeout_ms, struct node_facts **out,
                          struct err *err);
void node_facts_free(struct node_facts *facts);
OWN_DEFINE(node_facts)

/* {"machine": {...}, "kvm": {...}, ..., "unanswered": ["libvirt"]}; strict both ways.
 */
json_t *node_facts_to_json(const struct node_facts *facts); /* NULL without memory */
int node_facts_from_json(const json_t *from, struct node_facts **out, struct err *err);

const char *node_kvm_kind_name(
    enum node_kvm_kind kind); /* "none", "software", "real" */

enum node_grade { NODE_OK, NODE_WARN, NODE_FAIL };
const char *node_grade_name(enum node_grade grade);

struct node_line {
    char fact[24]; /* "kvm", "hugepages", ... */
    enum node_grade grade;
    char text[240];   /* what is */
    char advice[240]; /* the way out; "" when ok */
};
/* What the facts mean, at most max lines; the number of lines. Fails only what keeps
 * every type of machine from running, or is broken. */
int node_judge(const struct node_facts *facts, struct node_line *lines, int max);

/* The types that can boot here: a Linux guest under KVM; QEMU without it; LXC. */
bool node_can_kvm(const struct node_facts *facts);
