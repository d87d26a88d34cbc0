/* SPDX-License-Identifier: Apache-2.0 */
/* The list of nouns, in the order in which help shows them. */
#include "cli/nouns.h"

#include <stddef.h>

/* clang-format off */
const struct cli_noun *const cli_nouns[] = {
    &cli_noun_run,
    &cli_noun_profile,
    &cli_noun_cluster,
    &cli_noun_image,
    &cli_noun_vm,
    &cli_noun_ckpt,
    &cli_noun_node,
    &cli_noun_op,
    &cli_noun_events,
    &cli_noun_ticket,
    &cli_noun_store,
    &cli_noun_site,
    &cli_noun_explain,
    NULL,
};
