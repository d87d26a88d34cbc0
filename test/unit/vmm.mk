# SPDX-License-Identifier: Apache-2.0
include test/unit/vmmdev.mk
if WITH_VMM
check_PROGRAMS += test/unit/vmm_state.tap
endif
test_unit_vmm_state_tap_SOURCES = test/unit/vmm_state.c test/unit/unit.h
test_unit_vmm_state_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_vmm_state_tap_LDADD = src/vmm/libvmm.la src/proto/libproto.la src/base/libbase.la \
    $(JANSSON_LIBS) $(SECCOMP_LIBS) $(CAPNG_LIBS) -lpthread $(CMOCKA_LIBS)
