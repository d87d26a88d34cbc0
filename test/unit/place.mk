# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += test/unit/spread.tap
test_unit_spread_tap_SOURCES = test/unit/spread.c
test_unit_spread_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_spread_tap_LDADD = src/place/libplace.la src/base/libbase.la $(CMOCKA_LIBS)

check_PROGRAMS += test/unit/members.tap
test_unit_members_tap_SOURCES = test/unit/members.c
test_unit_members_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_members_tap_LDADD = src/place/libplace.la src/profile/libprofile.la \
    src/base/libbase.la $(CMOCKA_LIBS) $(JANSSON_LIBS) $(XML2_LIBS)

check_PROGRAMS += test/unit/place.tap
test_unit_place_tap_SOURCES = test/unit/place.c test/unit/unit.h
test_unit_place_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_place_tap_LDADD = src/place/libplace.la src/profile/libprofile.la \
    src/base/libbase.la $(XML2_LIBS) $(JANSSON_LIBS) $(CMOCKA_LIBS)
