# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += test/unit/chan.tap
test_unit_chan_tap_SOURCES = test/unit/chan.c test/unit/unit.h
test_unit_chan_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_chan_tap_LDADD = src/proto/libproto.la src/base/libbase.la $(JANSSON_LIBS) \
    $(CMOCKA_LIBS)
check_PROGRAMS += test/unit/guest.tap test/unit/guest_copy.tap
guest_host = test/unit/guest_host.c test/unit/guest_host.h test/unit/unit.h
test_unit_guest_tap_SOURCES = test/unit/guest.c $(guest_host)
test_unit_guest_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_guest_tap_LDADD = src/proto/libproto.la src/base/libbase.la $(JANSSON_LIBS) \
    $(CMOCKA_LIBS)
test_unit_guest_copy_tap_SOURCES = test/unit/guest_copy.c $(guest_host)
test_unit_guest_copy_tap_CFLAGS = $(test_unit_guest_tap_CFLAGS)
test_unit_guest_copy_tap_LDADD = $(test_unit_guest_tap_LDADD)

check_PROGRAMS += test/fuzz/chan.tap test/fuzz/tar.tap
test_fuzz_chan_tap_SOURCES = test/fuzz/chan.c $(FUZZ_RUNNER)
test_fuzz_chan_tap_LDADD = src/proto/libproto.la src/base/libbase.la $(JANSSON_LIBS)
test_fuzz_tar_tap_SOURCES = test/fuzz/tar.c $(FUZZ_RUNNER)
test_fuzz_tar_tap_LDADD = src/proto/libproto.la src/base/libbase.la $(JANSSON_LIBS)
FUZZERS += test/fuzz/chan.fuzz test/fuzz/tar.fuzz
test/fuzz/chan.fuzz test/fuzz/tar.fuzz: FORCE
	$(FUZZ_BUILD) $@ $(top_srcdir) '$(@:.fuzz=.c) \
	    $(src_proto_libproto_la_SOURCES) $(src_base_libbase_la_SOURCES)' \
	    '$(JANSSON_LIBS) $(SYSTEMD_LIBS)'

# Stands in lodge-guest's place; see test/t0060-hostile.t.
noinst_PROGRAMS += test/hostile-guest
dist_check_SCRIPTS += test/t0060-exec.t
TESTS += test/t0060-exec.t
test_hostile_guest_SOURCES = test/hostile-guest.c
test_hostile_guest_LDADD = src/proto/libproto.la src/base/libbase.la $(JANSSON_LIBS)
