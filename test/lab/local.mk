# SPDX-License-Identifier: Apache-2.0
dist_noinst_SCRIPTS += test/lab/prepare test/lab/run test/lab/init test/lab/l1
