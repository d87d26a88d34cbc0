/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs of `lodge node` about the site's nodes, for the table in node.c. */
#pragma once
#include "cli/cli.h"

int node_site_list(struct cli *cli, int nargs, char **args, struct err *err);
int node_site_show(struct cli *cli, int nargs, char **args, struct err *err);
int node_site_add(struct cli *cli, int nargs, char **args, struct err *err);
int node_site_drain(struct cli *cli, int nargs, char **args, struct err *err);
int node_site_resume(struct cli *cli, int nargs, char **args, struct err *err);
int node_site_remove(struct cli *cli, int nargs, char **args, struct err *err);
int node_enrol(struct cli *cli, int nargs, char **args, struct err *err);

extern const struct argp_option node_site_add_options[], node_site_drain_options[];
error_t node_site_add_parse(int key, char *arg, struct argp_state *state);
error_t node_site_drain_parse(int key, char *arg, struct argp_state *state);
extern struct node_site_add
    node_site_add_input; /* where the parsers put what they read */
extern const char *node_site_drain_input;
