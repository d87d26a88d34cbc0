/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

/* By the system call, or by the device that a site may open to a group. */
static int get_fd(void)
{
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0)
        return fd;
    int was = errno, dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (dev >= 0) {
        fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
        close(dev);
    }
    errno = was;
    return fd;
}

int uffd_open(bool *protects)
{
    static const uint64_t wants[] = {
        UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MISSING_HUGETLBFS |
            UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
        UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MISSING_HUGETLBFS};
    *protects = false;
    for (int i = 0; i < 2; i++) {
        struct uffdio_api api = {.api = UFFD_API, .features = wants[i]};
        int fd = get_fd();
        if (fd < 0)
            return -1;
        if (ioctl(fd, UFFDIO_API, &api) == 0) {
            *protects = i == 0;
            return fd;
        }
        close(fd);
    }
    errno = ENOSYS;
    return -1;
}

int uffd_register(int fd, void *at, uint64_t len, enum uffd_mode mode)
{
    struct uffdio_register r = {.range = {(uintptr_t)at, len},
                                .mode = mode == UFFD_MISSING
                                            ? UFFDIO_REGISTER_MODE_MISSING
                                            : UFFDIO_REGISTER_MODE_WP};
    return ioctl(fd, UFFDIO_REGISTER, &r);
}

int uffd_unregister(int fd, void *at, uint64_t len)
{
    struct uffdio_range r = {(uintptr_t)at, len};
    return ioctl(fd, UFFDIO_UNREGISTER, &r);
}

/* The kernel gives up when the address space changes meanwhile: again then. */
int uffd_protect(int fd, void *at, uint64_t len, bool on)
{
    struct uffdio_writeprotect w = {.range = {(uintptr_t)at, len},
                                    .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0};
    int r;
    do
        r = ioctl(fd, UFFDIO_WRITEPROTECT, &w);
    while (r < 0 && errno == EAGAIN);
    return r;
}

int uffd_copy(int fd, void *to, const void *from, uint64_t len)
{
    uint64_t done = 0;
    while (done < len) {
        struct uffdio_copy c = {.dst = (uintptr_t)to + done,
                                .src = (uintptr_t)from + done,
                                .len = len - done};
        int r = ioctl(fd, UFFDIO_COPY, &c);
        if (c.copy > 0)
            done += (uint64_t)c.copy;
        if (r < 0 && errno != EAGAIN)
            return -1;
    }
    return 0;
}

int uffd_zero(int fd, void *at, uint64_t len)
{
    struct uffdio_zeropage z = {.range = {(uintptr_t)at, len}};
    return ioctl(fd, UFFDIO_ZEROPAGE, &z);
}

int uffd_wake(int fd, void *at, uint64_t len)
{
    struct uffdio_range r = {(uintptr_t)at, len};
    return ioctl(fd, UFFDIO_WAKE, &r);
}

int uffd_next(int fd, uint64_t *address, bool *is_write_protect)
{
    struct uffd_msg m;
    while (read(fd, &m, sizeof m) == (ssize_t)sizeof m) {
        if (m.event != UFFD_EVENT_PAGEFAULT)
            continue;
        *address = m.arg.pagefault.address;
        *is_write_protect = m.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP;
        return 1;
    }
    return 0;
}
