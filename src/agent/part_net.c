/* SPDX-License-Identifier: Apache-2.0 */
/* Networks on one node. Names follow from ids: tap "lgID.N"; an isolated network's
 * bridge "lgbTAGHASH", a NAT bridge "lgn0". Addresses are ours to give, so the guest hears
 * them over the channel and waits for no DHCP. */
#include "agent/parts.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/link.h"
#include "agent/networks.h"
#include "agent/plan.h"
#include "base/fd.h"
#include "base/proc.h"
#include "base/str.h"

enum { NAT_MS = 10000, HOSTS = 65000 };
#define NAT_BRIDGE "lgn0"
#define NAT_NET    "10.0.3"

static uint32_t hash(const char *s)
{
    uint32_t h = 2166136261u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h ^ h >> 15;
}

/* --- addresses ---------------------------------------------------------------------- */

static bool address_taken(const struct vm *vm, const char *address)
{
    const struct vm *other;
    list_each (other, &vm->agent->vms, in) {
        size_t i;
        json_t *one;
        json_array_foreach (json_object_get(other->vt, "addresses"), i, one)
            if (other != vm && !strcmp(json_string_value(one), address))
                return true;
    }
    return false;
}

/* Follows from the VM, moved on while somebody else has it. */
static void pick_address(const struct vm *vm, const char *prefix2, size_t nic,
                         char address[32])
{
    uint32_t start = hash(vm->id) + nic;
    for (uint32_t i = 0; i < HOSTS; i++) {
        uint32_t host = 256 + (start + i) % HOSTS;
        snprintf(address, 32, "%s.%u.%u", prefix2, host >> 8, host & 255);
        if ((host & 255) && (host & 255) != 255 && !address_taken(vm, address))
            return;
    }
}

static void tell(struct vt_run *r, size_t nic, const char *address, const char *bits,
                 const char *gateway, const char *dns)
{
    static const char *const lists[] = {"interfaces", "addresses", "routes", "dns"};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        if (!json_object_get(r->vt, lists[i]))
            json_object_set_new(r->vt, lists[i], json_array());
    char mac[18];
    plan_mac(r->vm, nic, mac);
    AUTO_STR full = str_printf("%s/%s", address, bits);
    json_array_append_new(
        json_object_get(r->vt, "interfaces"),
        json_pack("{s:s, s:[s]}", "mac", mac, "addresses", full ? full : ""));
    json_array_append_new(json_object_get(r->vt, "addresses"), json_string(address));
    if (gateway)
        json_array_append_new(json_object_get(r->vt, "routes"),
                              json_pack("{s:s, s:s}", "to", "default", "via", gateway));
    if (dns)
        json_array_append_new(json_object_get(r->vt, "dns"), json_string(dns));
}

/* --- kinds ------------------------------------------------------------------------------ */

static int make_tap(struct vt_run *r, const char *tap, const struct profile_nic *nic,
                    struct err *err)
{
    if (geteuid() != 0)
        return err_set(err, E_PERM,
                       "a nic of type '%s' needs an agent that runs as "
                       "root; type 'user' does not",
                       profile_nic_type_names[nic->type]);
    if (link_exists(tap))
        link_delete(tap, NULL);
    return link_make_tap(tap, r->vm->uid, nic->queues > 1, err);
}

static int join(const char *tap, const char *bridge, struct err *err)
{
    if (!link_exists(bridge))
        return err_set(err, E_NOENT, "bridge '%s' does not exist on this node", bridge);
    if (!tap)
        return 0; /* a container's: libvirt puts it there */
    return link_join(tap, bridge, err);
}

static int isolated(struct vt_run *r, size_t i, const char *tap, struct err *err)
{
    const struct profile_nic *nic = &r->profile->nics[i];
    uint32_t net = plan_network(r->vm, nic);
    char bridge[16], prefix[16], address[32];
    plan_bridge(r->vm, i, bridge);
    snprintf(prefix, sizeof prefix, "10.%u", 16 + net % 200);
    if (link_make_bridge(bridge, err) < 0 || join(tap, bridge, err) < 0)
        return -1;
    pick_address(r->vm, prefix, i, address);
    tell(r, i, address, "16", NULL, NULL);
    return 0;
}

static int put_proc(const char *path, const char *text, struct err *err)
{
    AUTO_FD fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 || write(fd, text, strlen(text)) < 0 ? err_sys(err, "'%s'", path) : 0;
}

static int masquerade(struct err *err)
{
    static const char *const nft[] = {
        "nft",
        "add table ip lodge; "
        "add chain ip lodge post { type nat hook postrouting priority 100; }; "
        "flush chain ip lodge post; "
        "add rule ip lodge post ip saddr " NAT_NET ".0/24 masquerade",
        NULL};
    static const char *const seen[] = {"iptables",    "-t", "nat",           "-C",
                                       "POSTROUTING", "-s", NAT_NET ".0/24", "-j",
                                       "MASQUERADE",  NULL};
    static const char *const iptables[] = {"iptables",    "-t", "nat",           "-A",
                                           "POSTROUTING", "-s", NAT_NET ".0/24", "-j",
                                           "MASQUERADE",  NULL};
    struct proc_spec by_nft = {.argv = nft}, is_there = {.argv = seen},
                     by_iptables = {.argv = iptables};
    if (proc_run(&by_nft, NAT_MS, NULL, NULL) == 0 ||
        proc_run(&is_there, NAT_MS, NULL, NULL) == 0 ||
        proc_run(&by_iptables, NAT_MS, NULL, NULL) == 0)
        return 0;
    return err_set(err, E_UNAVAIL,
                   "network address translation: neither nft nor iptables can do it; "
                   "install nftables");
}

static int nat(struct vt_run *r, size_t i, const char *tap, struct err *err)
{
    if (!link_exists(NAT_BRIDGE)) {
        if (link_make_bridge(NAT_BRIDGE, err) < 0 ||
            link_give_address(NAT_BRIDGE, NAT_NET ".1/24", err) < 0 ||
            put_proc("/proc/sys/net/ipv4/ip_forward", "1", err) < 0)
            return -1;
        if (masquerade(err) < 0)
            return -1;
    }
    if (join(tap, NAT_BRIDGE, err) < 0)
        return -1;
    char address[32];
    uint32_t start = hash(r->vm->id);
    for (uint32_t k = 0; k < 250; k++) {
        snprintf(address, sizeof address, NAT_NET ".%u", 2 + (start + k) % 250);
        if (!address_taken(r->vm, address))
            break;
    }
    tell(r, i, address, "24", NAT_NET ".1", NULL);
    return 0;
}

/* A bridge of the site's: with a range of lodge.conf's the guest has its address from
 * us, without one the network's own way (DHCP) is left to it. */
static int sites(struct vt_run *r, size_t i, const char *tap, struct err *err)
{
    struct network net;
    char bridge[16], bits[4], text[INET_ADDRSTRLEN];
    plan_bridge(r->vm, i, bridge);
    if (join(tap, bridge, err) < 0)
        return -1;
    int found = network_find(bridge, &net, err);
    if (found <= 0 || !net.ranged)
        return found < 0 ? -1 : 0;
    uint32_t count = net.last - net.first + 1, start = hash(r->vm->id);
    for (uint32_t k = 0; k < count; k++) {
        struct in_addr a = {.s_addr = htonl(net.first + (start + k) % count)};
        inet_ntop(AF_INET, &a, text, sizeof text);
        if (address_taken(r->vm, text))
            continue;
        snprintf(bits, sizeof bits, "%u", net.bits);
        tell(r, i, text, bits, *net.gateway ? net.gateway : NULL, NULL);
        return 0;
    }
    return err_set(err, E_BUSY, "all %u addresses of bridge '%s' are taken",
                   (unsigned)count, bridge);
}

static int vlan(struct vt_run *r, size_t i, const char *tap, struct err *err)
{
    uint64_t id;
    const char *option = r->profile->nics[i].option;
    if (!option || !str_to_u64(option, &id) || id < 1 || id > 4094)
        return err_set(err, E_INPUT,
                       "a nic of type 'vlan' names a number from 1 to "
                       "4094, not '%s'",
                       option ? option : "");
    return sites(r, i, tap, err); /* br.NUMBER */
}

static int make_nic(struct vt_run *r, size_t i, struct err *err)
{
    const struct profile_nic *nic = &r->profile->nics[i];
    if (nic->type == PROFILE_NIC_USER) {
        /* What QEMU's own network and passt give; the same in every guest. */
        tell(r, i, "10.0.2.15", "24", "10.0.2.2", "10.0.2.3");
        return 0;
    }
    bool container = r->profile->type == PROFILE_LXC;
    AUTO_STR tap = container ? NULL : plan_tap_name(r->vm, i);
    if (!container && (!tap || make_tap(r, tap, nic, err) < 0))
        return tap ? -1 : err_oom(err);
    switch (nic->type) {
    case PROFILE_NIC_TAP_NAT:
        return nat(r, i, tap, err);
    case PROFILE_NIC_ISOLATED:
        return isolated(r, i, tap, err);
    case PROFILE_NIC_VLAN:
        return vlan(r, i, tap, err);
    case PROFILE_NIC_BRIDGED_TAP:
        return sites(r, i, tap, err);
    default:
        return 0; /* a bare tap: the site's scripts do the rest */
    }
}

int net_make(struct vt_run *r, struct err *err)
{
    static const char *const lists[] = {"interfaces", "addresses", "routes", "dns"};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        json_object_del(r->vt, lists[i]);
    if (r->profile->type == PROFILE_FAKE)
        return 0;
    for (size_t i = 0; i < r->profile->nic_count; i++)
        if (r->profile->nics[i].type != PROFILE_NIC_NONE && make_nic(r, i, err) < 0)
            return err_at(err, "nic %zu", i + 1);
    return 0;
}

static bool is_empty_bridge(const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "/sys/class/net/%s/brif", name);
    DIR *d = opendir(path);
    bool empty = d != NULL;
    for (struct dirent *e; d && (e = readdir(d));)
        empty &= *e->d_name == '.';
    if (d)
        closedir(d);
    return empty;
}

int net_clear(struct vt_run *r, struct err *err)
{
    if (geteuid() != 0)
        return 0;
    for (size_t i = 0; i < r->profile->nic_count; i++) {
        AUTO_STR tap = plan_tap_name(r->vm, i);
        char bridge[16];
        if (!tap)
            return err_oom(err);
        if (link_exists(tap) && link_delete(tap, err) < 0)
            return -1;
        if (r->profile->nics[i].type != PROFILE_NIC_ISOLATED)
            continue;
        plan_bridge(r->vm, i, bridge);
        if (is_empty_bridge(bridge))
            link_delete(bridge, NULL);
    }
    return 0;
}

/* Is it a network of a VM that has a row? */
static bool is_wanted(const struct agent *a, const char *name)
{
    struct vm *vm;
    list_each (vm, &a->vms, in)
        for (size_t i = 0; i < vm->profile->nic_count; i++) {
            char bridge[16];
            plan_bridge(vm, i, bridge);
            if (!strcmp(bridge, name))
                return true;
        }
    return false;
}

size_t net_sweep(const struct agent *a, bool remove)
{
    size_t n = 0;
    char prefix[16];
    snprintf(prefix, sizeof prefix, "lgb%s", a->tag);
    DIR *d = geteuid() == 0 ? opendir("/sys/class/net") : NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!str_starts(e->d_name, prefix) || is_wanted(a, e->d_name))
            continue;
        n++;
        if (remove && is_empty_bridge(e->d_name))
            link_delete(e->d_name, NULL);
    }
    if (d)
        closedir(d);
    return n;
}
