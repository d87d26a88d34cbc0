# SPDX-License-Identifier: Apache-2.0
# Devices of lodge-vmm against an in-memory guest, and a hostile one for the fuzzer.
vmm_fake = test/unit/vmm_fake.c test/unit/vmm_fake.h
vmm_fake_libs = src/vmm/libvmmdev.la src/base/libbase.la $(JANSSON_LIBS) -lpthread
check_PROGRAMS += test/unit/vmmdev.tap
test_unit_vmmdev_tap_SOURCES = test/unit/vmmdev.c test/unit/unit.h $(vmm_fake)
test_unit_vmmdev_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_vmmdev_tap_LDADD = $(vmm_fake_libs) $(CMOCKA_LIBS)

# Devices under a hostile guest: each target takes some of them.
vmm_guest = $(vmm_fake) test/fuzz/vmm_guest.c test/fuzz/vmm_guest.h
vmm_guest_fuzz = $(vmm_guest) $(src_vmm_libvmmdev_la_SOURCES) $(src_ckpt_libckpt_la_SOURCES) \
    $(src_base_libbase_la_SOURCES)
vmm_guest_fuzz_libs = $(JANSSON_LIBS) $(SYSTEMD_LIBS) $(ZSTD_LIBS) $(XXHASH_LIBS) $(vmm_dev_libs) \
    -lpthread
if WITH_VMM_ALL
check_PROGRAMS += test/fuzz/vmm_disk.tap test/fuzz/vmm_net.tap test/fuzz/vmm_port.tap \
    test/fuzz/vmm_misc.tap test/fuzz/vmm_queue.tap
FUZZERS += test/fuzz/vmm_disk.fuzz test/fuzz/vmm_net.fuzz test/fuzz/vmm_port.fuzz \
    test/fuzz/vmm_misc.fuzz test/fuzz/vmm_queue.fuzz
endif
test_fuzz_vmm_disk_tap_SOURCES = test/fuzz/vmm_disk.c $(vmm_guest) $(FUZZ_RUNNER)
test_fuzz_vmm_disk_tap_LDADD = $(vmm_fake_libs)
test_fuzz_vmm_disk_tap_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=io_uring_queue_init
test/fuzz/vmm_disk.fuzz: FORCE
	$(FUZZ_BUILD) $@ $(top_srcdir) 'test/fuzz/vmm_disk.c $(vmm_guest_fuzz)' \
	    '$(vmm_guest_fuzz_libs) -Wl,--wrap=io_uring_queue_init'
test_fuzz_vmm_net_tap_SOURCES = test/fuzz/vmm_net.c $(vmm_guest) $(FUZZ_RUNNER)
test_fuzz_vmm_net_tap_LDADD = $(vmm_fake_libs)
test_fuzz_vmm_net_tap_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=ioctl -Wl,--wrap=poll
test/fuzz/vmm_net.fuzz: FORCE
	$(FUZZ_BUILD) $@ $(top_srcdir) 'test/fuzz/vmm_net.c $(vmm_guest_fuzz)' \
	    '$(vmm_guest_fuzz_libs) -Wl,--wrap=ioctl -Wl,--wrap=poll'
test_fuzz_vmm_port_tap_SOURCES = test/fuzz/vmm_port.c $(vmm_guest) $(FUZZ_RUNNER)
test_fuzz_vmm_port_tap_LDADD = $(vmm_fake_libs)
test/fuzz/vmm_port.fuzz: FORCE
	$(FUZZ_BUILD) $@ $(top_srcdir) 'test/fuzz/vmm_port.c $(vmm_guest_fuzz)' \
	    '$(vmm_guest_fuzz_libs)'
test_fuzz_vmm_misc_tap_SOURCES = test/fuzz/vmm_misc.c $(vmm_guest) $(FUZZ_RUNNER)
test_fuzz_vmm_misc_tap_LDADD = $(vmm_fake_libs)
test/fuzz/vmm_misc.fuzz: FORCE
	$(FUZZ_BUILD) $@ $(top_srcdir) 'test/fuzz/vmm_misc.c $(vmm_guest_fuzz)' \
	    '$(vmm_guest_fuzz_libs)'
test_fuzz_vmm_queue_tap_SOURCES = test/fuzz/vmm_queue.c $(vmm_guest) $(FUZZ_RUNNER)
test_fuzz_vmm_queue_tap_LDADD = $(vmm_fake_libs)
test/fuzz/vmm_queue.fuzz: FORCE
	$(FUZZ_BUILD) $@ $(top_srcdir) 'test/fuzz/vmm_queue.c $(vmm_guest_fuzz)' \
	    '$(vmm_guest_fuzz_libs)'

# The core without KVM: its bus, the loaders of kernels, the configuration.
vmm_core = test/fuzz/vmm_core.c test/fuzz/vmm_core.h
vmm_core_libs = src/vmm/libvmm.la src/proto/libproto.la src/base/libbase.la $(JANSSON_LIBS) \
    $(SECCOMP_LIBS) $(CAPNG_LIBS) -lpthread
vmm_core_fuzz = $(vmm_core) $(src_vmm_libvmm_la_SOURCES) $(src_vmm_libvmmdev_la_SOURCES) \
    $(src_ckpt_libckpt_la_SOURCES) \
    $(src_proto_libproto_la_SOURCES) $(src_base_libbase_la_SOURCES)
vmm_core_fuzz_libs = $(vmm_guest_fuzz_libs) $(SECCOMP_LIBS) $(CAPNG_LIBS) $(SODIUM_LIBS) \
    $(MUNGE_LIBS) -Wl,--wrap=ioctl
if WITH_VMM_ALL
check_PROGRAMS += test/fuzz/vmm_bus.tap test/fuzz/vmm_kernel.tap test/fuzz/vmm_config.tap
FUZZERS += test/fuzz/vmm_bus.fuzz test/fuzz/vmm_kernel.fuzz test/fuzz/vmm_config.fuzz
endif
test_fuzz_vmm_bus_tap_SOURCES = test/fuzz/vmm_bus.c $(vmm_core) $(FUZZ_RUNNER)
test_fuzz_vmm_bus_tap_LDADD = $(vmm_core_libs)
test_fuzz_vmm_bus_tap_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=ioctl
test/fuzz/vmm_bus.fuzz: FORCE
	$(FUZZ_BUILD) $@ $(top_srcdir) 'test/fuzz/vmm_bus.c $(vmm_core_fuzz)' \
	    '$(vmm_core_fuzz_libs)'
test_fuzz_vmm_kernel_tap_SOURCES = test/fuzz/vmm_kernel.c $(vmm_core) $(FUZZ_RUNNER)
test_fuzz_vmm_kernel_tap_LDADD = $(vmm_core_libs)
test_fuzz_vmm_kernel_tap_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=ioctl
test/fuzz/vmm_kernel.fuzz: FORCE
	$(FUZZ_BUILD) $@ $(top_srcdir) 'test/fuzz/vmm_kernel.c $(vmm_core_fuzz)' \
	    '$(vmm_core_fuzz_libs)'
test_fuzz_vmm_config_tap_SOURCES = test/fuzz/vmm_config.c $(vmm_core) $(FUZZ_RUNNER)
test_fuzz_vmm_config_tap_LDADD = $(vmm_core_libs)
test_fuzz_vmm_config_tap_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=ioctl
test/fuzz/vmm_config.fuzz: FORCE
	$(FUZZ_BUILD) $@ $(top_srcdir) 'test/fuzz/vmm_config.c $(vmm_core_fuzz)' \
	    '$(vmm_core_fuzz_libs)'
