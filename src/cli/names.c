/* SPDX-License-Identifier: Apache-2.0 */
/* Live names for completion. Quiet and quick: what cannot be had is not offered. */
#include "cli/cli.h"

#include <string.h>

#include "base/str.h"
#include "profile/profile.h"

static void offer_words(const char *const *words, const char *start)
{
    for (; *words; words++)
        if (str_starts(*words, start))
            puts(*words);
}

void cli_complete_names(const char *what, const char *start)
{
    if (!strcmp(what, "TYPE"))
        offer_words(profile_type_names, start);
}
