/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong with a profile beyond the kinds of its single values. Each check is a
 * small function in the list at the end; all of them always run. */
#include "profile/document.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "profile/types.h"
#include "profile/xml.h"

struct check {
    const struct profile *p;
    const struct xml_places *places;
    struct profile_problems *problems;
    size_t before; /* problems of grammar; what follows from one is not told */
};

/* `key` is a field, "memory_bytes" or "nics[1].mac": its line and element are looked
 * up.
 */
static void wrong(const struct check *c, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static bool is_told(const struct check *c, const struct xml_place *place)
{
    size_t n = strcspn(place->where, "@");
    for (size_t i = 0; i < c->before && i < c->problems->count; i++) {
        const struct profile_problem *x = &c->problems->at[i];
        if (x->line == place->line && x->where && !strncmp(x->where, place->where, n) &&
            (!x->where[n] || x->where[n] == '@'))
            return true;
    }
    return false;
}

static void wrong(const struct check *c, const char *key, const char *fmt, ...)
{
    const struct xml_place *place = xml_place_find(c->places, key);
    unsigned line = c->places ? c->places->line : 0;
    if (place && is_told(c, place))
        return;
    AUTO_BUF b = {0};
    va_list ap;
    va_start(ap, fmt);
    str_buf_vprintf(&b, fmt, ap);
    va_end(ap);
    profile_problem(c->problems, place ? place->line : line, place ? place->where : key,
                    "%s", b.data ? b.data : "");
}

static const char *key_of(char *buf, size_t size, const char *list, size_t i)
{
    snprintf(buf, size, "%s[%zu]", list, i);
    return buf;
}

/* "kvm, qemu": those that can; NULL if none can. The caller frees it. */
static char *types_that_can(enum profile_cap cap)
{
    struct str_buf can = {0};
    for (int t = PROFILE_AUTO + 1; t < PROFILE_FAKE; t++)
        if (profile_type_can(t, cap))
            str_buf_printf(&can, "%s%s", can.len ? ", " : "", profile_type_names[t]);
    return can.len ? str_buf_take(&can) : NULL;
}

static void check_caps(const struct check *c)
{
    const struct profile *p = c->p;
    const char *field;
    for (enum profile_cap cap = 0; cap < PROFILE_CAP_COUNT; cap++) {
        if (!profile_needs(p, cap, &field))
            continue;
        AUTO_STR can = types_that_can(cap);
        if (!can)
            wrong(c, field, "no type can %s yet", profile_cap_texts[cap]);
        else if (!profile_type_can(p->type, cap))
            wrong(c, field, "type '%s' cannot %s; these can: %s",
                  profile_type_names[p->type], profile_cap_texts[cap], can);
    }
}

static void check_type(const struct check *c)
{
    const struct profile *p = c->p;
    size_t before = c->problems->count;
    if (!profile_type_is_known(p->type)) {
        wrong(c, "type", "VMware is not supported; use kvm, qemu, xenhvm or hpc");
        return;
    }
    check_caps(c);
    if (p->type != PROFILE_AUTO || c->problems->count > before)
        return;
    for (int t = PROFILE_AUTO + 1; t < PROFILE_FAKE; t++)
        if (profile_type_fits(t, p, NULL))
            return;
    wrong(c, "type", "no type can do all that this profile asks for");
}

static void check_image(const struct check *c)
{
    const struct profile *p = c->p;
    if (!p->image && !p->kernel && !p->cdrom && !xml_place_find(c->places, "image"))
        wrong(c, "image",
              "the profile has no image; add <image>NAME</image>, see 'lodge "
              "image list'");
    if (p->image_size_bytes && p->image && *p->image != '/')
        wrong(c, "image_size_bytes",
              "only an image file given by its path can have a size, not '%s'",
              p->image);
    if (p->initrd && !p->kernel)
        wrong(c, "initrd", "is given without a kernel; add <kernel>");
}

/* The first number that stands in the list a second time; NULL if none does. */
static const uint32_t *twice(const struct profile_u32s *list)
{
    for (size_t i = 0; i < list->count; i++)
        for (size_t k = 0; k < i; k++)
            if (list->at[i] == list->at[k])
                return &list->at[i];
    return NULL;
}

static void check_memory(const struct check *c)
{
    const struct profile *p = c->p;
    char page[32], memory[32];
    uint64_t unit = p->page_bytes ? p->page_bytes : 1 << 20;
    if (p->page_bytes && p->page_bytes != 4096 && p->page_bytes != 2u << 20 &&
        p->page_bytes != 1u << 30) {
        wrong(c, "page_bytes", "a page is 4K, 2M or 1G");
        return;
    }
    if (unit < 1 << 20)
        unit = 1 << 20;
    if (p->memory_bytes % unit) {
        uint64_t up = (p->memory_bytes / unit + 1) * unit;
        str_from_bytes(unit, page, sizeof page);
        str_from_bytes(up, memory, sizeof memory);
        wrong(c, "memory_bytes", "is not a multiple of %s%s; the next is %s",
              p->page_bytes > 4096 ? "the page size " : "", page, memory);
    }
    if (p->numa_nodes.count && p->numa_policy == PROFILE_NUMA_NONE)
        wrong(c, "numa_nodes", "nodes are given without a policy; add numa=\"bind\"");
    const uint32_t *node = twice(&p->numa_nodes);
    if (node)
        wrong(c, "numa_nodes", "node %" PRIu32 " is named twice", *node);
}

static void check_pins(const struct check *c)
{
    const struct profile *p = c->p;
    if (!p->cpu_pin.count)
        return;
    if (p->cpu_pin.count != p->vcpus)
        wrong(c, "cpu_pin",
              "pins %zu CPUs, but there are %" PRIu32 " virtual CPUs; name %s",
              p->cpu_pin.count, p->vcpus,
              p->cpu_pin.count > p->vcpus ? "fewer, or raise count"
                                          : "one for each, or none");
    const uint32_t *cpu = twice(&p->cpu_pin);
    if (cpu)
        wrong(c, "cpu_pin", "CPU %" PRIu32 " is pinned twice", *cpu);
}

static void check_features(const struct check *c)
{
    const struct profile_strs *f = &c->p->cpu_features;
    for (size_t i = 0; i < f->count; i++) {
        const char *s = f->at[i];
        if ((*s != '+' && *s != '-') || !isalnum((unsigned char)s[1]) ||
            s[1 + strspn(s + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789._-")])
            wrong(c, "cpu_features",
                  "'%s' is not +FEATURE or -FEATURE, like +avx512f or -hle", s);
        for (size_t k = 0; k < i; k++)
            if (*s && *f->at[k] && !strcmp(s + 1, f->at[k] + 1))
                wrong(c, "cpu_features",
                      "'%s' and '%s' contradict or repeat each other", f->at[k], s);
    }
}

static void check_disks(const struct check *c)
{
    const struct profile *p = c->p;
    char key[40];
    for (size_t i = 0; i < p->disk_count; i++) {
        const struct profile_disk *d = &p->disks[i];
        key_of(key, sizeof key, "disks", i);
        if (!d->path && !d->size_bytes)
            wrong(c, key, "has neither a path nor a size; give one of them");
        if (!d->path && d->readonly)
            wrong(c, key, "a new empty disk cannot be read-only; give its path");
        if (d->size_bytes % 512)
            wrong(c, key, "the size of a disk is a multiple of 512 bytes");
        if (d->shared && !d->path)
            wrong(c, key, "a shared disk needs a path");
        if (d->shared && !d->readonly && d->format == PROFILE_DISK_QCOW2)
            wrong(c, key, "a shared disk that is written must be raw");
        if (d->id && (!strcmp(d->id, "lodge-root") || !strcmp(d->id, "lodge-scratch")))
            wrong(c, key, "the id '%s' is Lodge's own; choose another", d->id);
        for (size_t k = 0; d->id && k < i; k++)
            if (p->disks[k].id && !strcmp(p->disks[k].id, d->id))
                wrong(c, key, "another disk has the id '%s' too", d->id);
    }
}

static void check_mac(const struct check *c, const char *key, const char *mac)
{
    unsigned long first = strtoul(mac, NULL, 16);
    if (!strcmp(mac, "ff:ff:ff:ff:ff:ff"))
        wrong(c, key,
              "%s is the broadcast address; use one of a single card, like "
              "52:54:00:12:34:56",
              mac);
    else if (first & 1)
        wrong(c, key,
              "%s is a multicast address (its first byte is odd); use one of a "
              "single card, like 52:54:00:12:34:56",
              mac);
    else if (!strcmp(mac, "00:00:00:00:00:00"))
        wrong(c, key, "%s is no address; leave it out and one is made", mac);
}

static void check_nic_option(const struct check *c, const char *key,
                             const struct profile_nic *n)
{
    uint64_t vlan;
    static const char word[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "0123456789._-";
    if (!n->option)
        return;
    if (n->type == PROFILE_NIC_VLAN) {
        if (!str_to_u64(n->option, &vlan) || vlan < 1 || vlan > 4094)
            wrong(c, key, "the option of a VLAN is its number, 1 to 4094, not '%s'",
                  n->option);
    } else if (n->type == PROFILE_NIC_USER || n->type == PROFILE_NIC_ISOLATED) {
        wrong(c, key, "type '%s' takes no option", profile_nic_type_names[n->type]);
    } else if (strlen(n->option) > 15 || n->option[strspn(n->option, word)]) {
        wrong(c, key,
              "the option is the name of an interface of the host (at most 15 "
              "letters), not '%s'",
              n->option);
    }
}

static void check_nics(const struct check *c)
{
    const struct profile *p = c->p;
    char key[40];
    for (size_t i = 0; i < p->nic_count; i++) {
        const struct profile_nic *n = &p->nics[i];
        key_of(key, sizeof key, "nics", i);
        if (n->mac)
            check_mac(c, key, n->mac);
        check_nic_option(c, key, n);
        for (size_t k = 0; n->mac && k < i; k++)
            if (p->nics[k].mac && !strcmp(p->nics[k].mac, n->mac))
                wrong(c, key, "another network card has the address %s too", n->mac);
        if (n->type == PROFILE_NIC_ISOLATED && !n->network)
            wrong(c, key, "type 'isolated' needs the name of its network");
        if ((n->type == PROFILE_NIC_USER || n->type == PROFILE_NIC_NONE) && n->network)
            wrong(c, key, "type '%s' joins no network; use isolated or bridged-tap",
                  profile_nic_type_names[n->type]);
        if (n->queues > p->vcpus)
            wrong(c, key,
                  "%" PRIu32 " queues are more than the %" PRIu32 " virtual CPUs",
                  n->queues, p->vcpus);
        if (n->queues > 1 && n->type == PROFILE_NIC_USER)
            wrong(c, key, "type 'user' has one queue");
    }
}

static bool has_dots(const char *path)
{
    for (const char *s = path; (s = strstr(s, "..")); s += 2)
        if ((s == path || s[-1] == '/') && (!s[2] || s[2] == '/'))
            return true;
    return false;
}

/* A container's root is the host's: what it starts and reads as root is no user's to put
 * there. Elsewhere the guest is the user's own. */
static bool is_system(const char *path)
{
    static const char *const names[] = {
        "usr", "bin",  "sbin", "etc", "dev",   "proc",  "sys",    "run",
        "var", "root", "boot", "lib", "lib32", "lib64", "libx32", ".lodge"};
    size_t n = strcspn(path + 1, "/");
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strlen(names[i]) == n && !strncmp(path + 1, names[i], n))
            return true;
    return false;
}

/* No empty parts, no "." among them, no slash at the end. */
static bool is_plain(const char *path)
{
    size_t n = strlen(path);
    return n > 1 && path[n - 1] != '/' && !strstr(path, "//") && !strstr(path, "/./") &&
           strcmp(path + n - 2, "/.") != 0;
}

static void check_container_share(const struct check *c, const char *key, size_t i)
{
    const char *target = c->p->shares[i].target;
    if (!is_plain(target) || is_system(target))
        wrong(
            c, key,
            "type 'lxc' mounts only outside the system's directories, as on /mnt/data, "
            "not on '%s'",
            target);
    for (size_t k = 0; k < c->p->share_count; k++) {
        const char *other = c->p->shares[k].target;
        size_t n = other ? strlen(other) : 0;
        if (n && k != i && !strncmp(target, other, n) && target[n] == '/')
            wrong(c, key, "type 'lxc' mounts no share within another ('%s' in '%s')",
                  target, other);
    }
}

static void check_shares(const struct check *c)
{
    static const char *const system[] = {"/",    "/proc", "/sys",  "/dev", "/run",
                                         "/usr", "/bin",  "/sbin", "/lib", "/etc"};
    const struct profile *p = c->p;
    char key[40];
    for (size_t i = 0; i < p->share_count; i++) {
        const struct profile_share *s = &p->shares[i];
        key_of(key, sizeof key, "shares", i);
        if (!s->source || !s->target) {
            wrong(c, key, "needs a %s",
                  s->source ? "target, where the guest sees it"
                            : "source, a directory of the host");
            continue;
        }
        if (has_dots(s->source) || has_dots(s->target))
            wrong(c, key, "'..' may not stand in a path here");
        for (size_t k = 0; k < ARRAY_SIZE(system); k++)
            if (!strcmp(s->target, system[k]))
                wrong(c, key, "cannot be mounted on '%s' of the guest", s->target);
        if (p->type == PROFILE_LXC)
            check_container_share(c, key, i);
        for (size_t k = 0; k < i; k++) {
            if (p->shares[k].target && !strcmp(p->shares[k].target, s->target))
                wrong(c, key, "another share has the target '%s' too", s->target);
            if (p->shares[k].tag && s->tag && !strcmp(p->shares[k].tag, s->tag))
                wrong(c, key, "another share has the tag '%s' too", s->tag);
        }
    }
}

static bool is_pci(const char *s)
{
    unsigned domain, bus, slot, function;
    int end = 0;
    return sscanf(s, "%4x:%2x:%2x.%1x%n", &domain, &bus, &slot, &function, &end) == 4 &&
           end == 12 && !s[end] && slot < 32 && function < 8 &&
           strspn(s, "0123456789abcdefABCDEF:.") == 12;
}

static bool is_class(const char *s)
{
    static const char *const names[] = {"gpu",     "net",         "infiniband", "nvme",
                                        "storage", "accelerator", NULL};
    for (int i = 0; names[i]; i++)
        if (!strcmp(names[i], s))
            return true;
    size_t n = strlen(s);
    return str_starts(s, "0x") && (n == 6 || n == 8) &&
           strspn(s + 2, "0123456789abcdefABCDEF") == n - 2;
}

static void check_devices(const struct check *c)
{
    const struct profile *p = c->p;
    char key[40];
    for (size_t i = 0; i < p->device_count; i++) {
        const struct profile_device *d = &p->devices[i];
        key_of(key, sizeof key, "devices", i);
        if (!d->address == !d->class)
            wrong(c, key, "needs either an address or a class");
        if (d->address && !is_pci(d->address))
            wrong(c, key, "'%s' is not a PCI address like 0000:03:00.0", d->address);
        if (d->class && !is_class(d->class))
            wrong(c, key,
                  "'%s' is not a class: gpu, net, infiniband, nvme, storage, "
                  "accelerator or a number like 0x0302",
                  d->class);
        for (size_t k = 0; d->address && k < i; k++)
            if (p->devices[k].address && !strcasecmp(p->devices[k].address, d->address))
                wrong(c, key, "the device %s is named twice", d->address);
    }
    if (p->device_count && p->checkpoint != PROFILE_CHECKPOINT_NONE)
        wrong(c, "checkpoint",
              "a machine with passed-through devices cannot be "
              "checkpointed; remove <devices> or set policy=\"none\"");
    if (p->device_count && p->on_failure == PROFILE_ON_FAILURE_MIGRATE)
        wrong(c, "on_failure",
              "a machine with passed-through devices cannot be migrated; "
              "use stop");
}

static void check_policy(const struct check *c)
{
    const struct profile *p = c->p;
    if (p->share_count && p->checkpoint != PROFILE_CHECKPOINT_NONE &&
        p->checkpoint_shares == PROFILE_CKPT_SHARES_REFUSE)
        wrong(c, "checkpoint",
              "a machine with <shares> cannot be checkpointed as it is; set "
              "shares=\"remount\" (type hpc), or policy=\"none\"");
    if (p->checkpoint == PROFILE_CHECKPOINT_PERIODIC && p->checkpoint_ms < 10000)
        wrong(c, "checkpoint", "policy 'periodic' needs every=\"...\", 10s or more");
    if (p->checkpoint != PROFILE_CHECKPOINT_PERIODIC && p->checkpoint_ms)
        wrong(c, "checkpoint_ms", "'every' needs policy=\"periodic\"");
    if (p->time_ms && p->time_ms < p->ready_ms)
        wrong(c, "time_ms",
              "the machine may live shorter than it may take to get ready; "
              "raise time or lower ready");
    if (p->scratch_bytes && (p->scratch_bytes < 1 << 20 || p->scratch_bytes % 4096))
        wrong(c, "scratch_bytes", "a scratch disk is at least 1M and whole 4K blocks");
    if (p->init && has_dots(p->init))
        wrong(c, "init", "'..' may not stand in a path here");
}

void profile_check_at(const struct profile *p, const struct xml_places *places,
                      struct profile_problems *problems)
{
    static void (*const checks[])(const struct check *) = {
        check_type,  check_image, check_memory, check_pins,    check_features,
        check_disks, check_nics,  check_shares, check_devices, check_policy,
    };
    const struct check c = {p, places, problems, problems->count};
    for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
        checks[i](&c);
}

void profile_check(const struct profile *p, struct profile_problems *problems)
{
    profile_check_at(p, NULL, problems);
}
