#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='type hpc: a checkpoint made on one node comes back on another'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT
lodge_skip_all_unless LAB
. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"

test_expect_success 'an image' 'vm_image'
test_expect_success '1 and 4 vCPUs; 4K, 2M, 1G pages; disks, nic, rng, console, a share of the other node' '
    "$LODGE_TOP_SRCDIR"/test/lab/run --nodes 2 --timeout 1500 --memory 2800 --hugepages 2M=140,1G=1 -- \
        sh "$LODGE_TOP_SRCDIR"/test/lab/elsewhere.sh "$LODGE_STATE_DIR/images" >out 2>&1; cat out >&3
    grep -qx "elsewhere 0" out
'
test_done
