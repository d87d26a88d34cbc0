/* SPDX-License-Identifier: Apache-2.0 */
/* libvirt's domain XML of a plan. Pure; written by libxml2's writer, never pasted. What
 * differs between libvirt's types is a row of this table. */
#pragma once
#include "agent/plan.h"
#include "agent/vt.h"

struct vt_dialect {
    const char *domain;  /* <domain type> */
    const char *os_type; /* <os><type> */
    const char *machine; /* its machine attribute, or NULL */
    const char *arch;
    const char *disk_bus, *disk_prefix;
    const char *console; /* target type of the console; NULL: none */
    const char *channel; /* target type of the guest's channel; NULL: none */
    const char *nic_model;
    const char *cpu_mode; /* NULL: libvirt's default */
    bool container;       /* a directory as root, an init, bind mounts */
    bool memfd;           /* guest memory that other processes can share */
    bool user_nic;        /* has a network of its own without privileges */
};

/* NULL for types that are not libvirt's. */
const struct vt_dialect *vt_dialect_of(enum profile_type type);
/* The name of a plan's disk number i in the XML: "vda". */
void vt_disk_dev(const struct plan_disk *d, size_t i, const struct vt_dialect *how,
                 char dev[16]);
/* *out is the caller's. */
int vt_xml(const struct plan *plan, char **out, struct err *err);
