/* SPDX-License-Identifier: Apache-2.0 */
/* The list of nouns; each lives in its own file cli_NOUN.c. */
#include "cli/cli.h"

#include <stddef.h>

const struct cli_noun *const cli_nouns[] = {
    NULL,
};
