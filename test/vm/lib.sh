# SPDX-License-Identifier: Apache-2.0
# For tests that boot machines. vm_image [NAME]: an image (debian-fast) in the test's store.
# It is built once for all tests, into LODGE_TEST_CACHE (~/.cache/lodge/test-images), and
# again only when its definition or what the build puts into it has changed.
vm_image_build() { # STORE NAME: the image into it; the archive may fail us once
    for vm_try in 1 2 3; do
        rm -rf "$1.new"
        LODGE_STATE_DIR=$1.new lodge image build "$LODGE_TOP_SRCDIR/images/$2.xml" &&
            rm -rf "$1" && mv "$1.new" "$1" && return
        sleep 5
    done
    return 1
}
vm_image() {
    vm_name=${1:-debian-fast}
    keep=${LODGE_TEST_CACHE:-$lodge_home/.cache/lodge/test-images}
    mkdir -p "$keep/debs" "$LODGE_CACHE_DIR/images" "$LODGE_STATE_DIR" &&
        ln -sfn "$keep/debs" "$LODGE_CACHE_DIR/images/debs" || return 1
    store=$keep/$(cat "$LODGE_TOP_SRCDIR/images/$vm_name.xml" \
        "$LODGE_TOP_SRCDIR"/src/image/*.[ch] "$LODGE_TOP_SRCDIR"/src/guest/*.[ch] \
        "$LODGE_TOP_BUILDDIR/lodge-guest" | sha256sum | cut -c 1-16)
    (
        flock 9 || exit 1
        if ! test -d "$store/images"; then
            find "$keep" -maxdepth 1 -name '????????????????*' -mtime +2 -exec rm -rf {} +
            vm_image_build "$store" "$vm_name" 9>&- || exit 1
        fi
        # A copy: a hypervisor with a user of its own may not reach into our home.
        cp -a --reflink=auto "$store/images" "$LODGE_STATE_DIR/"
    ) 9>"$keep/.lock" && lodge image show "$vm_name" >/dev/null
}

# A libvirt of our own, in a mount namespace of our own (the caller's first step): its
# sockets, pid files and directories are the test's, and go with it.
vm_own_libvirt() {
    mount -t tmpfs -o mode=755 lodge-test-run /run && mkdir -p /run/lock || return 1
    for vm_d in lib cache log; do
        mkdir -p "$LODGE_TEST_TMP/libvirt-$vm_d" /var/$vm_d/libvirt
        cp -a /var/$vm_d/libvirt/. "$LODGE_TEST_TMP/libvirt-$vm_d/"
        mount --bind "$LODGE_TEST_TMP/libvirt-$vm_d" /var/$vm_d/libvirt || return 1
    done
    rm -rf /var/lib/libvirt/qemu/domain-* /var/log/libvirt/qemu/*
}
vm_own_libvirt_end() {
    for vm_pid in $(cat /run/libvirtd.pid /run/virtlogd.pid 2>/dev/null); do
        kill -CONT "$vm_pid"
        kill "$vm_pid"
    done
    sleep 0.5
    umount /var/lib/libvirt /var/cache/libvirt /var/log/libvirt
}
