/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/link.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netlink/addr.h>
#include <netlink/errno.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/bridge.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/own.h"

typedef struct nl_sock nl_sock;
typedef struct rtnl_link rtnl_link;
typedef struct rtnl_addr rtnl_addr;
typedef struct nl_addr nl_addr;
OWN_CLEANUP(nl_sock, nl_socket_free)
OWN_CLEANUP(rtnl_link, rtnl_link_put)
OWN_CLEANUP(rtnl_addr, rtnl_addr_put)
OWN_CLEANUP(nl_addr, nl_addr_put)

/* 0, or libnl's negative code. */
static int connected(nl_sock **s)
{
    *s = nl_socket_alloc();
    return *s ? nl_connect(*s, NETLINK_ROUTE) : -NLE_NOMEM;
}

static int refused(struct err *err, int code, const char *what, const char *name)
{
    return err_set(err, E_SYS, "link '%s': %s: %s", name, what, nl_geterror(code));
}

bool link_exists(const char *name)
{
    return if_nametoindex(name) != 0;
}

/* `change` has what is to be different. */
static int alter(const char *name, rtnl_link *change, const char *what, struct err *err)
{
    AUTO_T(nl_sock) s = NULL;
    AUTO_T(rtnl_link) now = NULL;
    int r = connected(&s);
    if (r == 0)
        r = rtnl_link_get_kernel(s, 0, name, &now);
    if (r == 0)
        r = rtnl_link_change(s, now, change, 0);
    return r < 0 ? refused(err, r, what, name) : 0;
}

int link_make_tap(const char *name, uid_t uid, bool several, struct err *err)
{
    struct ifreq q = {0};
    AUTO_FD fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, "'/dev/net/tun'");
    snprintf(q.ifr_name, sizeof q.ifr_name, "%s", name);
    q.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (several ? IFF_MULTI_QUEUE : 0);
    if (ioctl(fd, TUNSETIFF, &q) < 0 || ioctl(fd, TUNSETOWNER, uid) < 0 ||
        ioctl(fd, TUNSETPERSIST, 1) < 0)
        return err_sys(err, "tap '%s'", name);
    return link_up(name, err);
}

int link_make_bridge(const char *name, struct err *err)
{
    AUTO_T(nl_sock) s = NULL;
    int r = link_exists(name) ? 0 : connected(&s);
    if (r == 0 && s)
        r = rtnl_link_bridge_add(s, name);
    if (r < 0 && !link_exists(name))
        return refused(err, r, "make the bridge", name);
    return link_up(name, err);
}

int link_up(const char *name, struct err *err)
{
    AUTO_T(rtnl_link) change = rtnl_link_alloc();
    if (!change)
        return err_oom(err);
    rtnl_link_set_flags(change, IFF_UP);
    return alter(name, change, "set up", err);
}

int link_join(const char *name, const char *bridge, struct err *err)
{
    AUTO_T(rtnl_link) change = rtnl_link_alloc();
    if (!change)
        return err_oom(err);
    rtnl_link_set_master(change, (int)if_nametoindex(bridge));
    return alter(name, change, "join a bridge", err);
}

int link_give_address(const char *name, const char *address, struct err *err)
{
    AUTO_T(nl_sock) s = NULL;
    AUTO_T(nl_addr) local = NULL;
    AUTO_T(rtnl_addr) a = rtnl_addr_alloc();
    if (!a)
        return err_oom(err);
    int r = nl_addr_parse(address, AF_INET, &local);
    if (r == 0)
        r = rtnl_addr_set_local(a, local);
    if (r == 0)
        r = connected(&s);
    rtnl_addr_set_ifindex(a, (int)if_nametoindex(name));
    if (r == 0)
        r = rtnl_addr_add(s, a, NLM_F_REPLACE);
    return r < 0 ? refused(err, r, "give it an address", name) : 0;
}

int link_delete(const char *name, struct err *err)
{
    AUTO_T(nl_sock) s = NULL;
    AUTO_T(rtnl_link) link = rtnl_link_alloc();
    if (!link)
        return err_oom(err);
    rtnl_link_set_name(link, name);
    int r = connected(&s);
    if (r == 0)
        r = rtnl_link_delete(s, link);
    return r < 0 && link_exists(name) ? refused(err, r, "delete", name) : 0;
}
