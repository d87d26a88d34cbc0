/* SPDX-License-Identifier: Apache-2.0 */
/* Open what a VM left at a path: a unix socket or a terminal. The path may be in the
 * hands of the VM's owner or of the guest, so links are not followed. */
#pragma once
#include "base/err.h"

/* Nonblocking descriptor or -1. */
int sock_open(const char *path, struct err *err);
