/* SPDX-License-Identifier: Apache-2.0 */
/* Which device a machine gets that wants one of a class. Only computes. */
#pragma once
#include "base/err.h"
#include "profile/profile.h"

/* A PCI device that the host has. */
struct place_device {
    char address[16];   /* "0000:03:00.0" */
    uint32_t class;     /* 0xCCSSPP */
    int numa;           /* -1: not known */
    int group;          /* IOMMU group, which has one holder; -1: none */
    bool given;         /* its driver is vfio-pci: the site means it for machines */
    const char *holder; /* the VM that has it; NULL: none */
};

/* "gpu", "0x0302", "0x030200", ...: is the device of it? */
bool place_device_is(const struct place_device *d, const char *class);
/* A free one for each device that the profile names by class: its address is set, near
 * the profile's NUMA nodes where there is a choice. Those named by address must be there
 * (where the list has any) and free. E_BUSY says who holds what. */
int place_devices(const struct place_device *all, size_t n, struct profile *p,
                  struct err *err);
