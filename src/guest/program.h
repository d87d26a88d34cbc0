/* SPDX-License-Identifier: Apache-2.0 */
/* A program of the guest's own image, run to its end with nothing to read or to say. */
#pragma once

/* argv[0] is its path. 0 when it was started, else an errno; how it ended is not known
 * where SIGCHLD is ignored, so look at what it did. */
int program_run(const char *const argv[]);
