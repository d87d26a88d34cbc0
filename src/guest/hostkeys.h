/* SPDX-License-Identifier: Apache-2.0 */
/* No image carries host keys. Where an init of the image's own makes them, that is its
 * business; where lodge-guest is the init, it does, once entropy has come. */
#pragma once
#include <jansson.h>

/* Make a key if there is an SSH server without one. */
void hostkeys_make(json_t *warnings);
