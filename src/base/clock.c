/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks; see the header. */
#include "base/clock.h"

#include <stdio.h>

static uint64_t us_of(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

uint64_t clock_us(void)
{
    return us_of(CLOCK_MONOTONIC);
}

uint64_t clock_ms(void)
{
    return clock_us() / 1000;
}

uint64_t clock_wall_ms(void)
{
    return us_of(CLOCK_REALTIME) / 1000;
}

const char *clock_iso(uint64_t wall_ms, char *buf, size_t size)
{
    time_t t = wall_ms / 1000;
    struct tm tm;
    char day[32], zone[8];
    localtime_r(&t, &tm);
    strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm);
    strftime(zone, sizeof zone, "%z", &tm);
    snprintf(buf, size, "%s%.3s:%s", day, zone, zone + 3);
    return buf;
}
