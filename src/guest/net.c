/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and routes by rtnetlink, without ip(8): an interface is found by its MAC or
 * name, its own addresses are exactly the ones given, and it is up. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/if_ether.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/own.h"
#include "base/str.h"
#include "guest/identity.h"

struct request {
    struct nlmsghdr head;
    char room[512];
};

static void begin(struct request *r, int type, int flags, const void *body, size_t len)
{
    memset(r, 0, sizeof *r);
    r->head.nlmsg_type = type;
    r->head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    memcpy(NLMSG_DATA(&r->head), body, len);
    r->head.nlmsg_len = NLMSG_LENGTH(len);
}

static void attribute(struct request *r, int type, const void *data, size_t len)
{
    struct rtattr *a = (struct rtattr *)((char *)r + NLMSG_ALIGN(r->head.nlmsg_len));
    a->rta_type = type;
    a->rta_len = RTA_LENGTH(len);
    memcpy(RTA_DATA(a), data, len);
    r->head.nlmsg_len = NLMSG_ALIGN(r->head.nlmsg_len) + RTA_ALIGN(a->rta_len);
}

/* Send and wait for the acknowledgement; 0 or -1 with errno. */
static int ask(int nl, struct request *r)
{
    char answer[4096];
    if (send(nl, r, r->head.nlmsg_len, 0) < 0)
        return -1;
    for (;;) {
        ssize_t n = recv(nl, answer, sizeof answer, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        struct nlmsghdr *h = (struct nlmsghdr *)answer;
        for (; NLMSG_OK(h, (size_t)n); h = NLMSG_NEXT(h, n)) {
            if (h->nlmsg_type != NLMSG_ERROR)
                continue;
            errno = -((struct nlmsgerr *)NLMSG_DATA(h))->error;
            return errno ? -1 : 0;
        }
    }
}

struct address {
    int family;
    unsigned char raw[16];
    size_t len;
    int prefix;
};

/* "10.0.0.1", "10.0.0.0/8", "fd00::1/64". */
static bool parse_address(const char *text, struct address *a)
{
    char host[64];
    uint64_t prefix;
    if (!text)
        return false;
    size_t n = strcspn(text, "/");
    if (n >= sizeof host)
        return false;
    memcpy(host, text, n);
    host[n] = '\0';
    a->family = strchr(host, ':') ? AF_INET6 : AF_INET;
    a->len = a->family == AF_INET6 ? 16 : 4;
    if (inet_pton(a->family, host, a->raw) != 1)
        return false;
    prefix = a->len * 8;
    if (text[n] && (!str_to_u64(text + n + 1, &prefix) || prefix > a->len * 8))
        return false;
    a->prefix = prefix;
    return true;
}

static bool has_mac(int sock, const char *name, const char *mac)
{
    struct ifreq r = {0};
    char text[24];
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
    if (ioctl(sock, SIOCGIFHWADDR, &r) < 0)
        return false;
    const unsigned char *b = (const unsigned char *)r.ifr_hwaddr.sa_data;
    snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3],
             b[4], b[5]);
    return !strcasecmp(text, mac);
}

/* The index of the interface with this MAC; 0 if there is none. */
static unsigned by_mac(const char *mac)
{
    AUTO_FD sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct if_nameindex *all = if_nameindex();
    unsigned found = 0;
    for (struct if_nameindex *i = all; i && i->if_index && !found; i++)
        if (has_mac(sock, i->if_name, mac))
            found = i->if_index;
    if (all)
        if_freenameindex(all);
    return found;
}

static int set_link(int nl, unsigned index, int mtu)
{
    struct ifinfomsg body = {
        .ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct request r;
    begin(&r, RTM_NEWLINK, 0, &body, sizeof body);
    if (mtu > 0) {
        uint32_t v = mtu;
        attribute(&r, IFLA_MTU, &v, sizeof v);
    }
    return ask(nl, &r);
}

static bool parse_mac(const char *text, unsigned char mac[6])
{
    unsigned b[6];
    char end;
    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1], &b[2], &b[3], &b[4],
               &b[5], &end) != 6)
        return false;
    for (int i = 0; i < 6; i++)
        mac[i] = b[i];
    return true;
}

/* A clone has the card of the machine it was: it gets a MAC of its own. Down first, so
 * that the address that the kernel made of the old MAC goes, too. */
static int set_mac(int nl, unsigned index, const char *text)
{
    struct ifinfomsg body = {.ifi_index = index, .ifi_change = IFF_UP};
    unsigned char mac[6];
    struct request r;
    if (!parse_mac(text, mac))
        return errno = EINVAL, -1;
    begin(&r, RTM_NEWLINK, 0, &body, sizeof body);
    if (ask(nl, &r) < 0)
        return -1;
    body.ifi_change = 0;
    begin(&r, RTM_NEWLINK, 0, &body, sizeof body);
    attribute(&r, IFLA_ADDRESS, mac, sizeof mac);
    return ask(nl, &r);
}

/* Tell the network where the address is now: switches and neighbours may know another
 * place, when the machine came from a checkpoint. */
static void announce(unsigned index, const char *mac_text, const struct address *a)
{
    struct {
        unsigned char to[6], from[6];
        uint16_t type;
        struct ether_arp arp;
    } __attribute__((packed)) frame = {.type = htons(ETH_P_ARP)};
    struct sockaddr_ll where = {.sll_family = AF_PACKET,
                                .sll_protocol = htons(ETH_P_ARP),
                                .sll_ifindex = index,
                                .sll_halen = 6};
    unsigned char mac[6];
    if (a->family != AF_INET || !mac_text || !parse_mac(mac_text, mac))
        return;
    AUTO_FD sock = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ARP));
    memset(frame.to, 0xff, sizeof frame.to);
    memcpy(frame.from, mac, sizeof mac);
    frame.arp.ea_hdr = (struct arphdr){.ar_hrd = htons(ARPHRD_ETHER),
                                       .ar_pro = htons(ETH_P_IP),
                                       .ar_hln = 6,
                                       .ar_pln = 4,
                                       .ar_op = htons(ARPOP_REQUEST)};
    memcpy(frame.arp.arp_sha, mac, sizeof mac);
    memcpy(frame.arp.arp_spa, a->raw, 4);
    memcpy(frame.arp.arp_tpa, a->raw, 4);
    memset(where.sll_addr, 0xff, 6);
    if (sock >= 0 && sendto(sock, &frame, sizeof frame, 0, (struct sockaddr *)&where,
                            sizeof where) < 0)
        return; /* no carrier yet: then nobody knows another place either */
}

static int change_address(int nl, int type, unsigned index, const struct address *a)
{
    struct ifaddrmsg body = {
        .ifa_family = a->family, .ifa_prefixlen = a->prefix, .ifa_index = index};
    struct request r;
    /* No duplicate address detection: the agent gives each address once, and nobody
     * wants to wait for it. */
    if (a->family == AF_INET6)
        body.ifa_flags = IFA_F_NODAD;
    begin(&r, type, type == RTM_NEWADDR ? NLM_F_CREATE | NLM_F_REPLACE : 0, &body,
          sizeof body);
    attribute(&r, IFA_LOCAL, a->raw, a->len);
    attribute(&r, IFA_ADDRESS, a->raw, a->len);
    if (a->family == AF_INET && a->prefix < 31) {
        uint32_t v;
        memcpy(&v, a->raw, sizeof v);
        v |= htonl(UINT32_MAX >> a->prefix);
        attribute(&r, IFA_BROADCAST, &v, sizeof v);
    }
    return ask(nl, &r);
}

enum { HELD_MAX = 64 };
struct held {
    struct address list[HELD_MAX];
    size_t n;
};

static void note_held(const struct nlmsghdr *h, unsigned index, struct held *held)
{
    const struct ifaddrmsg *m = NLMSG_DATA(h);
    size_t len = h->nlmsg_len - NLMSG_LENGTH(sizeof *m);
    struct address a = {.family = m->ifa_family, .prefix = m->ifa_prefixlen};
    if (m->ifa_index != index || m->ifa_scope == RT_SCOPE_LINK)
        return;
    for (struct rtattr *t = IFA_RTA(m); RTA_OK(t, len); t = RTA_NEXT(t, len)) {
        bool own = t->rta_type == IFA_LOCAL ||
                   (t->rta_type == IFA_ADDRESS && m->ifa_family == AF_INET6);
        if (own && RTA_PAYLOAD(t) <= sizeof a.raw) {
            a.len = RTA_PAYLOAD(t);
            memcpy(a.raw, RTA_DATA(t), a.len);
        }
    }
    if (a.len && held->n < HELD_MAX)
        held->list[held->n++] = a;
}

/* The addresses the interface has, without the link's own. */
static void list_addresses(unsigned index, struct held *held)
{
    AUTO_FD nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    struct ifaddrmsg body = {.ifa_family = AF_UNSPEC};
    struct request r;
    char answer[32768];
    begin(&r, RTM_GETADDR, NLM_F_DUMP, &body, sizeof body);
    r.head.nlmsg_flags &= ~NLM_F_ACK;
    held->n = 0;
    if (nl < 0 || send(nl, &r, r.head.nlmsg_len, 0) < 0)
        return;
    for (;;) {
        ssize_t n = recv(nl, answer, sizeof answer, 0);
        if (n <= 0)
            return;
        struct nlmsghdr *h = (struct nlmsghdr *)answer;
        for (; NLMSG_OK(h, (size_t)n); h = NLMSG_NEXT(h, n)) {
            if (h->nlmsg_type != RTM_NEWADDR)
                return;
            note_held(h, index, held);
        }
    }
}

static bool same(const struct address *a, const struct address *b)
{
    return a->family == b->family && a->prefix == b->prefix &&
           !memcmp(a->raw, b->raw, a->len);
}

static void apply_interface(int nl, const json_t *entry, size_t number,
                            json_t *warnings)
{
    const char *mac = NULL, *was = NULL, *name = NULL;
    json_t *addresses = NULL, *text;
    int mtu = 0;
    size_t i, k, wanted = 0;
    struct address want[HELD_MAX];
    struct held held;
    json_unpack((json_t *)entry, "{s?s, s?s, s?s, s?i, s?o}", "mac", &mac, "was", &was,
                "name", &name, "mtu", &mtu, "addresses", &addresses);
    unsigned index = mac ? by_mac(mac) : name ? if_nametoindex(name) : 0;
    if (!index && mac && was && (index = by_mac(was)) && set_mac(nl, index, mac) < 0)
        identity_warn(warnings, "MAC '%s': %s", mac, strerror(errno));
    const char *called = mac ? mac : name ? name : "?";
    if (!index) {
        identity_warn(warnings, "interface %zu ('%s') is not there", number, called);
        return;
    }
    if (set_link(nl, index, mtu) < 0)
        identity_warn(warnings, "interface '%s': %s", called, strerror(errno));
    if (!addresses)
        return;
    json_array_foreach (addresses, i, text) {
        if (wanted < HELD_MAX && parse_address(json_string_value(text), &want[wanted]))
            wanted++;
        else
            identity_warn(warnings, "interface '%s': address %zu is wrong", called,
                          i + 1);
    }
    /* Old ones first: with the first address of a net the kernel drops the others. */
    list_addresses(index, &held);
    for (i = 0; i < held.n; i++) {
        for (k = 0; k < wanted && !same(&held.list[i], &want[k]); k++)
            ;
        if (k == wanted)
            change_address(nl, RTM_DELADDR, index, &held.list[i]);
    }
    for (i = 0; i < wanted; i++) {
        if (change_address(nl, RTM_NEWADDR, index, &want[i]) < 0)
            identity_warn(warnings, "interface '%s': address %zu: %s", called, i + 1,
                          strerror(errno));
        announce(index, mac, &want[i]);
    }
}

static void apply_route(int nl, const json_t *entry, size_t number, json_t *warnings)
{
    const char *to = "default", *via = NULL, *mac = NULL, *name = NULL;
    struct address dest = {0}, gate = {0};
    json_unpack((json_t *)entry, "{s?s, s?s, s?s, s?s}", "to", &to, "via", &via, "mac",
                &mac, "interface", &name);
    bool all = !strcmp(to, "default");
    uint32_t index = mac ? by_mac(mac) : name ? if_nametoindex(name) : 0;
    if ((!all && !parse_address(to, &dest)) || (via && !parse_address(via, &gate)) ||
        (!via && !index) || (via && !all && gate.family != dest.family)) {
        identity_warn(warnings, "route %zu is wrong", number);
        return;
    }
    struct rtmsg body = {.rtm_family = via ? gate.family : dest.family,
                         .rtm_dst_len = all ? 0 : dest.prefix,
                         .rtm_table = RT_TABLE_MAIN,
                         .rtm_protocol = RTPROT_STATIC,
                         .rtm_scope = via ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK,
                         .rtm_type = RTN_UNICAST};
    struct request r;
    begin(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &body, sizeof body);
    if (!all)
        attribute(&r, RTA_DST, dest.raw, dest.len);
    if (via)
        attribute(&r, RTA_GATEWAY, gate.raw, gate.len);
    if (index)
        attribute(&r, RTA_OIF, &index, sizeof index);
    if (ask(nl, &r) < 0)
        identity_warn(warnings, "route to '%s': %s", to, strerror(errno));
}

void net_loopback(json_t *warnings)
{
    AUTO_FD nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    unsigned lo = if_nametoindex("lo");
    if (nl < 0 || !lo || set_link(nl, lo, 0) < 0)
        identity_warn(warnings, "loopback: %s", strerror(errno));
}

void net_apply(const json_t *interfaces, const json_t *routes, json_t *warnings)
{
    AUTO_FD nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    size_t i;
    json_t *entry;
    if (nl < 0) {
        identity_warn(warnings, "netlink: %s", strerror(errno));
        return;
    }
    json_array_foreach (interfaces, i, entry)
        apply_interface(nl, entry, i + 1, warnings);
    json_array_foreach (routes, i, entry)
        apply_route(nl, entry, i + 1, warnings);
}
