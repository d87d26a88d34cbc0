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
test/fuzz/profile_json.fuzz: src/profile/schemas.c FORCE
	$(FUZZ_BUILD) $@ $(top_srcdir) 'test/fuzz/profile_json.c src/profile/schemas.c \
	    $(src_profile_libprofile_la_SOURCES) $(src_base_libbase_la_SOURCES)' \
	    '$(JANSSON_LIBS) $(SYSTEMD_LIBS) $(XML2_LIBS)'

check_PROGRAMS += test/fuzz/profile.tap
test_fuzz_profile_tap_SOURCES = test/fuzz/profile.c $(FUZZ_RUNNER)
test_fuzz_profile_tap_LDADD = src/profile/libprofile.la src/base/libbase.la $(JANSSON_LIBS)
FUZZERS += test/fuzz/profile.fuzz
test/fuzz/profile.fuzz: src/profile/schemas.c FORCE
	$(FUZZ_BUILD) $@ $(top_srcdir) 'test/fuzz/profile.c src/profile/schemas.c \
	    $(src_profile_libprofile_la_SOURCES) $(src_base_libbase_la_SOURCES)' \
	    '$(JANSSON_LIBS) $(SYSTEMD_LIBS) $(XML2_LIBS)'

dist_check_SCRIPTS += test/t0300-profile.t test/t0301-docs.t test/t0302-complete.t test/t0312-terminal.t test/t0303-store.t
TESTS += test/t0300-profile.t test/t0301-docs.t test/t0302-complete.t test/t0312-terminal.t test/t0303-store.t

check_PROGRAMS += test/unit/profile_oom.tap
test_unit_profile_oom_tap_SOURCES = test/unit/profile_oom.c test/unit/unit.h
test_unit_profile_oom_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(XML2_CFLAGS)
test_unit_profile_oom_tap_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc -Wl,--wrap=calloc \
    -Wl,--wrap=realloc -Wl,--wrap=strdup -Wl,--wrap=strndup
test_unit_profile_oom_tap_LDADD = src/profile/libprofile.la src/base/libbase.la \
    $(XML2_LIBS) $(JANSSON_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += test/unit/vt.tap
test_unit_vt_tap_SOURCES = test/unit/vt.c src/agent/vt_xml.c
test_unit_vt_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(XML2_CFLAGS)
test_unit_vt_tap_LDADD = src/place/libplace.la src/profile/libprofile.la src/base/libbase.la \
    $(XML2_LIBS) $(JANSSON_LIBS) $(CMOCKA_LIBS)
