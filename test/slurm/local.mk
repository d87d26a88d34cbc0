# SPDX-License-Identifier: Apache-2.0
slurm_tests = test/t4000-cluster.t test/t4100-slurm-fake.t test/t4110-slurm-faults.t test/t4120-slurm-trust.t \
    test/t4200-slurm-guest.t
dist_noinst_SCRIPTS += bench/slurm/run test/slurm/cluster test/slurm/demo test/slurm/node-setup
dist_noinst_DATA += test/slurm/lib.sh test/slurm/pi.c
dist_check_SCRIPTS += $(slurm_tests) test/t0400-pbs.t test/t4210-slurm-machines.t
TESTS += test/t0400-pbs.t
if WITH_SLURM
TESTS += $(slurm_tests)
# Has not yet passed as a whole: three of its cases were mended and not run since.
TESTS_MORE += test/t4210-slurm-machines.t
endif
if WITH_SLURM
check_LTLIBRARIES += test/slurm/forge.la
endif
test_slurm_forge_la_SOURCES = test/slurm/forge.c
test_slurm_forge_la_LDFLAGS = $(LIBRARY_LDFLAGS) -module -avoid-version -shared -rpath /nowhere
