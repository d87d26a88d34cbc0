/* SPDX-License-Identifier: Apache-2.0 */
/* Loads for comparing a guest with the machine it runs on: STREAM's triad, random
 * updates of memory, integer arithmetic, and how late a sleep of 1 ms ends. One line a
 * measurement: NAME VALUE..., times in ns, each load repeated RUNS times. Static, so
 * that it is the same program in a guest without anything. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

enum {
    RUNS = 5,
    TRIAD_WORDS = 1 << 18, /* three arrays of 2 MiB */
    TRIAD_TURNS = 60,
    TABLE_WORDS = 1 << 22, /* 32 MiB */
    UPDATES = 1 << 22,
    STEPS = 1 << 24,
    SLEEPS = 400,
    SLEEP_NS = 1000000,
};

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void triad(double *a, const double *b, const double *c)
{
    for (unsigned turn = 0; turn < TRIAD_TURNS; turn++) {
        for (unsigned i = 0; i < TRIAD_WORDS; i++)
            a[i] = b[i] + 3.0 * c[i];
        __asm__ __volatile__("" : : "r"(a) : "memory");
    }
}

static void updates(uint64_t *table)
{
    uint64_t x = 1;
    for (unsigned i = 0; i < UPDATES; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        table[x >> 42] ^= x; /* 22 bits */
    }
}

static uint64_t arithmetic(uint64_t x)
{
    for (unsigned i = 0; i < STEPS; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    return x;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* How late each sleep ends, against the moment asked for. */
static void sleeps(void)
{
    static uint64_t late[SLEEPS];
    uint64_t at = now() + 10 * SLEEP_NS;
    for (unsigned i = 0; i < SLEEPS; i++, at += SLEEP_NS) {
        struct timespec t = {.tv_sec = (time_t)(at / 1000000000),
                             .tv_nsec = (long)(at % 1000000000)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
        uint64_t woke = now();
        late[i] = woke - at;
        while (at + SLEEP_NS < woke)
            at += SLEEP_NS; /* missed altogether */
    }
    qsort(late, SLEEPS, sizeof late[0], by_value);
    printf("timer %llu %llu\n", (unsigned long long)late[SLEEPS / 2],
           (unsigned long long)late[SLEEPS * 99 / 100]);
}

static void told(const char *name, uint64_t start)
{
    printf("%s %llu\n", name, (unsigned long long)(now() - start));
}

int main(void)
{
    double *a = malloc(TRIAD_WORDS * sizeof *a), *b = malloc(TRIAD_WORDS * sizeof *b),
           *c = malloc(TRIAD_WORDS * sizeof *c);
    uint64_t *table = malloc(TABLE_WORDS * sizeof *table), x = 1;
    if (!a || !b || !c || !table || prctl(PR_SET_TIMERSLACK, 1) < 0)
        return 1;
    for (unsigned i = 0; i < TRIAD_WORDS; i++)
        a[i] = 0, b[i] = i, c[i] = 2 * i;
    memset(table, 1, TABLE_WORDS * sizeof *table);
    for (unsigned run = 0; run < RUNS; run++) {
        uint64_t start = now();
        triad(a, b, c);
        told("triad", start);
        start = now();
        updates(table);
        told("gups", start);
        start = now();
        x = arithmetic(x);
        told("alu", start);
        sleeps();
        fflush(stdout);
    }
    printf("end %llu\n", (unsigned long long)(x ^ table[0] ^ (uint64_t)a[1]));
    return 0;
}
