#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='lodge-vmm boots a Debian kernel on KVM, in every size of page'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless LAB
guests=$LODGE_TOP_SRCDIR/test/guests

test_expect_success 'the guest is made' '
    "$LODGE_TOP_SRCDIR/test/lab/prepare" >lab.sh && . ./lab.sh &&
    "$guests/initrd" "$PWD/initrd" "$guests/machine.init" pvpanic-mmio
'

# One boot of the lab for all.
test_expect_success '1 and 4 vCPUs; 4K, 2M, 1G pages; how it ends; pause and resume; nothing stays' '
    . ./lab.sh &&
    "$LODGE_TOP_SRCDIR/test/lab/run" --timeout 900 --memory 2800 --hugepages 2M=160,1G=1 \
        "$guests/machine.py" "$LODGE_TOP_BUILDDIR/lodge-vmm" "$LODGE_LAB_CLOUD_VMLINUX" \
        "$LODGE_LAB_CLOUD_VMLINUZ" "$PWD/initrd" >out 2>&1 || { cat out; false; } &&
    cat out && test "$(grep -c "^ok " out)" = 7
'

test_done
