/* SPDX-License-Identifier: Apache-2.0 */
/* Looking after the store: list, remove, sweep, verify, tags. */
#pragma once
#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Rows of all images of all stores: name, version, tags, kind, size (of all it has),
 * root, digest, built, store. *out is the caller's. */
int keep_list(json_t **out, struct err *err);
/* The whole manifest of what ref names. */
int keep_manifest(const char *ref, json_t **out, struct err *err);
/* The path of an output's blob; E_NOENT if the image has no such output. */
int keep_output(const char *ref, const char *output, char **path, struct err *err);

/* Remove a version. E_BUSY while somebody holds it (image_hold). A tag that named it
 * goes back to what it named before, or goes. */
int keep_remove(const char *ref, struct err *err);
struct keep_freed {
    unsigned blobs, works, layers;
    uint64_t bytes;
};
/* Remove blobs no manifest names, what killed builds left, and layers of the cache that
 * nobody used for `layer_days`. dry: only count. */
int keep_gc(bool dry, unsigned layer_days, struct keep_freed *out, struct err *err);
/* Check every blob (of ref, or of the whole store) against its hash. Rows {"what",
 * "problem"} of what is wrong, an empty array if nothing. */
int keep_verify(const char *ref, json_t **out, struct err *err);
int keep_tag(const char *ref, const char *tag, struct err *err);
/* The tag "latest" names again what it named before; *version is that. */
int keep_rollback(const char *name, char **version, struct err *err);
