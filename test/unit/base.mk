# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += test/unit/base.tap
test_unit_base_tap_SOURCES = test/unit/base.c test/unit/unit.h
test_unit_base_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_base_tap_LDADD = src/base/libbase.la $(CMOCKA_LIBS)
