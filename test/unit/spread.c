/* SPDX-License-Identifier: Apache-2.0 */
/* src/place/spread: policies, refusals with reasons, all or nothing. */
#include "unit.h"

#include <string.h>

#include "place/spread.h"

#define GIB (1ull << 30)
static const struct spread_node nodes[] = {
    {.name = "n1", .cpus = 4, .memory_bytes = 8 * GIB, .types = 6},
    {.name = "n2", .cpus = 4, .memory_bytes = 16 * GIB, .types = 2},
    {.name = "n3",
     .cpus = 8,
     .memory_bytes = 8 * GIB,
     .types = 6,
     .out = "drained: fan"},
};
static const struct spread_vm vms[] = {
    {.name = "a", .cpus = 2, .memory_bytes = 2 * GIB, .types = 2},
    {.name = "b", .cpus = 2, .memory_bytes = 6 * GIB, .types = 2},
    {.name = "c", .cpus = 1, .memory_bytes = 1 * GIB, .types = 4},
};

static void test_policies(void **state)
{
    size_t choice[3];
    struct err err;
    assert_int_equal(spread(vms, 3, nodes, 3, SPREAD_EVEN, 0, choice, &err), 0);
    assert_int_equal(choice[1], 1); /* the largest goes to the emptiest */
    assert_int_equal(choice[0], 0);
    assert_int_equal(choice[2], 0); /* only n1 runs its type */
    assert_int_equal(spread(vms, 2, nodes, 3, SPREAD_PACK, 0, choice, &err), 0);
    assert_int_equal(choice[0], choice[1]);
    assert_int_equal(spread(vms, 2, nodes, 3, SPREAD_PACK, 1, choice, &err), 0);
    assert_int_not_equal(choice[0], choice[1]);
    assert_int_equal(spread(vms, 0, nodes, 3, SPREAD_EVEN, 0, choice, &err), 0);
}

static void test_refusals(void **state)
{
    size_t choice[3] = {7, 7, 7};
    struct err err;
    struct spread_vm big[] = {vms[0], {"big", 64, GIB, 2}};
    assert_int_equal(spread(big, 2, nodes, 3, SPREAD_EVEN, 0, choice, &err), -1);
    assert_int_equal(err.code, E_BUSY);
    assert_string_equal(err.text,
                        "'big' (64 CPUs, 1G) fits on no node (n1: too few free "
                        "CPUs; n2: too few free CPUs; n3: drained: fan)");
    assert_int_equal(choice[0], 7); /* nothing was given */
    assert_int_equal(spread(vms, 3, nodes, 0, SPREAD_EVEN, 0, choice, &err), -1);
    assert_string_equal(err.text, "'b' (2 CPUs, 6G) fits on no node");
    assert_int_equal(spread(vms, 3, nodes + 1, 1, SPREAD_PACK, 1, choice, &err), -1);
    assert_non_null(strstr(err.text, "has its share of machines"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_policies),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests_name("spread", tests, NULL, NULL);
}
