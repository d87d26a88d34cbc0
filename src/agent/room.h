/* SPDX-License-Identifier: Apache-2.0 */
/* What the node has, read from /sys and /proc below `root` ("" on a node; tests have
 * their own). */
#pragma once
#include "place/device.h"
#include "place/memory.h"

enum { ROOM_NODES = 64, ROOM_DEVICES = 1024 };

/* The NUMA nodes' memory in pages of this size (4096 or less: ordinary ones). A machine
 * that tells of no nodes is one node, 0. How many there are. */
size_t room_memory(const char *root, uint64_t page_bytes,
                   struct place_numa nodes[ROOM_NODES]);
/* All PCI devices; *out is the caller's. How many there are; 0 where /sys has none. */
size_t room_devices(const char *root, struct place_device **out);
/* The last part of what a link of a device points to ("driver", "iommu_group"); "". */
void room_device_link(const char *root, const char *address, const char *link,
                      char name[64]);
