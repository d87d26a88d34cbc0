/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of noun ckpt and of vm. */
#pragma once
#include "cli/cli.h"

#include <stdint.h>

/* vm checkpoint, vm restore */
extern const struct argp_option ckpt_make_options[], ckpt_restore_options[];
error_t ckpt_make_parse(int key, char *arg, struct argp_state *state);
error_t ckpt_restore_parse(int key, char *arg, struct argp_state *state);
struct ckpt_make {
    const char *to, *node, *parent;
    bool stop, go_on, track, compress;
};
struct ckpt_restore {
    const char *name, *node, *mode;
    bool no_wait;
};
int ckpt_run_make(struct cli *cli, int nargs, char **args, struct err *err);
int ckpt_run_restore(struct cli *cli, int nargs, char **args, struct err *err);

/* Where checkpoints are kept; one by its name there or by its path. The caller's. */
char *ckpt_home(void);
/* For completion: print the names there that begin so. */
void ckpt_offer(const char *start);
char *ckpt_path(const char *word);

/* ckpt_verify.c: read all of it by docs/format-checkpoint.md; err names the file, the
 * region and the offset that are wrong. *bytes: how many were read. */
int ckpt_check(const char *path, uint64_t *bytes, struct err *err);
