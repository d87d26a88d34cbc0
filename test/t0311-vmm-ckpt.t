#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='lodge-vmm saves a tiny guest and lets it come back'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_prereq NAMESPACES 'no user or pid namespaces here' unshare -Urp true
TMPDIR=$LODGE_TEST_TMP
LODGE_TEST_ANY_CPU=1
export TMPDIR LODGE_TEST_ANY_CPU

count() {
    "$LODGE_TOP_SRCDIR/test/guests/count.py" "$LODGE_TOP_BUILDDIR/lodge-vmm" \
        "$LODGE_TOP_BUILDDIR/test/guests/count.elf" "$LODGE_TOP_SRCDIR/test/data/ckpt/v1" "$1" >out 2>&1 ||
        { cat out; false; }
}

for check in stop_and_go_on continue without_faults child_of_a_child wrong_requests damage ends_by_kill \
    an_earlier_version; do
    test_expect_success KVM,NAMESPACES,ROOT "$check" "count $check && cat out"
done

test_done
