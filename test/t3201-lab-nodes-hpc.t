#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Two machines with real sshd and real agents: an image is pushed (200 MB), a machine on each by
# type hpc (LODGE_TEST_TYPE for another); see test/lab/nodes.sh. Run by check-more: it takes long.
test_description='controller and two nodes over SSH: an image, machines of type hpc'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless LAB
lodge_skip_all_unless ROOT
. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"

test_expect_success 'an image' 'vm_image'
test_expect_success 'two nodes by SSH: image, machines, console, streams, drain, a cut network' '
    "$LODGE_TOP_SRCDIR/test/lab/run" --nodes 2 --memory 2048 --timeout 1200 \
        "$LODGE_TOP_SRCDIR/test/lab/nodes.sh" ${LODGE_TEST_TYPE:-hpc} \
        "$LODGE_STATE_DIR/images" >out 2>&1 || { cat out; false; }
    cat out >&3 && grep "== done" out
'

test_done
