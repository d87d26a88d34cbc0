/* SPDX-License-Identifier: Apache-2.0 */
/* Devices by class; see the header. Called by the agent's reservation. */
#include "place/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"

/* PCI's classes behind our words; mask says how much of 0xCCSSPP counts. */
static const struct {
    const char *name;
    uint32_t class, mask;
} classes[] = {{"gpu", 0x030000, 0xff0000},        {"net", 0x020000, 0xffff00},
               {"infiniband", 0x020700, 0xffff00}, {"infiniband", 0x0c0600, 0xffff00},
               {"nvme", 0x010802, 0xffffff},       {"storage", 0x010000, 0xff0000},
               {"accelerator", 0x120000, 0xff0000}};

bool place_device_is(const struct place_device *d, const char *class)
{
    for (size_t i = 0; i < ARRAY_SIZE(classes); i++)
        if (!strcmp(classes[i].name, class) &&
            (d->class & classes[i].mask) == classes[i].class)
            return true;
    if (strncmp(class, "0x", 2))
        return false;
    unsigned long number = strtoul(class, NULL, 16);
    return strlen(class) == 6 ? d->class >> 8 == number : d->class == number;
}

static bool is_taken(const struct profile *p, const char *address)
{
    for (size_t i = 0; i < p->device_count; i++)
        if (p->devices[i].address && !strcasecmp(p->devices[i].address, address))
            return true;
    return false;
}

static bool is_near(const struct profile *p, const struct place_device *d)
{
    for (size_t i = 0; i < p->numa_nodes.count; i++)
        if ((int)p->numa_nodes.at[i] == d->numa)
            return true;
    return !p->numa_nodes.count;
}

/* The devices of an IOMMU group go together: who holds one holds all. */
static const char *holder_of(const struct place_device *all, size_t n,
                             const struct place_device *d)
{
    for (size_t i = 0; i < n && !d->holder && d->group >= 0; i++)
        if (all[i].group == d->group && all[i].holder)
            return all[i].holder;
    return d->holder;
}

static int by_address(const struct place_device *all, size_t n, char *address,
                      struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (strcasecmp(all[i].address, address))
            continue;
        memcpy(address, all[i].address, strlen(address)); /* as the host writes it */
        const char *holder = holder_of(all, n, &all[i]);
        return holder ? err_set(err, E_BUSY, "device %s is held by VM '%s'", address,
                                holder)
                      : 0;
    }
    return err_set(err, E_NOENT, "there is no device %s on this node", address);
}

static int by_class(const struct place_device *all, size_t n, const struct profile *p,
                    struct profile_device *want, struct err *err)
{
    const struct place_device *best = NULL, *held = NULL, *kept = NULL;
    const char *holder = NULL;
    for (size_t i = 0; i < n; i++) {
        const struct place_device *d = &all[i];
        if (!place_device_is(d, want->class) || is_taken(p, d->address))
            continue;
        const char *other = holder_of(all, n, d);
        if (other)
            held = d, holder = other;
        else if (!d->given)
            kept = d;
        else if (!best || (is_near(p, d) && !is_near(p, best)))
            best = d;
    }
    if (best)
        return (want->address = strdup(best->address)) ? 0 : err_oom(err);
    if (held)
        return err_set(err, E_BUSY,
                       "no device of class '%s' is free: %s is held by VM '%s'",
                       want->class, held->address, holder);
    if (kept)
        return err_set(
            err, E_UNAVAIL,
            "no device of class '%s' is given to machines: the host uses %s; "
            "bind one to the driver vfio-pci",
            want->class, kept->address);
    return err_set(err, E_UNAVAIL, "this node has no device of class '%s'",
                   want->class);
}

int place_devices(const struct place_device *all, size_t n, struct profile *p,
                  struct err *err)
{
    for (size_t i = 0; i < p->device_count; i++)
        if (p->devices[i].address && by_address(all, n, p->devices[i].address, err) < 0)
            return -1;
    for (size_t i = 0; i < p->device_count; i++)
        if (!p->devices[i].address && p->devices[i].class &&
            by_class(all, n, p, &p->devices[i], err) < 0)
            return -1;
    return 0;
}
