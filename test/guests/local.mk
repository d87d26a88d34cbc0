# SPDX-License-Identifier: Apache-2.0
dist_noinst_SCRIPTS += test/guests/initrd test/guests/devices.init test/guests/devices.py
dist_noinst_SCRIPTS += test/guests/machine.init test/guests/machine.py
dist_noinst_SCRIPTS += test/guests/steady.py test/guests/accept.py
dist_noinst_SCRIPTS += test/guests/ckpt.init test/guests/ckpt.py test/guests/count.py
dist_noinst_DATA += test/guests/lib.sh test/guests/tap.py
if WITH_VMM
dist_check_SCRIPTS += test/t3100-vmm-lab.t test/t3110-vmm-devices.t test/t3150-vmm-accept.t
dist_check_SCRIPTS += test/t3151-vmm-matrix.t
dist_check_SCRIPTS += test/t3300-vmm-ckpt.t
TESTS_MORE += test/t3300-vmm-ckpt.t test/t3151-vmm-matrix.t
# One in every run; minutes of emulated machines else.
TESTS += test/t3100-vmm-lab.t
TESTS_MORE += test/t3110-vmm-devices.t test/t3150-vmm-accept.t
endif

# The guest that is not Linux; built with the tests.
EXTRA_DIST += test/guests/hello.S test/guests/count.S test/guests/pvh.ld
if WITH_VMM
check_DATA = test/guests/hello.elf test/guests/count.elf
CLEANFILES += test/guests/hello.elf test/guests/count.elf
dist_check_SCRIPTS += test/t0310-vmm.t test/t0311-vmm-ckpt.t
TESTS += test/t0310-vmm.t test/t0311-vmm-ckpt.t
endif
test/guests/hello.elf: test/guests/hello.S test/guests/pvh.ld
	$(AM_V_GEN)$(MKDIR_P) test/guests && $(CC) -m32 -nostdlib -static -no-pie \
	    -Wl,-T,$(srcdir)/test/guests/pvh.ld,--build-id=none -o $@ $(srcdir)/test/guests/hello.S
test/guests/count.elf: test/guests/count.S test/guests/pvh.ld
	$(AM_V_GEN)$(MKDIR_P) test/guests && $(CC) -m32 -nostdlib -static -no-pie \
	    -Wl,-T,$(srcdir)/test/guests/pvh.ld,--build-id=none -o $@ $(srcdir)/test/guests/count.S
