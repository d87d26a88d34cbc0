/* SPDX-License-Identifier: Apache-2.0 */
/* What every cmocka program includes: cmocka wants these headers before its own. */
#pragma once
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
