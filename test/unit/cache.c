/* SPDX-License-Identifier: Apache-2.0 */
/* A node's cache of images: hostile manifests and parts, gaps, damage, room. */
#include "unit.h"

#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/str.h"
#include "image/cache.h"
#include "image/hash.h"
#include "image/keep.h"
#include "image/part.h"
#include "image/store.h"

#include <jansson.h>
#include <sodium.h>

static char top[] = "/tmp/lodge-u.XXXXXX";

static int set_up(void **state)
{
    if (!mkdtemp(top))
        return -1;
    setenv("LODGE_STATE_DIR", top, 1);
    setenv("LODGE_CACHE_DIR", top, 1);
    unsetenv("LODGE_IMAGE_PATH");
    return 0;
}

static int take_down(void **state)
{
    return fd_remove_tree(top, NULL);
}

static json_t *manifest(const char *name, const char *data)
{
    char hex[HASH_HEX_SIZE];
    hash_bytes(data, strlen(data), hex);
    return json_pack("{s:i, s:{s:s, s:s, s:s, s:s, s:{s:{s:s, s:I}}}, s:{}}", "schema",
                     1, "content", "name", name, "version", "1", "kind", "disk",
                     "root_format", "raw", "outputs", "raw", "sha256", hex, "size",
                     (json_int_t)strlen(data), "build");
}

static const char *sum_of(json_t *m)
{
    return json_string_value(json_object_get(
        json_object_get(json_object_get(json_object_get(m, "content"), "outputs"),
                        "raw"),
        "sha256"));
}

static void send_all(const char *name, const char *data, uint64_t limit)
{
    struct err err = {0};
    json_t *m = manifest(name, data), *answer = NULL;
    uint64_t have;
    assert_int_equal(cache_offer(m, true, limit, &answer, &err), 0);
    assert_false(json_is_true(json_object_get(answer, "here")));
    assert_int_equal(json_array_size(json_object_get(answer, "missing")), 1);
    assert_int_equal(cache_part(sum_of(m), 0, data, strlen(data), &have, &err), 0);
    assert_int_equal(have, strlen(data));
    assert_int_equal(cache_commit(m, true, &err), 0);
    json_decref(answer);
    json_decref(m);
}

static bool is_there(const char *name)
{
    struct image *img = NULL;
    bool there = image_find(name, &img, NULL) == 0;
    image_free(img);
    return there;
}

static void test_send(void **state)
{
    struct err err = {0};
    send_all("one", "0123456789", 1000);
    assert_true(is_there("one"));
    json_t *m = manifest("one", "0123456789"), *answer = NULL;
    assert_int_equal(cache_offer(m, true, 1000, &answer, &err), 0);
    assert_true(json_is_true(json_object_get(answer, "here")));
    json_decref(answer);
    json_decref(m);
    /* Another image under its name and version. */
    m = manifest("one", "abcdef");
    assert_int_equal(cache_offer(m, true, 1000, &answer, &err), -1);
    assert_int_equal(err.code, E_EXISTS);
    json_decref(m);
}

static void test_parts(void **state)
{
    struct err err = {0};
    json_t *m = manifest("parts", "abcdefgh"), *answer = NULL;
    uint64_t have;
    assert_int_equal(cache_offer(m, true, 1000, &answer, &err), 0);
    json_decref(answer);
    assert_int_equal(cache_part(sum_of(m), 4, "efgh", 4, &have, &err), -1); /* a gap */
    assert_int_equal(err.code, E_STATE);
    assert_int_equal(cache_part(sum_of(m), 0, "abcd", 4, &have, &err), 0);
    assert_int_equal(cache_commit(m, true, &err), -1); /* not whole */
    assert_int_equal(err.code, E_STATE);
    assert_int_equal(cache_part(sum_of(m), 4, "XXXX", 4, &have, &err), 0);
    assert_int_equal(cache_commit(m, true, &err), -1); /* damaged: forgotten */
    assert_int_equal(err.code, E_IO);
    assert_false(is_there("parts"));
    assert_int_equal(cache_offer(m, true, 1000, &answer, &err), 0);
    json_t *missing = json_array_get(json_object_get(answer, "missing"), 0);
    assert_int_equal(json_integer_value(json_object_get(missing, "have")), 0);
    json_decref(answer);
    assert_int_equal(cache_part(sum_of(m), 0, "abcdefgh", 8, &have, &err), 0);
    assert_int_equal(cache_commit(m, true, &err), 0);
    assert_true(is_there("parts"));
    json_decref(m);
}

static void test_await(void **state)
{
    struct err err = {0};
    char ref[100];
    send_all("awaited", "1234", 1000);
    assert_int_equal(cache_await("awaited", 0, 0, &err), 0);
    json_t *m = manifest("late", "5678"), *answer = NULL;
    snprintf(ref, sizeof ref, "late@sha256:%064d", 0);
    assert_int_equal(cache_await(ref, 0, 60, &err), -1); /* nothing comes */
    assert_int_equal(err.code, E_NOENT);
    assert_non_null(strstr(err.text, "image push"));
    uint64_t have;
    assert_int_equal(cache_offer(m, true, 1000, &answer, &err), 0);
    assert_int_equal(cache_part(sum_of(m), 0, "56", 2, &have, &err), 0);
    assert_int_equal(cache_await(ref, 60, 0, &err), -1); /* too slowly */
    json_decref(answer);
    json_decref(m);
}

static void test_hostile(void **state)
{
    static const char *const sums[] = {
        "", "../../etc/passwd", "zz",
        "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"};
    struct err err = {0};
    uint64_t have;
    json_t *answer = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(sums); i++)
        assert_int_equal(cache_part(sums[i], 0, "x", 1, &have, &err), -1);
    json_t *m = manifest("../evil", "x");
    assert_int_equal(cache_offer(m, true, 1000, &answer, &err), -1);
    assert_int_equal(cache_commit(m, true, &err), -1);
    json_decref(m);
    m = json_object();
    assert_int_equal(cache_offer(m, true, 1000, &answer, &err), -1);
    json_decref(m);
    m = manifest("large", "0123456789");
    assert_int_equal(cache_offer(m, true, 5, &answer, &err), -1);
    assert_non_null(strstr(err.text, "larger"));
    json_decref(m);
}

static void test_room(void **state)
{
    struct err err = {0};
    send_all("ra", "aaaaaaaaaaaaaaaaaaaa", 1000);
    send_all("rb", "bbbbbbbbbbbbbbbbbbbb", 1000);
    int hold = cache_use("ra", &err);
    assert_true(hold >= 0);
    send_all("rc", "cccccccccccccccccccc", 50); /* what nobody holds had to go */
    assert_true(is_there("ra"));
    assert_true(is_there("rc"));
    assert_false(is_there("rb"));
    assert_false(is_there("one"));
    json_t *m = manifest("rd", "dddddddddddddddddddddddddddddddddddddddd"), *answer;
    assert_int_equal(cache_offer(m, true, 50, &answer, &err), -1);
    assert_int_equal(err.code, E_BUSY);
    close(hold);
    assert_int_equal(cache_offer(m, true, 50, &answer, &err), 0);
    json_decref(answer);
    json_decref(m);
    assert_false(is_there("ra"));
}

/* Two images with one blob in common: it takes room once. */
static void test_shared(void **state)
{
    struct err err = {0};
    json_t *answer = NULL;
    uint64_t have;
    send_all("sa", "0123456789012345678901234567890123456789", 45);
    json_t *m = manifest("sb", "0123456789012345678901234567890123456789");
    json_t *outputs = json_object_get(json_object_get(m, "content"), "outputs");
    char hex[HASH_HEX_SIZE];
    hash_bytes("xyz", 3, hex);
    json_object_set_new(outputs, "erofs",
                        json_pack("{s:s, s:i}", "sha256", hex, "size", 3));
    assert_int_equal(cache_offer(m, true, 45, &answer, &err), 0);
    json_t *missing = json_object_get(answer, "missing");
    assert_int_equal(json_array_size(missing), 1);
    assert_int_equal(
        json_integer_value(json_object_get(json_array_get(missing, 0), "size")), 3);
    json_decref(answer);
    assert_int_equal(cache_part(hex, 0, "xyz", 3, &have, &err), 0);
    assert_int_equal(cache_commit(m, true, &err), 0);
    assert_true(is_there("sa"));
    json_decref(m);
}

static void test_packed(void **state)
{
    static char zeros[CACHE_PART_MAX + 1];
    struct err err = {0};
    unsigned char noise[4096];
    size_t len = 0, n = 0;
    char *frame = part_pack(zeros, CACHE_PART_MAX, &len), *back = NULL;
    assert_non_null(frame);
    assert_true(len < 4096);
    assert_int_equal(part_unpack(frame, len, &back, &n, &err), 0);
    assert_int_equal(n, CACHE_PART_MAX);
    assert_memory_equal(back, zeros, n);
    free(back);
    for (size_t cut = 0; cut < len; cut++) {
        assert_int_equal(part_unpack(frame, cut, &back, &n, &err), -1);
        assert_int_equal(err.code, E_INPUT);
    }
    free(frame);
    frame = part_pack(zeros, sizeof zeros, &len); /* a bomb, if a small one */
    assert_non_null(frame);
    assert_int_equal(part_unpack(frame, len, &back, &n, &err), -1);
    free(frame);
    randombytes_buf(noise, sizeof noise);
    assert_null(part_pack(noise, sizeof noise, &len));
    assert_null(part_pack(noise, 0, &len));
    assert_int_equal(part_unpack(noise, sizeof noise, &back, &n, &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_send),   cmocka_unit_test(test_parts),
        cmocka_unit_test(test_await),  cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_room),   cmocka_unit_test(test_shared),
        cmocka_unit_test(test_packed),
    };
    return cmocka_run_group_tests(tests, set_up, take_down);
}
