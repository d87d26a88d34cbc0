#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='lodge-vmm saves a guest and lets it come back'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless LAB
guests=$LODGE_TOP_SRCDIR/test/guests

test_expect_success 'the guest is made' '
    "$LODGE_TOP_SRCDIR/test/lab/prepare" >lab.sh && . ./lab.sh &&
    "$guests/initrd" "$PWD/initrd" "$guests/ckpt.init" virtio_pci virtio_blk virtio-rng virtio_net
'

test_expect_success 'what an earlier version wrote comes back' '
    "$LODGE_TOP_SRCDIR/test/lab/run" --timeout 300 "$guests/count.py" "$LODGE_TOP_BUILDDIR/lodge-vmm" \
        "$LODGE_TOP_BUILDDIR/test/guests/count.elf" "$LODGE_TOP_SRCDIR/test/data/ckpt/v1" \
        an_earlier_version >old 2>&1 || { cat old; false; }
'

# One boot of the lab for all.
test_expect_success '1 and 4 vCPUs; 4K, 2M, 1G pages; running and stopped; read, mapped, by faults' '
    . ./lab.sh &&
    "$LODGE_TOP_SRCDIR/test/lab/run" --timeout 1000 --memory 2800 --hugepages 2M=160,1G=1 \
        "$guests/ckpt.py" "$LODGE_TOP_BUILDDIR/lodge-vmm" "$LODGE_LAB_CLOUD_VMLINUX" \
        "$PWD/initrd" >out 2>&1 || { cat out; false; } &&
    cat out && test "$(grep -c "^ok " out)" = 9
'

test_done
