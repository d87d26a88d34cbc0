# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += test/unit/chan.tap
test_unit_chan_tap_SOURCES = test/unit/chan.c test/unit/unit.h
test_unit_chan_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_chan_tap_LDADD = src/proto/libproto.la src/base/libbase.la $(JANSSON_LIBS) \
    $(CMOCKA_LIBS)
check_PROGRAMS += test/unit/guest.tap
test_unit_guest_tap_SOURCES = test/unit/guest.c test/unit/unit.h
test_unit_guest_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_guest_tap_LDADD = src/proto/libproto.la src/base/libbase.la $(JANSSON_LIBS) \
    $(CMOCKA_LIBS)
