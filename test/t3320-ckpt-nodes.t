#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='type hpc: a checkpoint made on one node comes back on another'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT LAB
. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"

test_expect_success 'an image, and one with the full kernel' '
    vm_image && sed "s,<name>debian-fast,<name>debian-full,; s,linux-image-cloud-amd64,linux-image-amd64,; /max-size/d" \
        "$LODGE_TOP_SRCDIR/images/debian-fast.xml" >full.xml && lodge image build ./full.xml
'
shapes="1:4K:192M:debian-fast 4:4K:192M:debian-fast 4:2M:256M:debian-fast 1:1G:1024M:debian-fast 1:2M:256M:debian-full"
test_expect_success '1 and 4 vCPUs; 4K, 2M, 1G pages; disks, nic, rng, console, a share of the other node; both kernels' '
    "$LODGE_TOP_SRCDIR"/test/lab/run --nodes 2 --timeout 1500 --memory 2800 --hugepages 2M=140,1G=1 -- \
        sh "$LODGE_TOP_SRCDIR"/test/lab/elsewhere.sh "$LODGE_STATE_DIR/images" $shapes >out 2>&1; cat out >&3
    grep -qx "elsewhere 0" out
'
test_done
