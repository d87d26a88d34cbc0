#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='random kill -9 among agent, guests, clients under load: nothing is left, others run on'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
# The usual budget is short; LODGE_TEST_KILLS=200 is the acceptance. t2062 has QEMU and
# libvirtd among the victims, t3060 lodge-vmm.
lodge_skip_all_unless ROOT
kills=${LODGE_TEST_KILLS:-24}
test_expect_success "$kills kills under a mixed load, type fake" '
    "$LODGE_TOP_SRCDIR"/test/vm/kills $kills fake >&3 2>&1
'
test_done
