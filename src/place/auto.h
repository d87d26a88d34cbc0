/* SPDX-License-Identifier: Apache-2.0 */
/* Type auto: the best type this node can do for this profile. Only computes. */
#pragma once
#include "base/err.h"
#include "profile/profile.h"

#include <stdbool.h>
#include <stddef.h>

/* What the agent knows of its node, one word a type: may it be used, else why not. */
struct place_facts {
    bool kvm;           /* /dev/kvm runs a Linux guest */
    const char *no_kvm; /* why not, when kvm is false */
    bool vmm;           /* lodge-vmm is installed */
    bool qemu;          /* QEMU and a libvirt that can be reached or started */
    const char *no_qemu;
};

/* The type, and in reason (borrowed room) one sentence that says why it and not the
 * better ones. E_UNAVAIL when nothing fits. */
int place_auto(const struct place_facts *f, const struct profile *p,
               enum profile_type *out, char *reason, size_t size, struct err *err);
