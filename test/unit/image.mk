# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += test/unit/image.tap test/unit/cache.tap
test_unit_cache_tap_SOURCES = test/unit/cache.c test/unit/unit.h
test_unit_cache_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(SODIUM_CFLAGS)
test_unit_cache_tap_LDADD = src/image/libimage.la $(CMOCKA_LIBS) $(SODIUM_LIBS)
test_unit_image_tap_SOURCES = test/unit/image.c test/unit/unit.h
test_unit_image_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(XML2_CFLAGS)
test_unit_image_tap_LDADD = src/image/libimage.la $(CMOCKA_LIBS)
dist_check_SCRIPTS += test/t1010-image.t test/t1011-image-ways.t test/t2010-clones.t \
    test/t3020-image-lab.t test/t3021-host-node.t test/t3022-guest-lab.t test/t3023-mpi-lab.t
dist_noinst_DATA += test/image/lib.sh test/image/lab.sh
TESTS += test/t1010-image.t test/t1011-image-ways.t test/t2010-clones.t
TESTS_MORE += test/t3020-image-lab.t test/t3021-host-node.t test/t3022-guest-lab.t \
    test/t3023-mpi-lab.t

check_PROGRAMS += test/fuzz/image_def.tap test/fuzz/image_store.tap test/fuzz/image_import.tap
test_fuzz_image_import_tap_SOURCES = test/fuzz/image_import.c $(FUZZ_RUNNER)
test_fuzz_image_import_tap_LDADD = src/image/libimage.la
test_fuzz_image_def_tap_SOURCES = test/fuzz/image_def.c $(FUZZ_RUNNER)
test_fuzz_image_def_tap_LDADD = src/image/libimage.la
test_fuzz_image_store_tap_SOURCES = test/fuzz/image_store.c $(FUZZ_RUNNER)
test_fuzz_image_store_tap_LDADD = src/image/libimage.la
FUZZERS += test/fuzz/image_def.fuzz test/fuzz/image_store.fuzz test/fuzz/image_import.fuzz
test/fuzz/image_def.fuzz: src/profile/schemas.c src/image/schema.c FORCE
	$(FUZZ_BUILD) $@ $(top_srcdir) 'test/fuzz/image_def.c src/image/schema.c \
	    src/image/def.c src/image/def_elements.c src/image/def_read.c src/profile/schemas.c \
	    $(src_profile_libprofile_la_SOURCES) $(src_base_libbase_la_SOURCES)' \
	    '$(JANSSON_LIBS) $(SYSTEMD_LIBS) $(XML2_LIBS)'
test/fuzz/image_store.fuzz: FORCE
	$(FUZZ_BUILD) $@ $(top_srcdir) 'test/fuzz/image_store.c src/image/disk.c \
	    src/image/hash.c src/image/manifest.c src/image/pkg.c \
	    $(src_base_libbase_la_SOURCES)' '$(JANSSON_LIBS) $(SYSTEMD_LIBS) $(SODIUM_LIBS)'
test/fuzz/image_import.fuzz: src/profile/schemas.c src/image/schema.c FORCE
	$(FUZZ_BUILD) $@ $(top_srcdir) 'test/fuzz/image_import.c src/image/schema.c \
	    $(src_image_libimage_la_SOURCES) src/profile/schemas.c \
	    $(src_profile_libprofile_la_SOURCES) $(src_base_libbase_la_SOURCES)' \
	    '$(JANSSON_LIBS) $(SYSTEMD_LIBS) $(XML2_LIBS) $(SODIUM_LIBS) $(ARCHIVE_LIBS) $(ZSTD_LIBS)'
