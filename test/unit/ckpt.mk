# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += test/unit/ckpt.tap
test_unit_ckpt_tap_SOURCES = test/unit/ckpt.c test/unit/unit.h
test_unit_ckpt_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_ckpt_tap_LDADD = src/ckpt/libckpt.la src/base/libbase.la $(JANSSON_LIBS) \
    $(CMOCKA_LIBS)

check_PROGRAMS += test/fuzz/ckpt.tap
test_fuzz_ckpt_tap_SOURCES = test/fuzz/ckpt.c $(FUZZ_RUNNER)
test_fuzz_ckpt_tap_LDADD = src/ckpt/libckpt.la src/base/libbase.la $(JANSSON_LIBS)
FUZZERS += test/fuzz/ckpt.fuzz
test/fuzz/ckpt.fuzz: FORCE
	$(FUZZ_BUILD) $@ $(top_srcdir) 'test/fuzz/ckpt.c \
	    $(src_ckpt_libckpt_la_SOURCES) $(src_base_libbase_la_SOURCES)' \
	    '$(JANSSON_LIBS) $(SYSTEMD_LIBS) $(ZSTD_LIBS) $(XXHASH_LIBS)'
