/* SPDX-License-Identifier: Apache-2.0 */
#include "profile/cluster_check.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

struct check {
    const struct cluster *c;
    const struct xml_places *places;
    struct profile_problems *problems;
};

struct subnet {
    uint32_t first, last; /* host order, with network and broadcast address */
};

static void wrong(const struct check *k, const char *list, size_t i, const char *fmt,
                  ...) __attribute__((format(printf, 4, 5)));
static void wrong(const struct check *k, const char *list, size_t i, const char *fmt,
                  ...)
{
    char key[40];
    AUTO_BUF b = {0};
    va_list ap;
    snprintf(key, sizeof key, "%s[%zu]", list, i);
    const struct xml_place *place = xml_place_find(k->places, key);
    va_start(ap, fmt);
    str_buf_vprintf(&b, fmt, ap);
    va_end(ap);
    profile_problem(k->problems, place ? place->line : 0, place ? place->where : list,
                    "%s", b.data ? b.data : "");
}

static bool subnet_parse(const char *text, struct subnet *out)
{
    char address[24];
    uint64_t bits;
    struct in_addr in;
    const char *slash = strchr(text, '/');
    if (!slash || (size_t)(slash - text) >= sizeof address ||
        !str_to_u64(slash + 1, &bits) || bits < 8 || bits > 30)
        return false;
    snprintf(address, sizeof address, "%.*s", (int)(slash - text), text);
    if (inet_pton(AF_INET, address, &in) != 1)
        return false;
    uint32_t mask = ~UINT32_C(0) << (32 - bits), host = ntohl(in.s_addr);
    if (host & ~mask || host >> 28 >= 14 || host >> 24 == 127 || !(host >> 24))
        return false;
    *out = (struct subnet){host, host | ~mask};
    return true;
}

static uint64_t machines_on(const struct cluster *c, const char *network)
{
    uint64_t n = 0;
    for (size_t i = 0; i < c->member_count; i++) {
        const struct profile *p = c->members[i].resolved;
        for (size_t k = 0; p && k < p->nic_count; k++)
            if (p->nics[k].network && !strcmp(p->nics[k].network, network))
                n += c->members[i].count;
    }
    return n;
}

static void check_networks(const struct check *k)
{
    const struct cluster *c = k->c;
    struct subnet subnets[64] = {0};
    for (size_t i = 0; i < c->network_count; i++) {
        const struct cluster_network *n = &c->networks[i];
        if (!n->name) {
            wrong(k, "networks", i, "has no name; write <network name=\"...\"/>");
            continue;
        }
        for (size_t m = 0; m < i; m++)
            if (c->networks[m].name && !strcmp(c->networks[m].name, n->name))
                wrong(k, "networks", i, "'%s' is defined twice", n->name);
        if (n->mtu && n->mtu < 576)
            wrong(k, "networks", i, "an mtu is 576 to 65520, usually 1500 or 9000");
        if (!n->subnet)
            continue;
        if (!subnet_parse(n->subnet, &subnets[i])) {
            wrong(k, "networks", i,
                  "'%s' is not a subnet like 10.7.0.0/24 (/8 to /30, host part 0)",
                  n->subnet);
            continue;
        }
        for (size_t m = 0; m < i; m++)
            if (subnets[m].last && subnets[i].first <= subnets[m].last &&
                subnets[m].first <= subnets[i].last)
                wrong(k, "networks", i, "subnet %s overlaps %s of '%s'", n->subnet,
                      c->networks[m].subnet, c->networks[m].name);
        uint64_t room =
            subnets[i].last - subnets[i].first - 2; /* one is the gateway's */
        uint64_t need = machines_on(c, n->name);
        if (need > room)
            wrong(k, "networks", i,
                  "subnet %s has room for %" PRIu64 " machines, and %" PRIu64 " join",
                  n->subnet, room, need);
    }
}

static void check_nic(const struct check *k, size_t m, const struct profile_nic *n)
{
    const char *names[65] = {NULL};
    const struct cluster *c = k->c;
    size_t count = 0;
    if (n->mac && c->members[m].count > 1)
        wrong(k, "members", m,
              "%" PRIu32 " machines cannot all have the address %s; leave it out",
              c->members[m].count, n->mac);
    if (!n->network || n->type != PROFILE_NIC_ISOLATED)
        return; /* other networks are the site's */
    for (size_t i = 0; i < c->network_count; i++)
        if (c->networks[i].name && !strcmp(c->networks[i].name, n->network))
            return;
        else if (c->networks[i].name)
            names[count++] = c->networks[i].name;
    const char *near = str_nearest(n->network, names);
    if (near)
        wrong(k, "members", m, "network '%s' is not defined; did you mean '%s'?",
              n->network, near);
    else
        wrong(k, "members", m,
              "network '%s' is not defined; add <network name=\"%s\"/> to <networks>",
              n->network, n->network);
}

/* An address fixed in two members is one too many. */
static void check_macs(const struct check *k, size_t m)
{
    const struct cluster *c = k->c;
    const struct profile *p = c->members[m].resolved;
    for (size_t i = 0; i < p->nic_count; i++)
        for (size_t o = 0; p->nics[i].mac && o < m; o++) {
            const struct profile *q = c->members[o].resolved;
            for (size_t j = 0; q && j < q->nic_count; j++)
                if (q->nics[j].mac && !strcmp(q->nics[j].mac, p->nics[i].mac))
                    wrong(k, "members", m, "has the address %s of member '%s' too",
                          p->nics[i].mac, c->members[o].name);
        }
}

static void check_members(const struct check *k)
{
    const struct cluster *c = k->c;
    uint64_t vms = 0;
    for (size_t i = 0; i < c->member_count; i++) {
        const struct cluster_member *m = &c->members[i];
        vms += m->count;
        for (size_t o = 0; m->name && o < i; o++)
            if (c->members[o].name && !strcmp(c->members[o].name, m->name))
                wrong(
                    k, "members", i,
                    "another member is called '%s' too; give one of them name=\"...\"",
                    m->name);
        for (size_t d = 0; m->resolved && d < m->resolved->disk_count; d++) {
            const struct profile_disk *disk = &m->resolved->disks[d];
            if (disk->path && !disk->readonly && !disk->shared && m->count > 1)
                wrong(k, "members", i,
                      "%" PRIu32
                      " machines would write the disk %s; make it read-only, "
                      "or a disk of the cluster",
                      m->count, disk->path);
        }
        for (size_t n = 0; m->resolved && n < m->resolved->nic_count; n++)
            check_nic(k, i, &m->resolved->nics[n]);
        if (m->resolved)
            check_macs(k, i);
    }
    const struct xml_place *place = xml_place_find(k->places, "members");
    if (vms > CLUSTER_VMS_MAX)
        profile_problem(k->problems, place ? place->line : 0, "members",
                        "%" PRIu64 " machines are more than %d", vms, CLUSTER_VMS_MAX);
    if (!c->member_count && place)
        profile_problem(k->problems, place->line, "members", "is empty");
}

static void check_disks(const struct check *k)
{
    const struct cluster *c = k->c;
    for (size_t i = 0; i < c->disk_count; i++) {
        const struct profile_disk *d = &c->disks[i];
        if (!d->path)
            wrong(k, "disks", i, "a disk of the cluster needs a path");
        if (!d->readonly && d->format == PROFILE_DISK_QCOW2)
            wrong(k, "disks", i, "a disk that several machines write must be raw");
        for (size_t o = 0; d->id && o < i; o++)
            if (c->disks[o].id && !strcmp(c->disks[o].id, d->id))
                wrong(k, "disks", i, "another disk has the id '%s' too", d->id);
    }
}

void cluster_check(const struct cluster *c, const struct xml_places *places,
                   struct profile_problems *problems)
{
    const struct check k = {c, places, problems};
    check_networks(&k);
    check_members(&k);
    check_disks(&k);
}
