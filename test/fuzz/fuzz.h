/* SPDX-License-Identifier: Apache-2.0 */
/* What a fuzz target gives; run.c, libFuzzer and the shell script go by it. */
#pragma once
#include <stddef.h>
#include <stdint.h>

extern const char fuzz_name[];         /* as the file: "profile" */
extern const char *const fuzz_seeds[]; /* more folders of inputs, below the source; ends
                                          with NULL */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
