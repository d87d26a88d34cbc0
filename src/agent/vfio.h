/* SPDX-License-Identifier: Apache-2.0 */
/* The IOMMU groups of the devices that a profile passes through: only root may open
 * them, and the hypervisor, which has its owner's ids, gets the descriptors. The site has
 * bound the devices to the driver vfio-pci before. In workers. */
#pragma once
#include <stddef.h>

#include "profile/profile.h"

enum { VFIO_DEVICES_MAX = 16 };

struct vfio {
    size_t ngroups, ndevices;
    int fd[VFIO_DEVICES_MAX];          /* one a group */
    size_t group_of[VFIO_DEVICES_MAX]; /* the profile's devices, as indices of fd */
    const char *address_of[VFIO_DEVICES_MAX]; /* borrowed from the profile */
};

/* Every device of p has its address. On failure nothing stays open. */
int vfio_open(const struct profile *p, struct vfio *out, struct err *err);
void vfio_close(struct vfio *v);
