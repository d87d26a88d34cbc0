# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += test/unit/store.tap
test_unit_store_tap_SOURCES = test/unit/store.c test/unit/unit.h
test_unit_store_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_store_tap_LDADD = src/store/libstore.la src/base/libbase.la $(SQLITE_LIBS) \
    $(JANSSON_LIBS) $(CMOCKA_LIBS)
