/* SPDX-License-Identifier: Apache-2.0 */
/* From a build to its manifest (manifest.h). Inside src/image. */
#pragma once
#include "image/steps.h"

#include <jansson.h>

/* The complete kernel command line; the caller's. */
char *describe_append(const struct build *b);
/* Takes no reference of outputs. NULL without memory. */
json_t *describe_manifest(const struct build *b, json_t *outputs);
