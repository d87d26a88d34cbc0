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

refused() { # WORDS COMMAND...: one line with these words
    words=$1 && shift &&
    test_expect_code 64 "$@" >out 2>err && test_must_be_empty out &&
    test $(wc -l <err) = 1 && grep -q "^lodge: .*$words" err || { cat err; false; }
}
test_expect_success 'so is an option, short or long, that is wrong or lacks its value' '
    refused "unknown option .-Z.; see --help" lodge profile list -Z &&
    refused "unknown option .-Z.; see --help" lodge profile list -aZ &&
    refused "unknown option .--version.; see --help" lodge profile list --version &&
    refused "did you mean .--json." lodge profile list --jsom &&
    refused "be .--node. or .--no-wait." lodge vm start --no x &&
    refused "[-]-json takes no value, not .x." lodge profile list --json=x &&
    refused "[-]-type is without its TYPE" lodge profile list --typ &&
    refused "[-]o is without its COLUMNS" lodge profile list -ao &&
    refused "[-]-env: .x. is not NAME=VALUE" lodge vm exec -e x m true &&
    refused "[-]-timeout: .x. is not a time" lodge image boot --timeout x i &&
    refused "[-]-mode: .x. is not tmpfs" lodge image import --mode x i dir:.
'
test_expect_success 'an option behind the machine is no command, and no machine is made for it' '
    refused "options go before .tiny." lodge run tiny --name x -- true &&
    refused "options go before .m." lodge vm exec m -T true &&
    refused "a command is missing" lodge run tiny --
'
test_expect_success 'an option of a command to run is not ours, nor is a value' '
    test_expect_code 66 lodge image exec nosuch ls -Z 2>err && ! grep -q option err &&
    test_expect_code 66 lodge vm start --append -Z nosuch 2>err && ! grep -q option err
'
test_expect_success '-h is --help everywhere' '
    lodge -h && lodge profile -h && lodge profile list -h >out && grep -q "^Usage: lodge profile list" out
'
test_done
