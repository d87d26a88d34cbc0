#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='the command line says what it is and refuses what it does not know'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"

test_expect_success '--version names the program and a version' '
    lodge --version >out 2>err &&
    grep -Eqx "lodge [0-9]+\.[0-9]+.*" out &&
    test_must_be_empty err
'

test_expect_success '--help lists every noun on stdout' '
    lodge --help >out 2>err &&
    grep -q "^Usage: lodge" out &&
    test_must_be_empty err
'

test_expect_success 'no argument is wrong usage, told on stderr' '
    test_expect_code 64 lodge >out 2>err &&
    test_must_be_empty out &&
    grep -q "^Usage: lodge" err
'

test_expect_success 'an unknown noun is refused in one line with the way out' '
    test_expect_code 64 lodge frobnicate x >out 2>err &&
    test_must_be_empty out &&
    test $(wc -l <err) = 1 &&
    grep -q "^lodge: unknown noun .frobnicate.; " err
'

test_done
