# SPDX-License-Identifier: Apache-2.0
# Sourced by tests that try whole machines (test/guests/accept.py) in the lab, after test/lib.sh.
guests=$LODGE_TOP_SRCDIR/test/guests

# Guests of Debian's full and of its cloud kernel: the files "full" and "cloud".
guests_make() {
    "$LODGE_TOP_SRCDIR/test/lab/prepare" >lab.sh && . ./lab.sh &&
    set -- virtio_pci virtio_blk virtio_console virtio-rng virtio_net virtiofs ext4 pvpanic-mmio &&
    GUEST_MODULES=$LODGE_LAB_MODULES "$guests/initrd" "$PWD/full" "$guests/devices.init" "$@" &&
    "$guests/initrd" "$PWD/cloud" "$guests/devices.init" "$@"
}

# One boot of the lab for many checks of one kernel, all of which must pass:
#   guests_try full|cloud LAB-OPTION... -- CHECK...
guests_try() {
    . ./lab.sh
    case $1 in
    full) vmlinux=$LODGE_LAB_VMLINUX ;;
    cloud) vmlinux=$LODGE_LAB_CLOUD_VMLINUX ;;
    esac
    initrd=$PWD/$1 options=
    shift
    while [ "$1" != -- ]; do options="$options $1"; shift; done
    shift
    "$LODGE_TOP_SRCDIR/test/lab/run" --timeout 900 $options env PYTHONDONTWRITEBYTECODE=1 \
        "$guests/accept.py" "$LODGE_TOP_BUILDDIR/lodge-vmm" "$vmlinux" "$initrd" "$@" >out 2>&1 || {
        cat out
        return 1
    }
    cat out && test "$(grep -c "^ok " out)" = $#
}
