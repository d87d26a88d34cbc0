/* SPDX-License-Identifier: Apache-2.0 */
/* Inside src/controller: profiles and clusters by name. A name is looked for among the
 * caller's own, then the site's (root's), then those shipped with Lodge. */
#pragma once
#include "controller/dispatch.h"
#include "profile/cluster.h"
#include "profile/profile.h"

/* {name, owner, version, at, who, origin ("own", "site", "shipped"), body}. kind is
 * "profile" or "cluster". version 0: the current one. */
int document_find(const struct dispatch_call *c, const char *kind, const char *name,
                  uint32_t version, json_t **out, struct err *err);
/* A profile by name, resolved; for tickets too. Its version is set. */
int document_profile(const struct dispatch_call *c, const char *name, uint32_t version,
                     struct profile **out, struct err *err);
