/* SPDX-License-Identifier: Apache-2.0 */
/* Setting up a site: what the controller's machine needs before nodes are added. */
#pragma once
#include "base/err.h"

#include <jansson.h>

/* Write what is missing below DIRS_CONFIG: lodge.conf (all at its default, commented), the
 * controller's SSH key, known_hosts, the key that signs tickets, and node-setup.txt: what
 * to put on nodes. What is there already stays. *made: the paths written, new reference. */
int site_init(json_t **made, struct err *err);

/* Every gap of this site: [{"code", "grade": "fail"|"warn", "what", "way_out"}], empty when all is
 * well. Codes are stable: lodge-site(1) lists them. */
int site_verify(json_t **gaps, struct err *err);
