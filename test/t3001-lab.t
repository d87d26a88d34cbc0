#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='the lab gives back output and status, and always ends'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless LAB
lab=$LODGE_TOP_SRCDIR/test/lab/run
# Where run puts its own files: what a SIGKILL leaves behind goes with the test.
TMPDIR=$LODGE_TEST_TMP
export TMPDIR

test_expect_success 'output, errors and status reach the caller' '
    test_expect_code 7 "$lab" sh -c "echo to-out; echo to-err >&2; exit 7" >out 2>err &&
    echo to-out >want && test_cmp want out &&
    echo to-err >want && test_cmp want err
'

test_expect_success 'wrong usage is refused before anything starts' '
    test_expect_code 2 "$lab" &&
    test_expect_code 2 "$lab" --hugepages 3M=1 true &&
    test_expect_code 2 "$lab" --nodes 0 true
'

test_expect_success 'a command that does not end is ended' '
    test_expect_code 124 "$lab" --timeout 10 sleep 1000 2>err &&
    grep -q "time is over after 10 s" err
'

# Starts a lab that would sleep; its pid, and that of its QEMU, the child.
start_lab() {
    "$lab" sleep 1000 2>lab.err &
    pid=$!
    for i in $(seq 200); do
        qemu=$(pgrep -P $pid -f lodge-lab) && return
        sleep 0.1
    done
    cat lab.err
    return 1
}

is_gone() { # a zombie is: not every init reaps
    for i in $(seq 50); do
        grep -q "^State:.[^ZX]" "/proc/$1/status" 2>/dev/null || return 0
        sleep 0.1
    done
    return 1
}

# A shell starts what it puts into the background with SIGINT ignored.
test_expect_success 'SIGINT leaves no QEMU, also when it was ignored' '
    start_lab &&
    kill -INT $pid &&
    test_expect_code 130 wait $pid &&
    is_gone $qemu
'

test_expect_success 'SIGKILL leaves no QEMU' '
    start_lab &&
    kill -KILL $pid &&
    test_expect_code 137 wait $pid &&
    is_gone $qemu
'

test_done
