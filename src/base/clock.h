/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks. Intervals are monotonic milliseconds (microseconds in _us); dates are ISO. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <time.h>

uint64_t clock_ms(void);
uint64_t clock_us(void);
/* Wall clock: milliseconds since 1970. Only for showing and storing, never for waiting.
 */
uint64_t clock_wall_ms(void);
/* "2026-02-03T04:05:06+01:00" of a wall clock value, local time; into buf (≥ 32 bytes).
 */
const char *clock_iso(uint64_t wall_ms, char *buf, size_t size);
