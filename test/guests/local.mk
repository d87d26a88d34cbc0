# SPDX-License-Identifier: Apache-2.0
dist_noinst_SCRIPTS += test/guests/initrd test/guests/devices.init test/guests/devices.py
if WITH_VMM
dist_check_SCRIPTS += test/t3110-vmm-devices.t
TESTS += test/t3110-vmm-devices.t
endif
