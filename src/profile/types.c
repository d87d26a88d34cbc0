/* SPDX-License-Identifier: Apache-2.0 */
/* One row a type; see the header. */
#include "profile/types.h"

#define BIT(cap) (1u << PROFILE_CAP_##cap)

#define X(cap, text) [cap] = text,
const char *const profile_cap_texts[] = {PROFILE_CAPS(X)};
#undef X

enum {
    /* A profile may ask for them, and no type can them yet. */
    CAPS_NOT_YET = BIT(BY_ITSELF) | BIT(RESTART) | BIT(MIGRATE),
    CAPS_ALL = ((1 << PROFILE_CAP_COUNT) - 1) & ~CAPS_NOT_YET
};

static const unsigned caps[PROFILE_TYPE_COUNT] = {
    [PROFILE_AUTO] = CAPS_ALL,
    [PROFILE_HPC] =
        CAPS_ALL & ~(BIT(QCOW2) | BIT(CDROM) | BIT(USER_NIC) | BIT(FEATURES)),
    /* QEMU saves no machine that has a virtio-fs card, mounted or not. */
    [PROFILE_KVM] = CAPS_ALL & ~BIT(REMOUNT),
    [PROFILE_QEMU] = CAPS_ALL & ~(BIT(PASSTHROUGH) | BIT(REMOUNT)),
    [PROFILE_XEN] = BIT(KERNEL) | BIT(PIN) | BIT(DISKS) | BIT(PASSTHROUGH) |
                    BIT(CHECKPOINT) | BIT(CDROM) | BIT(QCOW2) | BIT(SERIAL),
    [PROFILE_XENHVM] = BIT(PIN) | BIT(DISKS) | BIT(PASSTHROUGH) | BIT(CHECKPOINT) |
                       BIT(CDROM) | BIT(QCOW2) | BIT(SERIAL),
    [PROFILE_LXC] = BIT(PIN) | BIT(SHARES),
    [PROFILE_FAKE] = CAPS_ALL & ~BIT(PASSTHROUGH),
    [PROFILE_VMWARE] = 0,
};

bool profile_type_can(enum profile_type type, enum profile_cap cap)
{
    return caps[type] >> cap & 1;
}

bool profile_type_is_known(enum profile_type type)
{
    return type == PROFILE_AUTO || caps[type];
}

static bool has_qcow2(const struct profile *p)
{
    for (size_t i = 0; i < p->disk_count; i++)
        if (p->disks[i].format == PROFILE_DISK_QCOW2)
            return true;
    return false;
}

static bool has_queues(const struct profile *p)
{
    for (size_t i = 0; i < p->nic_count; i++)
        if (p->nics[i].queues > 1)
            return true;
    return false;
}

static bool has_user_nic(const struct profile *p)
{
    for (size_t i = 0; i < p->nic_count; i++)
        if (p->nics[i].type == PROFILE_NIC_USER)
            return true;
    return false;
}

bool profile_needs(const struct profile *p, enum profile_cap cap, const char **field)
{
    const struct {
        bool needs;
        const char *field;
    } rows[PROFILE_CAP_COUNT] = {
        [PROFILE_CAP_KERNEL] = {p->kernel || p->append,
                                p->kernel ? "kernel" : "append"},
        [PROFILE_CAP_PIN] = {p->cpu_pin.count, "cpu_pin"},
        [PROFILE_CAP_FEATURES] = {p->cpu_features.count, "cpu_features"},
        [PROFILE_CAP_HUGE] = {p->page_bytes > 4096, "page_bytes"},
        [PROFILE_CAP_PREALLOC] = {p->prealloc, "prealloc"},
        [PROFILE_CAP_NUMA] = {p->numa_policy != PROFILE_NUMA_NONE, "numa_policy"},
        [PROFILE_CAP_DISKS] = {p->disk_count, "disks"},
        [PROFILE_CAP_QCOW2] = {has_qcow2(p), "disks"},
        [PROFILE_CAP_CDROM] = {p->cdrom, "cdrom"},
        [PROFILE_CAP_QUEUES] = {has_queues(p), "nics"},
        [PROFILE_CAP_USER_NIC] = {has_user_nic(p), "nics"},
        [PROFILE_CAP_SHARES] = {p->share_count, "shares"},
        [PROFILE_CAP_PASSTHROUGH] = {p->device_count, "devices"},
        [PROFILE_CAP_CHECKPOINT] = {p->checkpoint != PROFILE_CHECKPOINT_NONE,
                                    "checkpoint"},
        [PROFILE_CAP_BY_ITSELF] = {p->checkpoint == PROFILE_CHECKPOINT_REQUEUE ||
                                       p->checkpoint == PROFILE_CHECKPOINT_PERIODIC,
                                   "checkpoint"},
        [PROFILE_CAP_REMOUNT] = {p->share_count && p->checkpoint_shares ==
                                                       PROFILE_CKPT_SHARES_REMOUNT,
                                 "checkpoint_shares"},
        [PROFILE_CAP_RESTART] = {p->on_failure == PROFILE_ON_FAILURE_RESTART,
                                 "on_failure"},
        [PROFILE_CAP_MIGRATE] = {p->on_failure == PROFILE_ON_FAILURE_MIGRATE,
                                 "on_failure"},
        [PROFILE_CAP_SERIAL] = {p->console == PROFILE_CONSOLE_SERIAL, "console"},
        [PROFILE_CAP_VIRTIO] = {p->console == PROFILE_CONSOLE_VIRTIO, "console"},
    };
    if (field)
        *field = rows[cap].field;
    return rows[cap].needs;
}

bool profile_type_fits(enum profile_type type, const struct profile *p,
                       enum profile_cap *missing)
{
    for (int cap = 0; cap < PROFILE_CAP_COUNT; cap++)
        if (profile_needs(p, cap, NULL) && !profile_type_can(type, cap)) {
            if (missing)
                *missing = cap;
            return false;
        }
    return true;
}
