# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += test/unit/node.tap
test_unit_node_tap_SOURCES = test/unit/node.c test/unit/unit.h
test_unit_node_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_node_tap_LDADD = src/node/libnode.la src/base/libbase.la $(JANSSON_LIBS) \
    $(CMOCKA_LIBS)
