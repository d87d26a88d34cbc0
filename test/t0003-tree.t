#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='the checks of the tree itself: layers, packages'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"

check=$LODGE_TOP_SRCDIR/build-aux/check-layers

test_expect_success 'the tree keeps to src/LAYERS' '
    "$check" "$LODGE_TOP_SRCDIR"
'

test_expect_success 'an include against src/LAYERS is found, with file and line' '
    mkdir -p src/base src/agent plugins/slurm &&
    cp "$LODGE_TOP_SRCDIR/src/LAYERS" src/ &&
    printf "/* one */\n#include \"agent/vt.h\"\n" >src/base/err.c &&
    printf "#include \"base/err.h\"\n" >src/agent/vt.c &&
    printf "# include \"agent/vt.h\"\n" >plugins/slurm/spank.c &&
    test_expect_code 1 "$check" . >out &&
    grep -F "src/base/err.c:2: \"base\" may not include \"agent/vt.h\"" out &&
    grep -F "plugins/slurm/spank.c:1: \"plugins\" may not include \"agent/vt.h\"" out &&
    test $(wc -l <out) = 2
'

test_expect_success 'a room that src/LAYERS does not know is found' '
    rm -rf src/base plugins/slurm &&
    mkdir -p src/attic && echo "int x;" >src/attic/x.c &&
    test_expect_code 1 "$check" . >out &&
    grep "attic" out
'

test_expect_success 'quickstart installs every package that configure may ask for' '
    sed -n "s/.*LODGE_PKG(.*\[\([a-z0-9.+-]*\)\]).*/\1/p; s/.*LODGE_MISSING \(lib[a-z0-9.+-]*\|asciidoctor\)\".*/\1/p" \
        "$LODGE_TOP_SRCDIR/configure.ac" | sort -u >wanted &&
    test $(wc -l <wanted) -gt 15 &&
    tr " " "\n" <"$LODGE_TOP_SRCDIR/quickstart" | tr -d "\"" | sort -u >listed &&
    comm -23 wanted listed >missing &&
    cat missing &&
    test_must_be_empty missing
'

test_done
