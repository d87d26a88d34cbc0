/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of the devices, each defined in its own file; and what several rows share. */
#pragma once
#include "vmm/device.h"

extern const struct device_ops device_blk, device_net, device_console, device_rng,
    device_balloon, device_fs, device_pmem, device_serial, device_vmgenid, device_vfio;

/* Is exactly one of path and fd given? `what` is for the message. */
int device_file_check(const struct device_file *f, const char *what, struct err *err);
