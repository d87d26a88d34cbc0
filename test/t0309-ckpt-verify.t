#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='lodge ckpt verify with checkpoints that somebody made up'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"

lodge_prereq VMM 'built without lodge-vmm' test -x "$LODGE_TOP_BUILDDIR/lodge-vmm"

forge() { # DIRECTORY CHANGE
    python3 "$LODGE_TOP_SRCDIR/test/forge.py" "$1/manifest.json" "$2"
}

test_expect_success VMM 'one that is whole is whole' '
    cp -r "$LODGE_TOP_SRCDIR/test/data/ckpt/v1" whole && chmod -R u+w whole && lodge ckpt verify ./whole &&
    forge whole "{}" && lodge ckpt verify ./whole
'
test_expect_success VMM 'a child whose parent says that it has no pages' '
    cp -r whole child && mkdir parent && cp whole/manifest.json parent/ &&
    forge parent "{\"features\": [\"fake\"], \"files\": {}, \"id\": \"00000000000000000000000000000002\"}" &&
    forge child "{\"features\": [\"sparse\", \"zstd\", \"incremental\"],
        \"parent\": {\"id\": \"00000000000000000000000000000002\", \"name\": \"parent\"}}" &&
    test_expect_code 65 lodge ckpt verify ./child 2>err && cat err && test $(wc -l <err) = 1 && grep "parent" err
'
test_expect_success VMM 'one that is its own parent' '
    forge child "{\"parent\": {\"id\": \"00000000000000000000000000000001\", \"name\": \"child\"}}" &&
    test_expect_code 65 lodge ckpt verify ./child 2>err && cat err && test $(wc -l <err) = 1 && grep "more than" err
'
test_expect_success VMM 'a parent elsewhere' '
    for name in ../child /etc .. . "" "a/b"; do
        forge child "{\"parent\": {\"id\": \"00000000000000000000000000000001\", \"name\": \"$name\"}}" &&
        test_expect_code 65 lodge ckpt verify ./child 2>err && grep "its parent is wrong" err || return 1
    done
'
test_done
