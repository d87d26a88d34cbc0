# SPDX-License-Identifier: Apache-2.0
dist_check_SCRIPTS += test/t1200-nodes.t
TESTS += test/t1200-nodes.t
