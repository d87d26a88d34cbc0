/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's side of calls to the host (proto/call.h). */
#pragma once

/* This program under the name `srun`: have the host run it. Gives the exit status. */
int call_srun(int argc, char **argv);
/* lodge-guest --call-wait NAME: one caller's bytes to standard output, and what comes on
 * standard input back. */
int call_wait(const char *name);
/* The directory with our `srun`, for PATH; made where the guest is ours. Made once, as
 * root; the text is static. NULL: there is none. */
const char *call_directory(void);
void call_make_directory(void);
/* "PATH=...", with the directory put in front, if env has CALL_ENV; the caller's. NULL:
 * as it is. */
char *call_path(char *const *env);
