#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='a Debian kernel uses the devices of lodge-vmm'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless LAB
guests=$LODGE_TOP_SRCDIR/test/guests

test_expect_success 'the guest is made' '
    "$LODGE_TOP_SRCDIR/test/lab/prepare" >lab.sh && . ./lab.sh &&
    "$guests/initrd" "$PWD/initrd" "$guests/devices.init" virtio_pci virtio_blk virtio_console \
        virtio-rng virtio_net virtiofs virtio_pmem nd_pmem virtio_balloon
'

# One boot of the lab for all; each has a guest or two of its own.
test_expect_success 'disk, console ports, entropy, shared directory, network, persistent memory, balloon' '
    . ./lab.sh &&
    "$LODGE_TOP_SRCDIR/test/lab/run" --timeout 900 "$guests/devices.py" \
        "$LODGE_TOP_BUILDDIR/lodge-vmm" "$LODGE_LAB_CLOUD_VMLINUX" "$PWD/initrd" \
        blk console rng fs net pmem >out 2>&1 || { cat out; false; } &&
    test "$(grep -c "^ok " out)" = 6
'

test_done
