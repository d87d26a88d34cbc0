/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's RAM as a passed-through device reaches it: at the guest's own addresses,
 * through the IOMMU, and nothing else of the host. One VFIO container (type 1) a machine,
 * with the groups of all its devices; made when the first one comes. All of RAM is pinned
 * from then on, so the limit of locked memory must cover it.
 * Source: Documentation/driver-api/vfio.rst of Linux. */
#include "vmm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { GROUPS_MAX = 32 };

struct dma {
    int container, told; /* told: KVM's device that knows of the groups */
    size_t ngroups;
    struct {
        char *path; /* NULL: a descriptor that was passed */
        int fd;
    } group[GROUPS_MAX];
};

bool vm_dma_used(const struct vm *vm)
{
    return vm->dma;
}

/* KVM asks the groups whether their devices snoop the caches: if one does not, the
 * guest's own cache flushes must count. A KVM without it takes them as snooping. */
static void tell_kvm(struct vm *vm, int group)
{
    struct dma *d = vm->dma;
    struct kvm_create_device made = {.type = KVM_DEV_TYPE_VFIO};
    if (d->told < 0 && ioctl(vm->fd, KVM_CREATE_DEVICE, &made) == 0)
        d->told = (int)made.fd;
    const struct kvm_device_attr add = {.group = KVM_DEV_VFIO_GROUP,
                                        .attr = KVM_DEV_VFIO_GROUP_ADD,
                                        .addr = (uintptr_t)&group};
    if (d->told >= 0)
        ioctl(d->told, KVM_SET_DEVICE_ATTR, &add);
}

static int map_ram(struct vm *vm, struct err *err)
{
    for (size_t i = 0; i < vm->nmemory; i++) {
        const struct vm_memory *m = &vm->memory[i];
        const struct vfio_iommu_type1_dma_map map = {.argsz = sizeof map,
                                                     .flags = VFIO_DMA_MAP_FLAG_READ |
                                                              VFIO_DMA_MAP_FLAG_WRITE,
                                                     .vaddr = (uintptr_t)m->hva,
                                                     .iova = m->gpa,
                                                     .size = m->size};
        if (m->ram && ioctl(vm->dma->container, VFIO_IOMMU_MAP_DMA, &map) < 0)
            return err_sys(err, "VFIO: %llu MiB of memory for DMA%s",
                           (unsigned long long)(m->size / MIB),
                           errno == ENOMEM ? " (all is locked: see ulimit -l)" : "");
    }
    return 0;
}

static int open_container(struct vm *vm, struct err *err)
{
    struct dma *d = calloc(1, sizeof *d);
    if (!d)
        return err_oom(err);
    vm->dma = d;
    d->told = -1;
    d->container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
    if (d->container < 0)
        return err_sys(err, "VFIO: '/dev/vfio/vfio'");
    if (ioctl(d->container, VFIO_GET_API_VERSION) != VFIO_API_VERSION ||
        ioctl(d->container, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) != 1)
        return err_set(err, E_UNAVAIL, "VFIO: this host has no IOMMU of type 1 v2");
    return 0;
}

static int join(struct vm *vm, int group, struct err *err)
{
    struct dma *d = vm->dma;
    struct vfio_group_status status = {.argsz = sizeof status};
    if (ioctl(group, VFIO_GROUP_GET_STATUS, &status) < 0)
        return err_sys(err, "VFIO: this is no group of devices");
    if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
        return err_set(err, E_UNAVAIL,
                       "VFIO: the host uses another device of the same IOMMU group; "
                       "all of a group go to the driver vfio-pci, or none");
    if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &d->container) < 0)
        return err_sys(err, "VFIO: group");
    bool first = d->ngroups == 1;
    if (first && ioctl(d->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
        return err_sys(err, "VFIO: IOMMU");
    if (first && map_ram(vm, err) < 0)
        return -1;
    tell_kvm(vm, group);
    return 0;
}

int vm_dma_group(struct vm *vm, const struct device_file *f, struct err *err)
{
    if (vm->config->restore.mode != CONFIG_RESTORE_NONE)
        return err_set(err, E_CONFIG,
                       "a machine with a passed-through device cannot be restored");
    if (!vm->dma && open_container(vm, err) < 0)
        return -1;
    struct dma *d = vm->dma;
    for (size_t i = 0; i < d->ngroups; i++)
        if (f->path ? d->group[i].path && !strcmp(d->group[i].path, f->path)
                    : d->group[i].fd == f->fd)
            return d->group[i].fd;
    if (d->ngroups == GROUPS_MAX)
        return err_set(err, E_CONFIG, "VFIO: more than %d groups", GROUPS_MAX);
    int fd = device_file_open(f, O_RDWR, err);
    if (fd < 0)
        return -1;
    size_t at = d->ngroups++;
    d->group[at].fd = fd;
    d->group[at].path = f->path ? strdup(f->path) : NULL;
    if (f->path && !d->group[at].path)
        return err_oom(err);
    return join(vm, fd, err) < 0 ? -1 : fd;
}

void dma_done(struct vm *vm)
{
    struct dma *d = vm->dma;
    if (!d)
        return;
    if (d->told >= 0)
        close(d->told);
    for (size_t i = 0; i < d->ngroups; i++) {
        close(d->group[i].fd);
        free(d->group[i].path);
    }
    if (d->container >= 0)
        close(d->container);
    free(d);
    vm->dma = NULL;
}
