# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += test/unit/call.tap
test_unit_call_tap_SOURCES = test/unit/call.c
test_unit_call_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_call_tap_LDADD = src/client/libclient.la src/proto/libproto.la \
    src/base/libbase.la $(CMOCKA_LIBS) $(JANSSON_LIBS) $(SYSTEMD_LIBS)
