/* SPDX-License-Identifier: Apache-2.0 */
/* Inside src/profile: what is wrong with a cluster beyond its single values. */
#pragma once
#include "profile/cluster.h"
#include "profile/xml.h"

/* Keys of places: "networks[0]", "members[1]", "disks[0]" and names of fields. */
void cluster_check(const struct cluster *c, const struct xml_places *places,
                   struct profile_problems *problems);
/* cluster.c */
struct cluster_member *cluster_add_member(struct cluster *c);
void cluster_place(struct xml_walk *w, const char *list, size_t i, const char *where,
                   xmlNodePtr node);
