/* SPDX-License-Identifier: Apache-2.0 */
/* IOMMU groups; see the header. */
#include "agent/vfio.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/room.h"

static int check(const char *address, const char *group, struct err *err)
{
    char driver[64];
    room_device_link("", address, "driver", driver);
    if (!*group)
        return err_set(err, E_UNAVAIL,
                       "device %s is not there, or in no IOMMU group: switch the IOMMU "
                       "on in the firmware and on the kernel's command line",
                       address);
    if (strcmp(driver, "vfio-pci") != 0)
        return err_set(err, E_UNAVAIL,
                       "device %s is not given to machines: its driver is %s; bind it "
                       "to vfio-pci",
                       address, *driver ? driver : "none");
    return 0;
}

static int open_group(const char *address, const char *group, struct err *err)
{
    char path[80];
    snprintf(path, sizeof path, "/dev/vfio/%s", group);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    return fd < 0 ? err_sys(err, "device %s: IOMMU group '%s'", address, path) : fd;
}

int vfio_open(const struct profile *p, struct vfio *out, struct err *err)
{
    char name[VFIO_DEVICES_MAX][64];
    *out = (struct vfio){0};
    if (p->device_count > VFIO_DEVICES_MAX)
        return err_set(err, E_INPUT, "more than %d devices to pass through",
                       VFIO_DEVICES_MAX);
    for (size_t i = 0; i < p->device_count; i++) {
        const char *address = p->devices[i].address;
        size_t g = 0;
        room_device_link("", address, "iommu_group", name[out->ngroups]);
        if (check(address, name[out->ngroups], err) < 0)
            goto fail;
        while (g < out->ngroups && strcmp(name[g], name[out->ngroups]) != 0)
            g++;
        if (g == out->ngroups) {
            out->fd[g] = open_group(address, name[g], err);
            if (out->fd[g] < 0)
                goto fail;
            out->ngroups++;
        }
        out->group_of[i] = g;
        out->address_of[i] = address;
        out->ndevices++;
    }
    return 0;
fail:
    vfio_close(out);
    return -1;
}

void vfio_close(struct vfio *v)
{
    for (size_t i = 0; i < v->ngroups; i++)
        close(v->fd[i]);
    *v = (struct vfio){0};
}
