# SPDX-License-Identifier: Apache-2.0
dist_noinst_SCRIPTS += test/slurm/cluster
dist_check_SCRIPTS += test/t4000-cluster.t
if WITH_SLURM
TESTS += test/t4000-cluster.t
endif
