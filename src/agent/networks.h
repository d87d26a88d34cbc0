/* SPDX-License-Identifier: Apache-2.0 */
/* The site's networks: key "networks" of lodge.conf, a list like
 *
 *   br0=10.1.4.10-10.1.4.99/16@10.1.0.1, br.7
 *
 * Users may name these bridges in their own profiles. A machine in one with a range gets
 * an address of it, which this node alone gives out. */
#pragma once
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct network {
    char bridge[16];
    bool ranged;
    uint32_t first, last; /* host's byte order */
    unsigned bits;
    char gateway[16]; /* "": none */
};

/* Parse one entry. */
int network_parse(const char *text, struct network *out, struct err *err);
/* 1: the site lists the bridge, 0: it does not, -1: lodge.conf is wrong. */
int network_find(const char *bridge, struct network *out, struct err *err);
