# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += test/unit/profile.tap
test_unit_profile_tap_SOURCES = test/unit/profile.c test/unit/unit.h
test_unit_profile_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_profile_tap_LDADD = src/profile/libprofile.la src/base/libbase.la $(JANSSON_LIBS) \
    $(CMOCKA_LIBS)
