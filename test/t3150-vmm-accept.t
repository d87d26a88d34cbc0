#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='whole machines: the full kernel, a pause, kill -9, NUMA and 1G pages'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless LAB
guests=$LODGE_TOP_SRCDIR/test/guests
PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE

test_expect_success 'guests are made of the full and of the cloud kernel' '
    "$LODGE_TOP_SRCDIR/test/lab/prepare" >lab.sh && . ./lab.sh &&
    set -- virtio_pci virtio_blk virtio_console virtio-rng virtio_net virtiofs ext4 &&
    GUEST_MODULES=$LODGE_LAB_MODULES "$guests/initrd" "$PWD/full" "$guests/devices.init" "$@" &&
    "$guests/initrd" "$PWD/cloud" "$guests/devices.init" "$@"
'

# One boot of the lab for many checks.
lab() { # OUT COUNT LAB-OPTION... -- accept.py's arguments after the program
    out=$1 count=$2
    shift 2
    options=
    while [ "$1" != -- ]; do options="$options $1"; shift; done
    shift
    "$LODGE_TOP_SRCDIR/test/lab/run" --timeout 900 $options env PYTHONDONTWRITEBYTECODE=1 \
        "$guests/accept.py" "$LODGE_TOP_BUILDDIR/lodge-vmm" "$@" >$out 2>&1 || { cat $out; false; }
    cat $out && test "$(grep -c "^ok " $out)" = $count
}

test_expect_success 'full kernel, 1 and 4 vCPUs, 4K, 2M, 1G: files on disk and share equal after a reboot' '
    . ./lab.sh &&
    lab whole 3 --memory 2800 --hugepages 2M=200,1G=1 -- "$LODGE_LAB_VMLINUX" "$PWD/full" \
        whole_1x4K whole_4x2M whole_4x1G
'

test_expect_success 'a pause of 10 s; kill -9 of an unprivileged machine' '
    . ./lab.sh &&
    lab life 2 --hugepages 2M=100 -- "$LODGE_LAB_CLOUD_VMLINUX" "$PWD/cloud" pause kill_unprivileged
'

test_expect_success 'NUMA: a 1G page a node, one run each; one page short is refused; the guest sees it' '
    . ./lab.sh &&
    lab numa 2 --numa --memory 8192 --hugepages 1G=2 -- "$LODGE_LAB_CLOUD_VMLINUX" "$PWD/cloud" \
        numa_1G numa_guest
'

test_done
