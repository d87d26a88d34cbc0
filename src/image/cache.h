/* SPDX-License-Identifier: Apache-2.0 */
/* A node's cache: images that the controller sends, blob by blob. What came so far of a
 * blob stands in DIR/partial/HEX, so that a broken transfer goes on where it was; nothing
 * is seen by anybody before all of it has the right hash. Only images that came this way
 * make room for others: those not used for longest first, never one that is held
 * (image_hold). */
#pragma once
#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CACHE_PART_MAX = 512 << 10 };

/* What of this image is missing here? *out: {"here": bool, "missing": [{"sha256", "size",
 * "have"}]}. Makes room for it, so that all such images stay below limit bytes; E_BUSY
 * if those in use leave too little, E_INPUT if it alone is larger. */
int cache_offer(const json_t *manifest, bool latest, uint64_t limit, json_t **out,
                struct err *err);
/* Some bytes of a blob that was offered. *have: how many are here then. */
int cache_part(const char *sha256, uint64_t offset, const void *data, size_t len,
               uint64_t *have, struct err *err);
/* All parts came: check them against their hashes and let the image be seen. E_IO when
 * one was damaged on its way (it is forgotten: offer again). */
int cache_commit(const json_t *manifest, bool latest, struct err *err);
/* Wait until an image that the controller was asked for is here. E_NOENT when nothing of
 * any image came for quiet_s, or after at_most_s. */
int cache_await(const char *ref, unsigned quiet_s, unsigned at_most_s, struct err *err);
/* As image_hold(); and from now on the image was used just now. */
int cache_use(const char *ref, struct err *err);
