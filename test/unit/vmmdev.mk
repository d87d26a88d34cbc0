# SPDX-License-Identifier: Apache-2.0
# Devices of lodge-vmm against an in-memory guest, and a hostile one for the fuzzer.
vmm_fake = test/unit/vmm_fake.c test/unit/vmm_fake.h
vmm_fake_libs = src/vmm/libvmmdev.la src/base/libbase.la $(JANSSON_LIBS) -lpthread
check_PROGRAMS += test/unit/vmmdev.tap test/fuzz/vmmdev.tap
test_unit_vmmdev_tap_SOURCES = test/unit/vmmdev.c test/unit/unit.h $(vmm_fake)
test_unit_vmmdev_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_vmmdev_tap_LDADD = $(vmm_fake_libs) $(CMOCKA_LIBS)
test_fuzz_vmmdev_tap_SOURCES = test/fuzz/vmmdev.c $(vmm_fake) $(FUZZ_RUNNER)
test_fuzz_vmmdev_tap_LDADD = $(vmm_fake_libs)
FUZZERS += test/fuzz/vmmdev.fuzz
test/fuzz/vmmdev.fuzz: FORCE
	$(FUZZ_BUILD) $@ $(top_srcdir) \
	    'test/fuzz/vmmdev.c $(vmm_fake) $(src_vmm_libvmmdev_la_SOURCES) src/ckpt/state.c $(src_base_libbase_la_SOURCES)' \
	    '$(JANSSON_LIBS) $(SYSTEMD_LIBS) $(vmm_dev_libs) -lpthread'
