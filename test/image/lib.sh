# SPDX-License-Identifier: Apache-2.0
# For tests that build images (t1010, t1011). Ends the test as skipped without root or a
# mirror. Packages are kept between runs; the rest of the cache is the test's own. Gives
# prerequisites QEMU and BUSYBOX, a root with busybox in tiny/, and:
#   digest IMAGE     of its newest version
#   boot IMAGE...    lodge image boot, with a deadline for slow machines
keep=${LODGE_TEST_IMAGE_CACHE:-$lodge_home/.cache/lodge/test-images}
mkdir -p "$keep/debs" "$LODGE_CACHE_DIR/images"
ln -s "$keep/debs" "$LODGE_CACHE_DIR/images/debs"

image_mirror() {
    set -- $(apt-get download --print-uris base-files | grep "^'") &&
        /usr/lib/apt/apt-helper download-file "$(echo "$1" | tr -d "'")" \
            "$LODGE_TEST_TMP/probe.deb"
}
lodge_skip_all_unless ROOT
lodge_prereq MIRROR 'no package mirror can be reached' image_mirror
lodge_skip_all_unless MIRROR
lodge_prereq QEMU 'qemu-system-x86_64 is missing' command -v qemu-system-x86_64
lodge_prereq BUSYBOX 'busybox-static is missing' test -x /bin/busybox

digest() { lodge image list --json | jq -r ".data[] | select(.name == \"$1\") | .digest" | tail -n 1; }
boot() { lodge image boot "$@" --timeout 240 --memory 512M; }

mkdir -p tiny/bin && cp /bin/busybox tiny/bin/ && ln -s busybox tiny/bin/sh
