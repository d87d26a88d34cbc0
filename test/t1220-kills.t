#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# LODGE_TEST_KILLS=200 for the long run.
test_description='lodged, agents and connections are killed under load: nothing twice, lost or hung'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT

test_expect_success '16 nodes, starts and stops, random kills' '
    "$LODGE_TOP_SRCDIR/test/nodes/kills" ${LODGE_TEST_KILLS:-10} 16 ${LODGE_TEST_SEED:-} >out 2>&1 ||
        { cat out; tail -n 20 "$LODGE_TEST_TMP"/lodged.log; false; } &&
    cat out >&3 && grep "fine" out
'

test_done
