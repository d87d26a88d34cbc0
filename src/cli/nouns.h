/* SPDX-License-Identifier: Apache-2.0 */
/* Each noun is a file NOUN.c that defines cli_noun_NOUN. */
#pragma once
#include "cli/cli.h"

extern const struct cli_noun cli_noun_profile;
extern const struct cli_noun cli_noun_ckpt;
extern const struct cli_noun cli_noun_cluster;
extern const struct cli_noun cli_noun_image;
extern const struct cli_noun cli_noun_node;
extern const struct cli_noun cli_noun_op;
extern const struct cli_noun cli_noun_events;
extern const struct cli_noun cli_noun_ticket;
extern const struct cli_noun cli_noun_store;
extern const struct cli_noun cli_noun_explain;
extern const struct cli_noun cli_noun_run;
extern const struct cli_noun cli_noun_vm;
extern const struct cli_noun cli_noun_site;
