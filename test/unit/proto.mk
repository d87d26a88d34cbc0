# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += test/unit/proto.tap
test_unit_proto_tap_SOURCES = test/unit/proto.c
test_unit_proto_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_proto_tap_LDADD = src/proto/libproto.la src/base/libbase.la $(CMOCKA_LIBS) \
    $(JANSSON_LIBS) $(SYSTEMD_LIBS)

check_PROGRAMS += test/unit/ticket.tap
test_unit_ticket_tap_SOURCES = test/unit/ticket.c
test_unit_ticket_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(SODIUM_CFLAGS)
test_unit_ticket_tap_LDADD = src/proto/libticket.la src/proto/libproto.la \
    src/base/libbase.la $(CMOCKA_LIBS) $(JANSSON_LIBS) $(SYSTEMD_LIBS)
