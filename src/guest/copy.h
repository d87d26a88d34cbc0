/* SPDX-License-Identifier: Apache-2.0 */
/* put and get: run in the command's place, as the user. */
#pragma once
#include "proto/command.h"

int copy_put(int control, const struct command *c);
int copy_get(int control, const struct command *c);
