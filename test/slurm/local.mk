# SPDX-License-Identifier: Apache-2.0
dist_noinst_SCRIPTS += test/slurm/cluster
dist_check_SCRIPTS += test/t4000-cluster.t
if WITH_SLURM
TESTS += test/t4000-cluster.t
endif
dist_noinst_SCRIPTS += test/slurm/demo test/slurm/node-setup
dist_noinst_DATA += test/slurm/lib.sh
