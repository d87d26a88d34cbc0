/* SPDX-License-Identifier: Apache-2.0 */
/* Calls out of a guest: which sruns are let through, and frames of any bytes. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/call.h"
#include "proto/call.h"

static int check(const char *line, size_t *at)
{
    char *copy = strdup(line), *words[32] = {NULL}, *save = NULL;
    size_t n = 0;
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
        words[n++] = w;
    int rc = call_check(words, at, NULL);
    free(copy);
    return rc;
}

static void test_options(void **state)
{
    static const struct {
        const char *line;
        int at; /* -1: refused */
    } cases[] = {
        {"srun true", 1},
        {"srun -n4 -N 2 hostname -o x", 4},
        {"srun --ntasks=4 --nodes 2 -lu a", 5},
        {"srun -ln4 a", 2},
        {"srun -- -x", 2},
        {"srun -K1 --kill-on-bad-exit a", 3},
        {"srun --ntasks-per-node=1 --kill-on-bad-exit --cpu-bind=none --nodes=1 "
         "--nodelist=n2 --ntasks=1 orted -mca x y",
         7},
        {"srun", -1},
        {"srun -n4", -1},
        {"srun -n", -1},
        {"srun -o f true", -1},
        {"srun -lof true", -1},
        {"srun --output=f true", -1},
        {"srun --task-prolog=/x true", -1},
        {"srun --task-prolo=/x true", -1},
        {"srun --nodelist=/etc/passwd true", -1},
        {"srun --nodelist /etc/passwd true", -1},
        {"srun -w/etc/passwd true", -1},
        {"srun --label=1 true", -1},
        {"srun true : --task-prolog=/x true", -1},
        {"srun --jobid=5 true", -1},
        {"srun --mpi=/tmp/evil true", -1},
        {"srun --het-group=1 true", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t at = 0;
        int rc = check(cases[i].line, &at);
        if (rc != (cases[i].at < 0 ? -1 : 0) || (rc == 0 && (int)at != cases[i].at))
            fail_msg("%s: %d, %zu", cases[i].line, rc, at);
    }
}

static int read_all(const void *bytes, size_t len, struct call_reader *r)
{
    int p[2];
    assert_int_equal(pipe(p), 0);
    assert_int_equal(write(p[1], bytes, len), (ssize_t)len);
    close(p[1]);
    while (call_read(r, p[0]) > 0)
        ;
    close(p[0]);
    return 0;
}

static void test_frames(void **state)
{
    struct call_writer w = {0};
    struct call_reader r = {0};
    char kind, part[1000];
    const char *data;
    size_t len;
    memset(part, 'x', sizeof part);
    assert_int_equal(call_put(&w, CALL_OUT, part, sizeof part), 0);
    assert_int_equal(call_put(&w, CALL_INPUT, NULL, 0), 0);
    read_all(w.data, w.len, &r);
    assert_int_equal(call_next(&r, &kind, &data, &len), 1);
    assert_int_equal(kind, CALL_OUT);
    assert_int_equal(len, sizeof part);
    assert_memory_equal(data, part, len);
    call_drop(&r);
    assert_int_equal(call_next(&r, &kind, &data, &len), 1);
    assert_int_equal(len, 0);
    call_drop(&r);
    assert_int_equal(call_next(&r, &kind, &data, &len), 0);
    call_reader_done(&r);
    /* Lengths and kinds that no honest end sends. */
    static const char bad[][6] = {"I\xff\xff\xff\xff", "S\2\0\0\0", "X\3\0\0\0",
                                  "z\0\0\0\0", "I\1\200\0\0"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        read_all(bad[i], 5, &r);
        assert_int_equal(call_next(&r, &kind, &data, &len), -1);
        call_reader_done(&r);
    }
    call_writer_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_options),
                                       cmocka_unit_test(test_frames)};
    return cmocka_run_group_tests_name("call", tests, NULL, NULL);
}
