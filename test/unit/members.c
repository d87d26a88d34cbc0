/* SPDX-License-Identifier: Apache-2.0 */
/* src/place/members: every node comes to the same; refusals name the way out. */
#include "unit.h"

#include <string.h>

#include "place/members.h"

static json_t *grant(int heads, int workers, const char *placement, int per_node,
                     int mib, int cpus)
{
    return json_pack("{s:[{s:s, s:i, s:{s:i, s:i}}, {s:s, s:i, s:{s:i, s:i}}], s:s, "
                     "s:i, s:i, s:i}",
                     "members", "name", "head", "count", heads, "profile", "vcpus", 1,
                     "memory_bytes", 256 << 20, "name", "work", "count", workers,
                     "profile", "vcpus", 2, "memory_bytes", 512 << 20, "placement",
                     placement, "per_node", per_node, "memory_mib", mib, "cpus", cpus);
}

static void test_all_placed_once(void **state)
{
    for (uint32_t nodes = 1; nodes <= 5; nodes++) {
        json_t *g = grant(1, 4, "any", 0, 0, 0);
        AUTO(members) m = NULL;
        uint32_t used[5] = {0};
        assert_int_equal(members_place(g, nodes, &m, NULL), 0);
        assert_int_equal(m->count, 5);
        assert_string_equal(m->vm[0].name, "head0");
        assert_string_equal(m->vm[4].name, "work3");
        assert_int_equal(m->vm[0].node, 0);
        for (size_t i = 0; i < m->count; i++) {
            assert_true(m->vm[i].node < nodes);
            used[m->vm[i].node]++;
        }
        for (uint32_t n = 0; n < nodes; n++) /* even, and nobody without */
            assert_in_range(used[n], 5 / nodes, (5 + nodes - 1) / nodes);
        json_decref(g);
    }
}

static void test_pack(void **state)
{
    json_t *g = grant(1, 3, "pack", 0, 1024 + 256, 8);
    AUTO(members) m = NULL;
    assert_int_equal(members_place(g, 2, &m, NULL), 0);
    uint32_t on_first = 0;
    for (size_t i = 0; i < m->count; i++)
        on_first += m->vm[i].node == m->vm[0].node;
    assert_in_range(on_first, 2, 3);
    json_decref(g);
}

static void refused(json_t *g, uint32_t nodes, const char *word)
{
    AUTO(members) m = NULL;
    struct err err = {0};
    assert_int_equal(members_place(g, nodes, &m, &err), -1);
    assert_int_equal(err.code, E_INPUT);
    assert_non_null(strstr(err.text, word));
    json_decref(g);
}

static void test_refusals(void **state)
{
    refused(grant(1, 1, "any", 0, 0, 0), 3, "ask for fewer nodes");
    refused(grant(1, 4, "any", 2, 0, 0), 2, "do not fit on 2 nodes");
    refused(grant(1, 4, "any", 0, 600, 0), 2, "--mem");
    refused(grant(0, 0, "any", 0, 0, 0), 1, "damaged");
    refused(grant(1, 9999, "any", 0, 0, 0), 1, "more than");
    refused(json_pack("{s:[]}", "members"), 1, "no machines");
    refused(json_pack("{s:[s]}", "members", "x"), 1, "damaged");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_placed_once),
        cmocka_unit_test(test_pack),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests_name("members", tests, NULL, NULL);
}
