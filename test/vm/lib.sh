# SPDX-License-Identifier: Apache-2.0
# For tests that boot machines. vm_image: an image debian-fast in the test's store; its
# packages are kept between runs, as t1010 keeps them. LODGE_TEST_IMAGES: a store that has
# it already.
vm_image() {
    if test -n "$LODGE_TEST_IMAGES"; then
        LODGE_IMAGE_PATH=$LODGE_TEST_IMAGES
        export LODGE_IMAGE_PATH
        lodge image show debian-fast >/dev/null && return
    fi
    keep=${LODGE_TEST_IMAGE_CACHE:-$lodge_home/.cache/lodge/test-images}
    mkdir -p "$keep/debs" "$LODGE_CACHE_DIR/images" &&
        ln -sfn "$keep/debs" "$LODGE_CACHE_DIR/images/debs" &&
        lodge image build "$LODGE_TOP_SRCDIR/images/debian-fast.xml"
}
