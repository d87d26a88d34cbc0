/* SPDX-License-Identifier: Apache-2.0 */
/* userfaultfd: who touches a page that is missing, or writes one that is protected, waits
 * until another thread has seen to it. KVM, vhost and io_uring wait as well, which is why
 * it must serve the kernel's accesses too: root may, others where the site allows it. */
#pragma once
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A descriptor, or -1 (errno tells why). *protects: can it protect shared memory? */
int uffd_open(bool *protects);
enum uffd_mode { UFFD_MISSING, UFFD_PROTECT };
/* All -1 with errno. Ranges are whole pages of one mapping. */
int uffd_register(int fd, void *at, uint64_t len, enum uffd_mode mode);
int uffd_unregister(int fd, void *at, uint64_t len);
int uffd_protect(int fd, void *at, uint64_t len, bool on); /* off wakes who waits */
int uffd_copy(int fd, void *to, const void *from, uint64_t len);
int uffd_zero(int fd, void *at, uint64_t len);
int uffd_wake(int fd, void *at, uint64_t len);
/* The next one that waits: 1; 0: none now. */
int uffd_next(int fd, uint64_t *address, bool *is_write_protect);
