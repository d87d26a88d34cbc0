#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Two machines with real sshd and real agents; see test/lab/nodes.sh. t3201 does the same with
# an image and machines of type hpc.
test_description='controller and two nodes over SSH'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless LAB

test_expect_success 'two nodes by SSH: machines, streams, drain, a cut network' '
    "$LODGE_TOP_SRCDIR/test/lab/run" --nodes 2 --timeout 500 \
        "$LODGE_TOP_SRCDIR/test/lab/nodes.sh" >out 2>&1 || { cat out; false; }
    cat out >&3 && grep "== done" out
'

test_done
