/* SPDX-License-Identifier: Apache-2.0 */
/* The machine that a hypervisor is told to make: what is in the profile and the image,
 * and the names of what was staged, put together. Pure: the same VM gives the same
 * plan. Types turn it into their own configuration (XML, JSON). */
#pragma once
#include "agent/vm.h"
#include "image/store.h"
#include "profile/profile.h"

struct plan_disk {
    char *path;
    const char *format; /* "raw", "qcow2" */
    bool readonly, shared, cdrom;
    bool buffered; /* its file system cannot do without the host's cache */
    char *serial;  /* by which the guest finds it */
};

struct plan_nic {
    enum profile_nic_type type;
    char *tap;       /* made by net_make(); NULL for user, and for containers */
    char bridge[16]; /* it is, or a container's shall be, in this bridge; "": none */
    char mac[18];
    uint32_t queues;
};

struct plan_share {
    char *tag, *source, *target;
    bool readonly;
    char *socket; /* virtiofsd's */
};

struct plan {
    const struct vm *vm;
    const struct profile *profile;
    char *dir;
    char *kernel, *initrd, *cmdline; /* NULL: the disk boots itself */
    const char *machine; /* libvirt's machine type of a restored one; else NULL */
    char *guest_socket, *console_socket;
    char *root_dir; /* containers: the mounted image */
    struct plan_disk *disks;
    size_t ndisks;
    struct plan_nic *nics;
    size_t nnics;
    struct plan_share *shares;
    size_t nshares;
};

/* image: NULL for types without. *out is the caller's. */
int plan_make(const struct vm *vm, const struct image *image, const char *dir,
              struct plan **out, struct err *err);
void plan_free(struct plan *p);
OWN_DEFINE(plan)

/* Names of what belongs to a VM. */
char *plan_scratch_path(const struct vm *vm); /* its scratch disk */
char *plan_disk_path(const struct vm *vm,
                     const char *id); /* an empty disk of its own */
char *plan_tap_name(const struct vm *vm, size_t nic);
/* The number of an isolated network. */
uint32_t plan_network(const struct vm *vm, const struct profile_nic *nic);
/* The bridge of a nic by its type; "" if it has none. */
void plan_bridge(const struct vm *vm, size_t nic, char bridge[16]);
void plan_mac(const struct vm *vm, size_t nic, char mac[18]);
