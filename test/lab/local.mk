# SPDX-License-Identifier: Apache-2.0
dist_noinst_SCRIPTS += test/lab/prepare test/lab/run test/lab/init test/lab/l1
dist_noinst_DATA += test/lab/vfio.sh
if WITH_TESTS
noinst_PROGRAMS += test/lab/selftest
test_lab_selftest_SOURCES = test/lab/selftest.c
test_lab_selftest_LDADD = -lpthread
dist_check_SCRIPTS += test/t3001-lab.t test/t3002-lab-kvm.t
TESTS += test/t3001-lab.t test/t3002-lab-kvm.t
endif
