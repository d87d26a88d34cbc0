/* SPDX-License-Identifier: Apache-2.0 */
/* Inside src/cli: lodge explain, which is also lodge profile explain. */
#pragma once
#include "cli/cli.h"

struct explain_options {
    const char *type, *nodes;
};
extern struct explain_options explain_input;
extern const struct argp_option explain_options[];
error_t explain_parse(int key, char *arg, struct argp_state *state);
int explain_run(struct cli *cli, int nargs, char **args, struct err *err);
