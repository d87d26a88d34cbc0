/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs of lodge image that reach outside the store (image_port.c), for the table in
 * image.c. */
#pragma once
#include "cli/cli.h"

extern const struct argp_option cli_image_import_argp[], cli_image_sign_argp[];
error_t cli_image_import_parse(int key, char *arg, struct argp_state *state);
error_t cli_image_sign_parse(int key, char *arg, struct argp_state *state);
int cli_image_import(struct cli *cli, int nargs, char **args, struct err *err);
int cli_image_export(struct cli *cli, int nargs, char **args, struct err *err);
int cli_image_exec(struct cli *cli, int nargs, char **args, struct err *err);
int cli_image_shell(struct cli *cli, int nargs, char **args, struct err *err);
int cli_image_copy(struct cli *cli, int nargs, char **args, struct err *err);
int cli_image_push(struct cli *cli, int nargs, char **args, struct err *err);
extern const struct argp_option cli_image_freeze_argp[];
error_t cli_image_freeze_parse(int key, char *arg, struct argp_state *state);
int cli_image_freeze(struct cli *cli, int nargs, char **args, struct err *err);
int cli_image_sign(struct cli *cli, int nargs, char **args, struct err *err);
