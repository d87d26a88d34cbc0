#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The administrator's guide, word for word, from bare machines with Debian's Slurm to a user's
# job in a guest of type hpc: see test/lab/site.sh. Run by check-more: it builds Debian's
# packages first, if LODGE_TEST_DEBS does not name a directory that has them.
test_description='two lab machines by the administrator'"'"'s guide: packages, site, nodes, image, Slurm, jobs of type hpc'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless LAB ROOT SLURM
lodge_prereq DEBUILD 'dpkg-buildpackage or debhelper is missing' test -x /usr/bin/dh -a -x /usr/bin/dpkg-buildpackage
lodge_skip_all_unless DEBUILD
. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"

debs=${LODGE_TEST_DEBS:-$LODGE_TEST_TMP/debs}
packages() {
    mkdir "$debs" && make -C "$LODGE_TOP_BUILDDIR" distdir distdir="$debs/lodge" &&
        (cd "$debs/lodge" && DEB_BUILD_OPTIONS=nocheck dpkg-buildpackage -b -us -uc)
}
test_expect_success 'packages' '
    test -d "$debs" || packages >out 2>&1 || { tail -n 30 out; false; } &&
    ls "$debs"/lodge-slurm_*.deb
'
test_expect_success 'an image' 'vm_image'
test_expect_success 'the guide, on two machines' '
    "$LODGE_TOP_SRCDIR/test/lab/run" --nodes 2 --memory 2560 --timeout 1500 -- \
        "$LODGE_TOP_SRCDIR/test/lab/site.sh" "$debs" "$LODGE_STATE_DIR/images" >out 2>&1 || { cat out; false; }
    cat out >&3 && grep "^== done" out
'

test_done
