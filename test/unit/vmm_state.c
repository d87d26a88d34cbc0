/* SPDX-License-Identifier: Apache-2.0 */
/* Saved state and configurations: whole, damaged in every byte, and wrong in every way. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ckpt/state.h"
#include "vmm/config.h"

static void write_two(struct state_writer *w)
{
    struct err err = {0};
    state_begin(w, "one", 3);
    state_put(w, 7, "abcde", 5);
    state_put(w, 7, "second", 6);
    state_put_u64(w, 8, 0x1122334455667788ull);
    state_end(w);
    state_begin(w, "two", 1);
    state_end(w);
    assert_int_equal(state_finish(w, &err), 0);
}

static void test_round_trip(void **state)
{
    struct state_writer w = {0};
    struct state_reader r;
    struct err err = {0};
    char five[5];
    uint64_t n;
    size_t len;
    write_two(&w);
    state_open(&r, w.buf.data, w.buf.len);
    assert_int_equal(state_find(&r, "two", &err), 0);
    assert_int_equal(r.payload_len, 0);
    assert_int_equal(state_find(&r, "one", &err), 0);
    assert_int_equal(r.version, 3);
    assert_int_equal(state_get(&r, 7, five, 5, &err), 0);
    assert_memory_equal(five, "abcde", 5);
    assert_memory_equal(state_peek(&r, 7, 1, &len), "second", 6);
    assert_int_equal(len, 6);
    assert_null(state_peek(&r, 7, 2, &len));
    assert_int_equal(state_get_u64(&r, 8, &n, &err), 0);
    assert_true(n == 0x1122334455667788ull);
    assert_true(state_get_u64_or(&r, 99, 5) == 5);
    assert_int_equal(state_get(&r, 7, five, 4, &err), -1);
    assert_int_equal(state_get_u64(&r, 99, &n, &err), -1);
    assert_int_equal(state_find(&r, "three", &err), -1);
    assert_int_equal(err.code, E_NOENT);
    state_done(&w);
}

/* Read all of it: the number of sections, or -1. */
static int count(const char *data, size_t len)
{
    struct state_reader r;
    struct err err = {0};
    int n = 0, got;
    state_open(&r, data, len);
    while ((got = state_next(&r, &err)) > 0)
        n++;
    return got < 0 ? -1 : n;
}

static void test_damage(void **state)
{
    struct state_writer w = {0};
    write_two(&w);
    assert_int_equal(count(w.buf.data, w.buf.len), 2);
    for (size_t i = 0; i < w.buf.len; i++)
        for (int bit = 0; bit < 8; bit++) {
            w.buf.data[i] ^= (char)(1 << bit);
            assert_int_equal(count(w.buf.data, w.buf.len), -1);
            w.buf.data[i] ^= (char)(1 << bit);
        }
    /* Cut anywhere: a copy of just that size, so that a sanitizer sees a read beyond. */
    for (size_t i = 1, second = w.buf.len; i < w.buf.len; i++) {
        char *part = malloc(i);
        assert_non_null(part);
        memcpy(part, w.buf.data, i);
        int n = count(part, i);
        assert_true(n == -1 || (n == 1 && second == w.buf.len));
        if (n == 1)
            second = i;
        free(part);
    }
    state_done(&w);
}

static void test_misuse(void **state)
{
    struct state_writer w = {0};
    struct err err = {0};
    state_put(&w, 1, "x", 1); /* no section is open */
    assert_int_equal(state_finish(&w, &err), -1);
    state_done(&w);
    state_begin(&w, "a name of more than thirty-one bytes", 1);
    assert_int_equal(state_finish(&w, &err), -1);
    state_done(&w);
}

/* --- configurations ------------------------------------------------------------- */

#define K "\"kernel\": \"k\""
#define M "\"memory\": {\"size_mib\": 16}"

static void test_config(void **state)
{
    static const char text[] =
        "{\"name\": \"n1\", \"vcpus\": 4, \"memory\": {\"size_mib\": 64, \"page\": "
        "\"2M\","
        "\"nodes\": [{\"size_mib\": 32, \"host_node\": 0, \"vcpus\": [0, 2]},"
        "{\"size_mib\": 32, \"vcpus\": [1, 3], \"distances\": [20, 10]}]},"
        "\"kernel\": {\"fd\": 5}, \"initrd\": \"i\", \"cpu\": {\"pin\": [0, [1, 2], 3, "
        "4],"
        "\"disable_exits\": [\"hlt\"]}, \"control\": {\"path\": \"c\"},"
        "\"sandbox\": {\"uid\": 7, \"gid\": 8}, \"paused\": true}";
    struct err err = {0};
    AUTO(config) c = NULL;
    assert_int_equal(config_parse(text, strlen(text), "t", &c, &err), 0);
    assert_string_equal(c->name, "n1");
    assert_int_equal(c->vcpus, 4);
    assert_true(c->memory.size == 64 * MIB && c->memory.page == 2 * MIB);
    assert_true(c->memory.prealloc);
    assert_int_equal(c->memory.nnodes, 2);
    assert_int_equal(c->cpu.node[2], 0);
    assert_int_equal(c->cpu.node[3], 1);
    assert_int_equal(c->memory.nodes[1].host_node, -1);
    assert_int_equal(c->kernel.fd, 5);
    assert_string_equal(c->initrd.path, "i");
    assert_int_equal(CPU_COUNT(&c->cpu.pin[1]), 2);
    assert_int_equal(c->cpu.disable_exits, CONFIG_EXIT_HLT);
    assert_string_equal(c->control_path, "c");
    assert_true(c->sandbox.enable && c->sandbox.set_ids && c->sandbox.gid == 8);
    assert_true(c->paused);
}

static void test_config_strict(void **state)
{
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "line 1"},
        {"[]", "not an object"},
        {"{}", "memory"},
        {"{" M "}", "kernel"},
        {"{" K "}", "memory"},
        {"{" M "," K ", \"x\": 1}", "x"},
        {"{" M "," M "," K "}", "duplicate"},
        {"{" M "," K ", \"name\": \"a/b\"}", "name"},
        {"{" M "," K ", \"vcpus\": 1025}", "vcpus"},
        {"{" M "," K ", \"vcpus\": -1}", "vcpus"},
        {"{" M "," K ", \"vcpus\": \"4\"}", "integer"},
        {"{" M ", \"kernel\": {}}", "kernel"},
        {"{" M ", \"kernel\": {\"fd\": 3, \"path\": \"k\"}}", "kernel"},
        {"{" M ", \"kernel\": \"\"}", "empty path"},
        {"{\"memory\": {\"size_mib\": 0}," K "}", "size_mib"},
        {"{\"memory\": {\"size_mib\": -5}," K "}", "size_mib"},
        {"{\"memory\": {\"size_mib\": 9223372036854775807}," K "}", "size_mib"},
        {"{\"memory\": {\"size_mib\": 16, \"page\": \"64K\"}," K "}", "choose 4K"},
        {"{\"memory\": {\"size_mib\": 16, \"page\": \"1G\"}," K "}", "whole pages"},
        {"{\"memory\": {\"nodes\": []}," K "}", "nodes"},
        {"{\"memory\": {\"size_mib\": 9, \"nodes\": [{\"size_mib\": 8}]}," K "}",
         "its nodes"},
        {"{\"memory\": {\"nodes\": [{\"size_mib\": 8, \"vcpus\": [1]}]}," K "}",
         "vcpus"},
        {"{" M "," K ", \"cpu\": {\"pin\": []}}", "pin"},
        {"{" M "," K ", \"cpu\": {\"pin\": [1024]}}", "pin"},
        {"{" M "," K ", \"cpu\": {\"disable_exits\": [\"io\"]}}", "choose"},
        {"{" M "," K ", \"sandbox\": {\"uid\": 1}}", "both"},
        {"{" M "," K ", \"sandbox\": {\"uid\": 4294967295, \"gid\": 1}}", "both"},
        {"{" M "," K ", \"devices\": {}}", "list"},
        {"{" M "," K ", \"devices\": [1]}", "type"},
        {"{" M "," K ", \"devices\": [{\"type\": \"\"}]}", "not in this build"},
        {"{" M "," K "} x", "line 1"},
        /* Cut to an int these would be 1, 0, 3 and 1. */
        {"{" M "," K ", \"vcpus\": 4294967297}", "vcpus: 4294967297 is out of range"},
        {"{" M ", \"kernel\": {\"fd\": 4294967296}}", "fd: 4294967296 is out"},
        {"{" M "," K ", \"devices\": [{\"type\": \"net\", \"fds\": [4294967299]}]}",
         "fds: 4294967299 is out"},
        {"{" M "," K ", \"devices\": [{\"type\": \"blk\", \"path\": \"d\", \"queues\": "
         "-4294967295}]}",
         "queues: -4294967295 is out"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct config *c = NULL;
        struct err err = {0};
        /* Without the NUL, so that a sanitizer sees a read beyond. */
        size_t len = strlen(bad[i].text);
        char *text = malloc(len + !len);
        assert_non_null(text);
        memcpy(text, bad[i].text, len);
        if (config_parse(text, len, "t", &c, &err) != -1 ||
            !strstr(err.text, bad[i].says))
            fail_msg("%s: %s", bad[i].text, c ? "was taken" : err.text);
        assert_null(strchr(err.text, '\n'));
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_damage),
        cmocka_unit_test(test_misuse),        cmocka_unit_test(test_config),
        cmocka_unit_test(test_config_strict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
