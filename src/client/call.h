/* SPDX-License-Identifier: Apache-2.0 */
/* The host's side of calls out of a guest (proto/call.h): Slurm's srun, run for a script
 * in the guest, by this process's children: as the job's owner, in the job's own step and
 * control groups, with the environment Slurm gave us. What the guest chooses is which of
 * srun's options, from a list of those that touch nothing on the host, and what runs in
 * the guests. Its environment and directory go to the guests only. */
#pragma once
#include "base/err.h"
#include "proto/command.h"

/* Fork the one that serves this VM's calls as long as we live, and name the way to it in
 * our environment (CALL_ENV). */
int call_serve(const char *vm, const char *job, struct err *err);

/* In a task that was called for: environment, directory and umask of the caller, but for
 * what Slurm says of this very task. Nothing for other tasks. */
int call_adopt(struct command *c, struct err *err);

/* May a guest ask for this srun? Its words without options of the host. *command is where
 * the command begins. */
int call_check(char *const *argv, size_t *command, struct err *err);
