#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Two machines with real sshd and real agents; see test/lab/nodes.sh.
test_description='controller and two nodes over SSH'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless LAB

lodge_skip_all_unless ROOT
. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"

run_nodes() { # TYPE [IMAGES]
    "$LODGE_TOP_SRCDIR/test/lab/run" --nodes 2 --memory 2048 --timeout 550 \
        "$LODGE_TOP_SRCDIR/test/lab/nodes.sh" "$@" >out 2>&1 || { cat out; false; }
    cat out >&3
    grep "== done" out
}

test_expect_success 'an image' 'vm_image'
test_expect_success 'two nodes by SSH: an image, machines of type hpc, streams, drain, a cut network' '
    run_nodes ${LODGE_TEST_TYPE:-hpc} "$LODGE_STATE_DIR/images"
'

test_done
