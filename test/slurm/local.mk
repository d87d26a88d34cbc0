# SPDX-License-Identifier: Apache-2.0
slurm_tests = test/t4000-cluster.t test/t4100-slurm-fake.t test/t4110-slurm-faults.t \
    test/t4200-slurm-guest.t
dist_noinst_SCRIPTS += bench/slurm/run test/slurm/cluster test/slurm/demo test/slurm/node-setup
dist_noinst_DATA += test/slurm/lib.sh
dist_check_SCRIPTS += $(slurm_tests) test/t0400-pbs.t
TESTS += test/t0400-pbs.t
if WITH_SLURM
TESTS += $(slurm_tests)
endif
