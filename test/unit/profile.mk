# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += test/unit/profile.tap
test_unit_profile_tap_SOURCES = test/unit/profile.c test/unit/unit.h
test_unit_profile_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_profile_tap_LDADD = src/profile/libprofile.la src/base/libbase.la $(JANSSON_LIBS) \
    $(CMOCKA_LIBS)

check_PROGRAMS += test/fuzz/profile_json.tap
test_fuzz_profile_json_tap_SOURCES = test/fuzz/profile_json.c $(FUZZ_RUNNER)
test_fuzz_profile_json_tap_LDADD = src/profile/libprofile.la src/base/libbase.la \
    $(JANSSON_LIBS)
FUZZERS += test/fuzz/profile_json.fuzz
test/fuzz/profile_json.fuzz: FORCE
	$(FUZZ_BUILD) $@ $(top_srcdir) 'test/fuzz/profile_json.c \
	    $(src_profile_libprofile_la_SOURCES) $(src_base_libbase_la_SOURCES)' \
	    '$(JANSSON_LIBS) $(SYSTEMD_LIBS)'
