/* SPDX-License-Identifier: Apache-2.0 */
/* lodge cluster start, stop, status: for the table in cluster.c. */
#pragma once
#include "cli/cli.h"

struct cluster_run_options {
    const char *node;
    bool no_wait;
};
extern struct cluster_run_options cluster_run_input;
extern const struct argp_option cluster_run_options[];
error_t cluster_run_parse(int key, char *arg, struct argp_state *state);

int cluster_run_start(struct cli *cli, int nargs, char **args, struct err *err);
int cluster_run_stop(struct cli *cli, int nargs, char **args, struct err *err);
int cluster_run_status(struct cli *cli, int nargs, char **args, struct err *err);
