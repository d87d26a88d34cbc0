#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Two machines with real sshd and real agents: an image is pushed (70 MB, 28 MB on the way), a
# machine on each by type hpc (LODGE_TEST_TYPE for another); see test/lab/nodes.sh.
test_description='controller and two nodes over SSH: an image, machines of type hpc'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless LAB ROOT
lodge_prereq BUSYBOX 'busybox-static is missing' test -x /bin/busybox
lodge_skip_all_unless BUSYBOX

keep=${LODGE_TEST_CACHE:-$lodge_home/.cache/lodge/test-images}
test_expect_success 'a small image' '
    mkdir -p small/bin "$keep/debs" "$LODGE_CACHE_DIR/images" && ln -s "$keep/debs" "$LODGE_CACHE_DIR/images/debs" &&
    cp /bin/busybox small/bin/ && cp "$LODGE_TOP_SRCDIR/test/data/image/lab.xml" . &&
    for link in $(/bin/busybox --list); do test "$link" = busybox || ln -sf busybox "small/bin/$link"; done &&
    { lodge image build lab.xml || lodge image build lab.xml; }
'
test_expect_success 'two nodes by SSH: image, machines, console, streams, drain, a cut network' '
    "$LODGE_TOP_SRCDIR/test/lab/run" --nodes 2 --memory 2048 --timeout 1200 -- \
        "$LODGE_TOP_SRCDIR/test/lab/nodes.sh" ${LODGE_TEST_TYPE:-hpc} \
        "$LODGE_STATE_DIR/images" small >out 2>&1 || { cat out; false; }
    cat out >&3 && grep "^== done" out
'

test_done
