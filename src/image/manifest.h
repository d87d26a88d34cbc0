/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest of one version of an image, a JSON document:
 *
 *   {"schema": 1,
 *    "content": {...},   what the image is: the digest is over this, canonical
 *    "build": {...}}     how it came to be; not in the digest
 *
 * build: time, host, lodge (version), definition (hash), path, rootless, parent (digest of
 * the version before), tools {"mmdebstrap": version, ...}.
 * content: name, version, kind, append, init, root_mode, root_format, marker, outputs {"erofs": {"sha256", "size"}, ...}, packages
 * [{"name", "version", "arch", "sha256"}]. */
#pragma once
#include "base/err.h"

#include <jansson.h>

/* Read and check the document at path. *out is the caller's (json_decref). */
int manifest_load(const char *path, json_t **out, struct err *err);
/* The same from memory; `path` is for messages. */
int manifest_parse(const char *text, size_t len, const char *path, json_t **out,
                   struct err *err);
/* Is this a manifest this program understands? */
int manifest_check(const json_t *m, struct err *err);
/* "sha256:HEX" of the content; the caller's, NULL without memory. */
char *manifest_digest(const json_t *m);
/* A string of the content, or NULL. */
const char *manifest_text(const json_t *m, const char *key);
/* The sha256 (64 hex digits) of an output, or NULL if the image has none such. */
const char *manifest_output(const json_t *m, const char *output);
