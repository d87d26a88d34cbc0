/* SPDX-License-Identifier: Apache-2.0 */
/* The site's networks; see the header. Called at deploy (may the user?) and by staging. */
#include "agent/networks.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/conf.h"
#include "base/own.h"
#include "base/str.h"

static bool address(const char *text, uint32_t *out)
{
    struct in_addr a;
    if (inet_pton(AF_INET, text, &a) != 1)
        return false;
    *out = ntohl(a.s_addr);
    return true;
}

int network_parse(const char *text, struct network *out, struct err *err)
{
    char first[16] = "", last[16] = "";
    int end = 0;
    uint32_t gateway;
    *out = (struct network){0};
    int n = sscanf(text, "%15[A-Za-z0-9._-]%n", out->bridge, &end);
    const char *rest = text + end;
    if (n == 1 && !*rest)
        return 0;
    n = n == 1
            ? sscanf(rest, "=%15[0-9.]-%15[0-9.]/%2u%n", first, last, &out->bits, &end)
            : 0;
    rest += n == 3 ? end : 0;
    if (n == 3 && *rest == '@') {
        snprintf(out->gateway, sizeof out->gateway, "%s", rest + 1);
        if (!address(out->gateway, &gateway) || strcmp(out->gateway, rest + 1))
            n = 0;
        rest = "";
    }
    if (n != 3 || *rest || !address(first, &out->first) || !address(last, &out->last) ||
        out->first > out->last || out->bits < 1 || out->bits > 30)
        return err_set(err, E_INPUT,
                       "lodge.conf: networks: '%s' is not BRIDGE or "
                       "BRIDGE=FIRST-LAST/BITS@GATEWAY",
                       text);
    out->ranged = true;
    return 0;
}

int network_find(const char *bridge, struct network *out, struct err *err)
{
    AUTO(conf) conf = NULL;
    if (conf_load(NULL, &conf, err) < 0)
        return -1;
    AUTO_STR list = strdup(conf_text(conf, CONF_NETWORKS));
    if (!list)
        return err_oom(err);
    char *rest = list;
    for (char *one; (one = strsep(&rest, ", "));) {
        if (!*one)
            continue;
        if (network_parse(one, out, err) < 0)
            return -1;
        if (!strcmp(out->bridge, bridge))
            return 1;
    }
    return 0;
}
