#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='the way into a real machine: bulk both ways, a terminal, many commands'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT QEMU
. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"
# The full measure: LODGE_TEST_MB=1024 LODGE_TEST_ROW=1000
test_expect_success 'an image' 'vm_image'
test_expect_success 'type qemu' '
    "$LODGE_TOP_SRCDIR"/test/vm/ways qemu ${LODGE_TEST_MB:-64} ${LODGE_TEST_ROW:-50} >&3
'
test_done
