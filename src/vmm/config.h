/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration of one machine: one JSON document, decoded strictly (a member that
 * is not known is an error). docs/lodge-vmm.8.adoc tells it to people.
 *
 * {"name": "n1", "vcpus": 4,
 *  "memory": {"size_mib": 4096, "page": "4K|2M|1G", "prealloc": true, "thp": false,
 *     "nodes": [{"size_mib": 2048, "host_node": 0, "vcpus": [0,1],
 *                "distances": [10,20]}, ...]},
 *  "kernel": PATH | {"path": P} | {"fd": N}, "initrd": (the same), "cmdline": "...",
 *  "cpu": {"pin": [[0],[1,2]] or [0,1], "io_pin": [3], "disable_exits": ["hlt",
 * "pause", "mwait", "cstate"], "halt_poll_ns": N, "require_exits_disabled": false},
 *  "devices": [{"type": T, "id": ID, ...}, ...],
 *  "control": {"path": P} | {"fd": N},
 *  "sandbox": {"enable": true, "uid": N, "gid": N},
 *  "io_threads": 1, "paused": false,
 *  "restore": {"path": DIR | "fd": N, "mode": "read|map|uffd", "verify": true}}
 *
 * With "restore" there is no kernel to load; the rest must be as it was when the
 * checkpoint was made, but for what it is on (paths, descriptors, taps, page size). */
#pragma once
#include "vmm/device.h"

#include "base/own.h"

#include <jansson.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    CONFIG_VCPUS_MAX = 1024,
    CONFIG_NODES_MAX = 16,
    CONFIG_DEVICES_MAX = 31, /* slots of one PCI bus less the host bridge */
};

enum config_exits {
    CONFIG_EXIT_MWAIT = 1 << 0, /* the bits of KVM_CAP_X86_DISABLE_EXITS */
    CONFIG_EXIT_HLT = 1 << 1,
    CONFIG_EXIT_PAUSE = 1 << 2,
    CONFIG_EXIT_CSTATE = 1 << 3,
};

struct config_node {
    uint64_t size;
    int host_node;                       /* -1: anywhere */
    uint8_t distances[CONFIG_NODES_MAX]; /* 0: default */
};

struct config_device {
    const struct device_ops *ops;
    char *id;
    json_t *in; /* owned; without "type" and "id" */
};

/* How the guest's memory comes back from a checkpoint. */
enum config_restore_mode {
    CONFIG_RESTORE_NONE, /* a boot */
    CONFIG_RESTORE_READ, /* all of it before the guest runs */
    CONFIG_RESTORE_MAP,  /* the file is the memory until written: shared between VMs */
    CONFIG_RESTORE_UFFD, /* what is touched first, the rest behind it */
};

struct config {
    char *name;
    unsigned vcpus;
    struct {
        uint64_t size, page; /* bytes */
        bool prealloc, thp;
        unsigned nnodes; /* at least 1 */
        struct config_node nodes[CONFIG_NODES_MAX];
    } memory;
    struct device_file kernel, initrd; /* initrd: path NULL and fd -1 is none */
    char *kernel_path, *initrd_path, *cmdline, *control_path;
    struct {
        cpu_set_t *pin;         /* vcpus of them, or NULL */
        uint8_t *node;          /* of each vCPU */
        cpu_set_t io_pin;       /* empty: anywhere */
        unsigned disable_exits; /* enum config_exits */
        bool require_exits_disabled;
        int64_t halt_poll_ns; /* -1: KVM's own */
    } cpu;
    unsigned io_threads;
    struct config_device devices[CONFIG_DEVICES_MAX];
    size_t ndevices;
    int control_fd; /* -1: by control_path, or none */
    struct {
        bool enable;
        bool set_ids;
        uid_t uid;
        gid_t gid;
    } sandbox;
    struct {
        enum config_restore_mode mode;
        struct device_file dir;
        char *path;
        bool verify; /* a mapped file's every byte, first */
    } restore;
    bool paused; /* do not start the vCPUs until "resume" */
};

/* Decode text (any bytes). `name` is for messages ("config.json: line 3: ..."). */
int config_parse(const char *text, size_t len, const char *name, struct config **out,
                 struct err *err);
void config_free(struct config *c);
OWN_DEFINE(config)

/* {"path": P} | {"fd": N} | "P" into *f and *keep (owned copy of the path). */
int config_file(json_t *in, const char *what, struct device_file *f, char **keep,
                struct err *err);
