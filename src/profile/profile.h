/* SPDX-License-Identifier: Apache-2.0 */
/* The resolved profile: what one machine is, with every default filled in. It is made
 * from XML (xml.h) or from its JSON form, which rides in tickets and in vm.deploy.
 *
 * One table (fields.c) names each field with its kind, bounds, default and help; the
 * JSON codec, `lodge profile show --resolved` and the tests walk it. */
#pragma once
#include "base/err.h"
#include "base/own.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Enums: value, its word in JSON (and, in any case of letters, in XML). */
#define PROFILE_TYPES(X)                                                               \
    X(PROFILE_AUTO, "auto")     /* the best the node can do */                         \
    X(PROFILE_HPC, "hpc")       /* lodge-vmm */                                        \
    X(PROFILE_KVM, "kvm")       /* QEMU with acceleration, by libvirt */               \
    X(PROFILE_QEMU, "qemu")     /* QEMU without */                                     \
    X(PROFILE_XEN, "xen")       /* paravirtual */                                      \
    X(PROFILE_XENHVM, "xenhvm") /* full virtualization */                              \
    X(PROFILE_LXC, "lxc")       /* container */                                        \
    X(PROFILE_FAKE, "fake")     /* none at all: tests, dry runs */                     \
    X(PROFILE_VMWARE, "vmware") /* V3M knew it; refused by profile_check() */
#define PROFILE_NUMA_POLICIES(X)                                                       \
    X(PROFILE_NUMA_NONE, "none")     /* as the host likes */                           \
    X(PROFILE_NUMA_BIND, "bind")     /* only numa_nodes (empty: agent's choice) */     \
    X(PROFILE_NUMA_PREFER, "prefer") /* these first */                                 \
    X(PROFILE_NUMA_INTERLEAVE, "interleave") /* page by page over them */              \
    X(PROFILE_NUMA_MIRROR, "mirror")         /* a guest node for each host node */
#define PROFILE_NIC_TYPES(X)                                                           \
    X(PROFILE_NIC_USER, "user")       /* outgoing only, no privilege */                \
    X(PROFILE_NIC_TAP, "tap")         /* V3M TUN/TAP */                                \
    X(PROFILE_NIC_TAP_NAT, "tap-nat") /* V3M TUN/TAP+NAT */                            \
    X(PROFILE_NIC_VLAN, "vlan")       /* V3M VLAN; option: its number */               \
    X(PROFILE_NIC_BRIDGED_TAP,                                                         \
      "bridged-tap")                    /* V3M BRIDGED_TAP; option: the bridge */      \
    X(PROFILE_NIC_ISOLATED, "isolated") /* a network of this group only */             \
    X(PROFILE_NIC_NONE, "none")         /* present in the profile, not plugged */
#define PROFILE_DISK_FORMATS(X)                                                        \
    X(PROFILE_DISK_RAW, "raw")                                                         \
    X(PROFILE_DISK_QCOW2, "qcow2")
#define PROFILE_CONSOLES(X)                                                            \
    X(PROFILE_CONSOLE_AUTO, "auto")     /* what the type does best */                  \
    X(PROFILE_CONSOLE_VIRTIO, "virtio") /* hvc0 */                                     \
    X(PROFILE_CONSOLE_SERIAL, "serial") /* ttyS0 */                                    \
    X(PROFILE_CONSOLE_NONE, "none")
#define PROFILE_CHECKPOINTS(X)                                                         \
    X(PROFILE_CHECKPOINT_NONE, "none")       /* never */                               \
    X(PROFILE_CHECKPOINT_MANUAL, "manual")   /* when asked */                          \
    X(PROFILE_CHECKPOINT_REQUEUE, "requeue") /* when preempted or requeued */          \
    X(PROFILE_CHECKPOINT_PERIODIC,                                                     \
      "periodic") /* every checkpoint_ms, and the others  \
                                                */
#define PROFILE_CKPT_SHARES(X)                                                         \
    X(PROFILE_CKPT_SHARES_REFUSE, "refuse") /* no checkpoint of one with shares */     \
    X(PROFILE_CKPT_SHARES_REMOUNT,                                                     \
      "remount") /* unmounted before the cut, mounted after it and after a restore */
#define PROFILE_ON_FAILURES(X)                                                         \
    X(PROFILE_ON_FAILURE_STOP, "stop") /* the VM is lost */                            \
    X(PROFILE_ON_FAILURE_RESTART,                                                      \
      "restart") /* from the last checkpoint, else afresh */                           \
    X(PROFILE_ON_FAILURE_MIGRATE, "migrate") /* away before it fails, else restart */

#define X(value, word) value,
enum profile_type { PROFILE_TYPES(X) PROFILE_TYPE_COUNT };
enum profile_numa { PROFILE_NUMA_POLICIES(X) PROFILE_NUMA_COUNT };
enum profile_nic_type { PROFILE_NIC_TYPES(X) PROFILE_NIC_TYPE_COUNT };
enum profile_disk_format { PROFILE_DISK_FORMATS(X) PROFILE_DISK_FORMAT_COUNT };
enum profile_console { PROFILE_CONSOLES(X) PROFILE_CONSOLE_COUNT };
enum profile_checkpoint { PROFILE_CHECKPOINTS(X) PROFILE_CHECKPOINT_COUNT };
enum profile_ckpt_shares { PROFILE_CKPT_SHARES(X) PROFILE_CKPT_SHARES_COUNT };
enum profile_on_failure { PROFILE_ON_FAILURES(X) PROFILE_ON_FAILURE_COUNT };
#undef X

/* Words of the enums above, each list ends with NULL. */
extern const char *const profile_type_names[];
extern const char *const profile_numa_names[];
extern const char *const profile_nic_type_names[];
extern const char *const profile_disk_format_names[];
extern const char *const profile_console_names[];
extern const char *const profile_checkpoint_names[];
extern const char *const profile_ckpt_shares_names[];
extern const char *const profile_on_failure_names[];
/* The index of word in such a list, letters in any case; -1 if it is not there. */
int profile_word(const char *const *names, const char *word);

struct profile_u32s {
    uint32_t *at;
    size_t count;
};
struct profile_strs {
    char **at;
    size_t count;
};

struct profile_disk {
    char *id;   /* the guest finds it by this virtio-blk serial, or V3M's hda.. */
    char *path; /* absolute; NULL: a new empty disk of size_bytes */
    uint64_t size_bytes; /* 0: as large as the file */
    enum profile_disk_format format;
    bool readonly;
    bool shared; /* several VMs have it at once (a cluster's shared disk) */
};

struct profile_nic {
    enum profile_nic_type type;
    char *option;  /* V3M's: bridge or VLAN number; NULL: none */
    char *network; /* a network by name (cluster's or site's); NULL: none */
    char *mac;     /* "00:02:03:04:05:06", small letters; NULL: the agent makes one */
    uint32_t queues;
};

struct profile_share {
    char *tag;    /* virtio-fs tag */
    char *source; /* absolute host directory */
    char *target; /* absolute mount point in the guest */
    bool readonly;
};

/* One device to pass through: an address, or any free one of a class. */
struct profile_device {
    char *address; /* "0000:03:00.0" or NULL */
    char *class;   /* "gpu", "net", "infiniband", "nvme", or hex PCI class; or NULL */
};

struct profile {
    char *name;
    char *description; /* NULL: none */
    uint32_t version;  /* of the row in the store; 0: straight from a file */
    enum profile_type type;

    uint32_t vcpus;
    struct profile_u32s cpu_pin; /* host CPU of vCPU i; empty: not pinned */
    uint32_t cpu_share;          /* weight, 1 to 10000, 100 is usual (cgroup v2's) */
    struct profile_strs cpu_features; /* "+avx512f", "-hle" */

    uint64_t memory_bytes;
    uint64_t page_bytes; /* 4K, 2M, 1G; 0: ordinary pages, as the host likes */
    bool prealloc;
    enum profile_numa numa_policy;
    struct profile_u32s numa_nodes;

    char *image;               /* NAME[@VERSION] of an image, or an absolute path */
    uint64_t image_size_bytes; /* V3M's size: of an image file that is to be made */
    char *kernel, *initrd;     /* absolute paths; NULL: the image's */
    char *append;              /* added to the image's kernel command line; or NULL */
    char *init;                /* PID 1 in the guest; NULL: the image's */

    struct profile_disk *disks;
    size_t disk_count;
    char *cdrom; /* absolute path of an ISO; NULL: none */
    struct profile_nic *nics;
    size_t nic_count;
    struct profile_share *shares;
    size_t share_count;
    struct profile_device *devices;
    size_t device_count;

    enum profile_console console;
    enum profile_checkpoint checkpoint;
    uint64_t checkpoint_ms; /* for periodic */
    uint32_t checkpoint_keep;
    enum profile_ckpt_shares checkpoint_shares;
    enum profile_on_failure on_failure;

    uint64_t time_ms;       /* the VM is stopped after this; 0: no limit */
    uint64_t scratch_bytes; /* of its scratch disk; 0: writes go to its memory */
    uint64_t ready_ms;      /* the guest must say hello within */
};

/* All defaults, no name, no image; NULL without memory. */
struct profile *profile_new(void);
void profile_free(struct profile *p);
OWN_DEFINE(profile)
/* A deep copy; NULL without memory. */
struct profile *profile_copy(const struct profile *p);

/* The JSON form: an object with all fields (a list that is empty and a text that is
 * NULL are left out). A new reference; NULL without memory. */
json_t *profile_to_json(const struct profile *p);
/* Names for the disks and shares that were given none; -1 without memory. */
int profile_name_parts(struct profile *p);
/* Strict: unknown names, wrong kinds, values out of bounds, relative paths, control
 * characters are E_INPUT with the field's name. What is left out gets its default; name
 * is required. Does not do the checks of check.h. *out is the caller's. */
int profile_from_json(const json_t *json, struct profile **out, struct err *err);
