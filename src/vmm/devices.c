/* SPDX-License-Identifier: Apache-2.0 */
/* All device rows of this build, in the order they are told to people. */
#include "vmm/devices.h"
#include <config.h>

#include "base/own.h"

#include <fcntl.h>
#include <string.h>

const struct device_ops *const device_types[] = {
#ifdef WITH_VMM_BLK
    &device_blk,
#endif
#ifdef WITH_VMM_NET
    &device_net,
#endif
#ifdef WITH_VMM_CONSOLE
    &device_console,
#endif
#ifdef WITH_VMM_RNG
    &device_rng,
#endif
#ifdef WITH_VMM_FS
    &device_fs,
#endif
#ifdef WITH_VMM_BALLOON
    &device_balloon,
#endif
#ifdef WITH_VMM_PMEM
    &device_pmem,
#endif
#ifdef WITH_VMM_VFIO
    &device_vfio,
#endif
#ifdef WITH_VMM_SERIAL
    &device_serial,
#endif
#ifdef WITH_VMM_VMGENID
    &device_vmgenid,
#endif
    NULL,
};

const struct device_ops *device_type(const char *name)
{
    for (size_t i = 0; device_types[i]; i++)
        if (!strcmp(device_types[i]->name, name))
            return device_types[i];
    return NULL;
}

int device_file_check(const struct device_file *f, const char *what, struct err *err)
{
    if ((f->path != NULL) + (f->fd >= 0) != 1)
        return err_set(err, E_CONFIG, "%s: give either \"path\" or \"fd\"", what);
    return 0;
}

int device_file_open(const struct device_file *f, int flags, struct err *err)
{
    if (device_file_check(f, "file", err) < 0)
        return -1;
    int fd = f->path ? open(f->path, flags | O_CLOEXEC) : f->fd;
    if (fd < 0)
        return err_sys(err, "'%s'", f->path);
    /* A number that was passed: is anything there, and may it be used so? */
    int have = fcntl(fd, F_GETFL);
    if (have < 0)
        return err_sys(err, "fd %d", fd);
    if (!f->path && (have & O_ACCMODE) != O_RDWR &&
        (flags & O_ACCMODE) != (have & O_ACCMODE))
        return err_set(err, E_CONFIG, "fd %d is not open for %s", fd,
                       (flags & O_ACCMODE) == O_RDONLY ? "reading"
                                                       : "reading and writing");
    if (!f->path)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}
