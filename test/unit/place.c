/* SPDX-License-Identifier: Apache-2.0 */
/* Placement: memory by NUMA node and page size, devices by class. Pure, so plain tables. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "place/device.h"
#include "place/memory.h"

#define G (1ull << 30)
#define M (1ull << 20)

static const struct place_numa two[] = {{0, 8 * G, UINT64_MAX}, {1, 8 * G, UINT64_MAX}};

static void test_part(void **state)
{
    assert_int_equal(place_memory_part(3 * M, 0, 2), 2 * M);
    assert_int_equal(place_memory_part(3 * M, 1, 2), M);
    for (size_t n = 1; n < 9; n++) {
        uint64_t sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += place_memory_part(1001 * M, i, n);
        assert_int_equal(sum, 1001 * M);
    }
}

static void test_left(void **state)
{
    const uint32_t on1[] = {1}, both[] = {0, 1};
    const struct place_held held[] = {
        {"a", 2 * G, on1, 1}, {"b", 2 * G, both, 2}, {"c", 1 * G, NULL, 0}};
    struct place_memory m = {
        .numa = two, .nnuma = 2, .held = held, .nheld = 3, .keeps = 2 * G};
    assert_int_equal(place_memory_left(&m, PLACE_ALL), 9 * G);
    assert_int_equal(place_memory_left(&m, 0), 6 * G);
    assert_int_equal(place_memory_left(&m, 1), 4 * G);
    /* More held than there is is nothing left, not a very large number. */
    const struct place_held much[] = {{"a", 100 * G, on1, 1}};
    m.held = much;
    m.nheld = 1;
    assert_int_equal(place_memory_left(&m, 1), 0);
    assert_int_equal(place_memory_left(&m, PLACE_ALL), 0);
}

static void test_pool(void **state)
{
    /* Somebody outside uses pages: what is free now counts. */
    const struct place_numa pool[] = {{0, 4 * G, 1 * G}, {1, 4 * G, 4 * G}};
    struct place_memory m = {.page_bytes = 2 * M, .numa = pool, .nnuma = 2};
    struct profile_u32s none = {0};
    struct err err;
    assert_int_equal(place_memory_left(&m, 0), 1 * G);
    assert_int_equal(place_memory_left(&m, PLACE_ALL), 5 * G);
    assert_int_equal(place_memory_fit(&m, 6 * G, PROFILE_NUMA_NONE, &none, &err), -1);
    /* No machine of ours has them: the node's fault, not a matter of waiting. */
    assert_int_equal(err.code, E_UNAVAIL);
    assert_string_equal(err.text, "wants 6G of memory in pages of 2M but 5G is left; "
                                  "held by: no VM of this agent");
    assert_int_equal(place_memory_fit(&m, 9 * G, PROFILE_NUMA_NONE, &none, &err), -1);
    assert_int_equal(err.code, E_BUSY);
}

static void test_choice(void **state)
{
    const uint32_t on0[] = {0};
    const struct place_held held[] = {{"a", 5 * G, on0, 1}};
    struct place_memory m = {.numa = two, .nnuma = 2, .held = held, .nheld = 1};
    struct profile_u32s got = {0};
    struct err err;
    /* The one with most room. */
    assert_int_equal(place_memory_fit(&m, 2 * G, PROFILE_NUMA_BIND, &got, &err), 0);
    assert_int_equal(got.count, 1);
    assert_int_equal(got.at[0], 1);
    /* As named, refused as named: where, how much, who. */
    got.at[0] = 0;
    assert_int_equal(place_memory_fit(&m, 4 * G, PROFILE_NUMA_BIND, &got, &err), -1);
    assert_int_equal(err.code, E_BUSY);
    assert_string_equal(err.text, "wants 4G of memory on NUMA node 0 but 3G is left; "
                                  "held by: a (5G)");
    got.at[0] = 7;
    assert_int_equal(place_memory_fit(&m, 1 * G, PROFILE_NUMA_BIND, &got, &err), -1);
    assert_int_equal(err.code, E_INPUT);
    free(got.at);
    /* No node has it all: over all of them, when each has its part. */
    got = (struct profile_u32s){0};
    m.nheld = 0;
    assert_int_equal(place_memory_fit(&m, 12 * G, PROFILE_NUMA_BIND, &got, &err), 0);
    assert_int_equal(got.count, 2);
    free(got.at);
    got = (struct profile_u32s){0};
    m.nheld = 1;
    assert_int_equal(place_memory_fit(&m, 10 * G, PROFILE_NUMA_BIND, &got, &err), -1);
    assert_int_equal(got.count, 0);
    /* A mirror is of all nodes; without a policy nothing is chosen. */
    assert_int_equal(place_memory_fit(&m, 2 * G, PROFILE_NUMA_MIRROR, &got, &err), 0);
    assert_int_equal(got.count, 2);
    free(got.at);
    got = (struct profile_u32s){0};
    assert_int_equal(place_memory_fit(&m, 2 * G, PROFILE_NUMA_NONE, &got, &err), 0);
    assert_int_equal(got.count, 0);
}

static void test_class(void **state)
{
    static const struct {
        uint32_t class;
        const char *word;
        bool is;
    } cases[] = {{0x030200, "gpu", true},        {0x030000, "gpu", true},
                 {0x020000, "net", true},        {0x020700, "net", false},
                 {0x020700, "infiniband", true}, {0x0c0600, "infiniband", true},
                 {0x010802, "nvme", true},       {0x010802, "storage", true},
                 {0x010601, "nvme", false},      {0x120000, "accelerator", true},
                 {0x030200, "0x0302", true},     {0x030200, "0x030200", true},
                 {0x030200, "0x030201", false},  {0x030200, "0x03", false},
                 {0x030200, "", false}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct place_device d = {.class = cases[i].class};
        if (place_device_is(&d, cases[i].word) != cases[i].is)
            fail_msg("0x%06x, '%s'", cases[i].class, cases[i].word);
    }
}

static struct profile *wants(const char *address, const char *class, size_t n)
{
    struct profile *p = profile_new();
    p->devices = calloc(n, sizeof *p->devices);
    p->device_count = n;
    for (size_t i = 0; i < n; i++) {
        p->devices[i].address = address ? strdup(address) : NULL;
        p->devices[i].class = class ? strdup(class) : NULL;
    }
    return p;
}

static void test_devices(void **state)
{
    struct place_device all[] = {
        {"0000:01:00.0", 0x030200, 0, 1, false, NULL}, /* the host's own */
        {"0000:02:00.0", 0x030200, 0, 2, true, NULL},
        {"0000:03:00.0", 0x030200, 1, 3, true, NULL},
        {"0000:04:00.0", 0x010802, 0, 4, false, NULL},
        {"0000:05:00.0", 0x120000, 0, 5, true, NULL}, /* two of one group, */
        {"0000:05:00.A", 0x120001, 0, 5, true, NULL},
        {"0000:06:00.0", 0x120002, 0, -1, true, NULL}, /* and of none */
        {"0000:07:00.0", 0x120003, 0, -1, true, NULL},
    };
    const size_t n = ARRAY_SIZE(all);
    struct err err;
    AUTO(profile) both = wants(NULL, "gpu", 2);
    assert_int_equal(place_devices(all, n, both, &err), 0);
    assert_string_equal(both->devices[0].address, "0000:02:00.0");
    assert_string_equal(both->devices[1].address, "0000:03:00.0");

    AUTO(profile) near = wants(NULL, "gpu", 1);
    near->numa_nodes.at = calloc(1, sizeof *near->numa_nodes.at);
    near->numa_nodes.at[0] = near->numa_nodes.count = 1;
    assert_int_equal(place_devices(all, n, near, &err), 0);
    assert_string_equal(near->devices[0].address, "0000:03:00.0");

    all[1].holder = all[2].holder = "other";
    AUTO(profile) late = wants(NULL, "gpu", 1);
    assert_int_equal(place_devices(all, n, late, &err), -1);
    assert_int_equal(err.code, E_BUSY);
    assert_non_null(strstr(err.text, "is held by VM 'other'"));

    AUTO(profile) hosts = wants(NULL, "nvme", 1);
    assert_int_equal(place_devices(all, n, hosts, &err), -1);
    assert_int_equal(err.code, E_UNAVAIL);
    assert_non_null(strstr(err.text, "vfio-pci"));

    AUTO(profile) none = wants(NULL, "infiniband", 1);
    assert_int_equal(place_devices(all, n, none, &err), -1);
    AUTO(profile) held = wants("0000:02:00.0", NULL, 1);
    assert_int_equal(place_devices(all, n, held, &err), -1);
    assert_int_equal(err.code, E_BUSY);

    AUTO(profile) either = wants("0000:05:00.a", NULL, 1);
    assert_int_equal(place_devices(all, n, either, &err), 0);
    assert_string_equal(either->devices[0].address, "0000:05:00.A");
    all[4].holder = all[6].holder = "third";
    assert_int_equal(place_devices(all, n, either, &err), -1);
    assert_non_null(strstr(err.text, "is held by VM 'third'"));
    AUTO(profile) word = wants(NULL, "accelerator", 1);
    assert_int_equal(place_devices(all, n, word, &err), 0);
    assert_string_equal(word->devices[0].address, "0000:07:00.0");

    AUTO(profile) absent = wants("0000:99:00.0", NULL, 1);
    assert_int_equal(place_devices(all, n, absent, &err), -1);
    assert_int_equal(err.code, E_NOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_part),  cmocka_unit_test(test_left),
        cmocka_unit_test(test_pool),  cmocka_unit_test(test_choice),
        cmocka_unit_test(test_class), cmocka_unit_test(test_devices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
