/* SPDX-License-Identifier: Apache-2.0 */
/* A machine of lodge-vmm's own core without KVM (its descriptor is -1): memory, bus,
 * IOAPIC, PCI. To be linked with --wrap=ioctl. */
#pragma once
#include "fuzz.h"

#include "vmm/vm.h"

/* RAM from 0 to `size`, shared with nobody; the same machine is given again later, its
 * RAM as it was left. */
struct vm *core_vm(uint64_t size);
/* RAM to zeros. */
void core_clear(struct vm *vm);
