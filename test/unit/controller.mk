# SPDX-License-Identifier: Apache-2.0
dist_check_SCRIPTS += test/t3201-lab-nodes-hpc.t test/t3200-lab-nodes.t test/t3202-lab-site.t test/t1200-nodes.t test/t1210-gate.t test/t1220-kills.t test/t1230-tickets.t
TESTS += test/t1200-nodes.t test/t1210-gate.t test/t1220-kills.t test/t1230-tickets.t
dist_noinst_SCRIPTS += test/lab/elsewhere.sh test/lab/nodes.sh test/lab/site.sh test/nodes/kills
TESTS_MORE += test/t3200-lab-nodes.t test/t3202-lab-site.t test/t3201-lab-nodes-hpc.t
