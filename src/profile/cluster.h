/* SPDX-License-Identifier: Apache-2.0 */
/* Virtual clusters: profiles with counts, the networks and disks they share, where they
 * go and in which order they boot. */
#pragma once
#include "profile/problems.h"
#include "profile/profile.h"

#define CLUSTER_PLACEMENTS(X)                                                          \
    X(CLUSTER_ANY, "any")       /* as it fits */                                       \
    X(CLUSTER_SPREAD, "spread") /* over as many nodes as there are */                  \
    X(CLUSTER_PACK, "pack")     /* on as few nodes as possible */

#define X(value, word) value,
enum cluster_placement { CLUSTER_PLACEMENTS(X) CLUSTER_PLACEMENT_COUNT };
#undef X
extern const char *const cluster_placement_names[];

enum { CLUSTER_VMS_MAX = 65536 };

struct cluster_network {
    char *name;
    char *subnet; /* "10.7.0.0/24"; NULL: one is chosen */
    uint32_t mtu; /* 0: usual */
};

struct cluster_member {
    char *name;    /* of the machines: NAME0, NAME1 ...; the profile's if not given */
    char *profile; /* by its name in the store */
    uint32_t count;
    uint32_t order; /* lower ones boot first */
    /* The profile with this member's changes and the cluster's disks; NULL when there
     * was nobody to ask for profiles. */
    struct profile *resolved;
};

struct cluster {
    char *name;
    char *description;
    struct cluster_network *networks;
    size_t network_count;
    struct cluster_member *members;
    size_t member_count;
    struct profile_disk *disks;
    size_t disk_count;
    enum cluster_placement placement;
    uint32_t per_node; /* at most so many machines a node; 0: as it fits */
};

void cluster_free(struct cluster *c);
OWN_DEFINE(cluster)

/* Gives the profile of that name, the caller's; E_NOENT if there is none. */
typedef int (*cluster_lookup_f)(void *arg, const char *name, struct profile **out,
                                struct err *err);
/* As profile_parse(). Without lookup only what stands in the document is checked. */
int cluster_parse(const char *text, size_t len, cluster_lookup_f lookup, void *arg,
                  struct cluster **out, struct profile_problems *problems);
int cluster_parse_stored(const char *text, size_t len, cluster_lookup_f lookup,
                         void *arg, struct cluster **out,
                         struct profile_problems *problems);
/* All of it; each member has "resolved" as profile_to_json() gives it, if it is there.
 */
json_t *cluster_to_json(const struct cluster *c);
uint32_t cluster_vms(const struct cluster *c);
