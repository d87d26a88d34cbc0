# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += test/unit/transport.tap
test_unit_transport_tap_SOURCES = test/unit/transport.c
test_unit_transport_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_transport_tap_LDADD = src/transport/libtransport.la src/proto/libproto.la \
    src/base/libbase.la $(CMOCKA_LIBS) $(JANSSON_LIBS) $(SYSTEMD_LIBS)
