/* SPDX-License-Identifier: Apache-2.0 */
/* What each virtualization type can do, as far as a profile can ask for it. The table
 * of the agent's types (src/agent/vt.h) is tested against this one. */
#pragma once
#include "profile/profile.h"

#define PROFILE_CAPS(X)                                                                \
    X(PROFILE_CAP_KERNEL, "boot a given kernel")                                       \
    X(PROFILE_CAP_PIN, "pin CPUs")                                                     \
    X(PROFILE_CAP_FEATURES, "choose CPU features")                                     \
    X(PROFILE_CAP_HUGE, "use huge pages")                                              \
    X(PROFILE_CAP_PREALLOC, "take its memory before booting")                          \
    X(PROFILE_CAP_NUMA, "place memory on NUMA nodes")                                  \
    X(PROFILE_CAP_DISKS, "have disks")                                                 \
    X(PROFILE_CAP_QCOW2, "use qcow2 disks")                                            \
    X(PROFILE_CAP_CDROM, "have a CD-ROM")                                              \
    X(PROFILE_CAP_QUEUES, "have network cards with several queues")                    \
    X(PROFILE_CAP_USER_NIC, "have a network card of type 'user'")                      \
    X(PROFILE_CAP_SHARES, "share host directories")                                    \
    X(PROFILE_CAP_PASSTHROUGH, "pass devices through")                                 \
    X(PROFILE_CAP_CHECKPOINT, "checkpoint")                                            \
    X(PROFILE_CAP_BY_ITSELF, "make checkpoints without being asked")                   \
    X(PROFILE_CAP_REMOUNT, "mount shares again after a checkpoint")                    \
    X(PROFILE_CAP_RESTART, "be restarted after a failure")                             \
    X(PROFILE_CAP_MIGRATE, "migrate")                                                  \
    X(PROFILE_CAP_SERIAL, "have a serial console")                                     \
    X(PROFILE_CAP_VIRTIO, "have a virtio console")

#define X(cap, text) cap,
enum profile_cap { PROFILE_CAPS(X) PROFILE_CAP_COUNT };
#undef X

/* What the word "can" is followed by in messages. */
extern const char *const profile_cap_texts[];

/* PROFILE_AUTO can what any type can. */
bool profile_type_can(enum profile_type type, enum profile_cap cap);
/* May the type be used at all (VMware may not)? */
bool profile_type_is_known(enum profile_type type);
/* Does the profile ask for it? *field is the name of the field that does. */
bool profile_needs(const struct profile *p, enum profile_cap cap, const char **field);
/* Can `type` do all that p needs? If not, *missing (may be NULL) is the first it
 * cannot. */
bool profile_type_fits(enum profile_type type, const struct profile *p,
                       enum profile_cap *missing);
