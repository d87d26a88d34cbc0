/* SPDX-License-Identifier: Apache-2.0 */
/* Lists: what a root contains, file by file, and how two such lists differ. */
#pragma once
#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>

/* Write the list of the tree at root to path: sorted lines
 * "TYPE MODE UID GID SIZE CONTENT PATH"; CONTENT is a file's SHA256, a link's target
 * ('%' and blanks quoted as %XX) or "-". Times are not in it: an image has but one. */
int list_write(const char *root, const char *path, struct err *err);

/* Rows {"change": "added"|"removed"|"changed", "path"} from a to b; *out is the
 * caller's. Pure. */
int list_diff(const char *a, const char *b, json_t **out, struct err *err);
/* Rows {"change", "package", "old", "new"} from the packages of two manifests. */
int list_diff_packages(const json_t *a, const json_t *b, json_t **out, struct err *err);
