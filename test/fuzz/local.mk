# SPDX-License-Identifier: Apache-2.0
# Fuzz targets. A target is test/fuzz/NAME.c with fuzz.h's fuzz_name, fuzz_seeds and
# LLVMFuzzerTestOneInput(). It is used twice:
#   make check  runs test/fuzz/NAME.tap (any compiler): every file of the corpus
#               test/data/fuzz/NAME and of the target's seed folders, and cheap mutations
#               of each. A crash that was fixed leaves its input in the corpus.
#   make fuzz   builds test/fuzz/NAME.fuzz with clang's libFuzzer, address and undefined
#               behaviour sanitizers; make fuzz-run FUZZ_SECONDS=600 [FUZZ=NAME] runs.
# To add one, put four things in the room's test/unit/ROOM.mk:
#   check_PROGRAMS += test/fuzz/NAME.tap
#   test_fuzz_NAME_tap_SOURCES = test/fuzz/NAME.c $(FUZZ_RUNNER)
#   test_fuzz_NAME_tap_LDADD = (the libraries)
#   FUZZERS += test/fuzz/NAME.fuzz
#   test/fuzz/NAME.fuzz: FORCE
#	$(FUZZ_BUILD) $@ $(top_srcdir) '(its sources: test/fuzz/NAME.c $(src_ROOM_libROOM_la_SOURCES) ...)' \
#	    '(its libraries: $(JANSSON_LIBS) ...)'
# See test/unit/profile.mk. Corpus files go to EXTRA_DIST by being under test/data.
FUZZ_RUNNER = test/fuzz/run.c test/fuzz/fuzz.h
FUZZERS =
FUZZ_BUILD = $(AM_V_GEN)$(top_srcdir)/test/fuzz/build $(DEFS) -I. $(AM_CPPFLAGS) \
    $(FUZZ_INCLUDES) --
FUZZ_INCLUDES = $(XML2_CFLAGS) $(SODIUM_CFLAGS) $(SQLITE_CFLAGS) $(LIBVIRT_CFLAGS)
FUZZ_SECONDS = 60
FUZZ = $(FUZZERS:test/fuzz/%.fuzz=%)
EXTRA_DIST += test/fuzz/build test/fuzz/run test/data

fuzz: $(FUZZERS)
fuzz-run: $(FUZZ:%=test/fuzz/%.fuzz)
	for t in $(FUZZ); do \
	    $(top_srcdir)/test/fuzz/run $(top_srcdir) test/fuzz/$$t.fuzz $(FUZZ_SECONDS) || exit 1; \
	done
clean-local: fuzz-clean
fuzz-clean:
	rm -rf test/fuzz/obj test/fuzz/work test/fuzz/*.fuzz
FORCE:
.PHONY: fuzz fuzz-run fuzz-clean FORCE
