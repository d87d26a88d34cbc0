#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='everything is documented, and every example in the man pages runs'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"

docs=$LODGE_TOP_SRCDIR/docs
man=$LODGE_TOP_BUILDDIR/docs

test_expect_success 'each noun has its man page, with each verb and option in it' '
    lodge __doc >nouns && test_when_finished "cat missing" && : >missing &&
    while read -r noun; do
        page=$man/lodge-$noun.1
        test -f "$page" || { echo "$noun: no man page docs/lodge-$noun.1.adoc" >>missing; continue; }
        tr -d "\\\\" <"$page" >text &&
        lodge __doc "$noun" | sed -n "s/^=== //p; s/.*[*][*]\(--[a-z0-9-]*\)[*][*].*/\1/p" |
        while read -r what; do
            grep -qF -- "$what" text || echo "$noun: $what" >>missing
        done
    done <nouns &&
    test_must_be_empty missing
'

test_expect_success 'each element and attribute of the schema is in lodge-profile(5) or lodge-cluster(5)' '
    sed -n "s/.*<xs:\(element\|attribute\) name=\"\([^\"]*\)\".*/\2/p" \
        "$LODGE_TOP_SRCDIR/schema/profile.xsd" | sort -u >names &&
    test $(wc -l <names) -gt 60 && : >missing &&
    while read -r name; do
        case $name in nic[2-9]|nic[1-2][0-9]|nic3[01]|profile|cluster) continue ;; esac
        grep -Eq "[*]$name[*]" "$docs/lodge-profile.5.adoc" "$docs/lodge-cluster.5.adoc" ||
            echo "$name" >>missing
    done <names &&
    cat missing && test_must_be_empty missing
'

test_expect_success 'each XML example in the man pages is fine' '
    for page in lodge-profile.5 lodge-cluster.5; do
        awk "/^\[source,xml\]/{want=1;next} want&&/^----\$/{if(inside){exit}inside=1;next} inside" \
            "$docs/$page.adoc" >example.xml &&
        kind=${page#lodge-} && lodge ${kind%.5} check --offline ./example.xml || return 1
    done
'

# Examples are [source,sh] blocks; those that need a node, a guest, root or another
# machine are [source,console] and are not run here.
for page in "$docs"/lodge*.[158].adoc; do
    grep -q '^\[source,sh\]' "$page" || continue
    name=$(basename "$page" .adoc)
    test_expect_success "the examples of $name run" '
        mkdir -p "run-$name" &&
        awk "/^\[source,sh\]/{want=1;next} want&&/^----\$/{inside=!inside;if(!inside)want=0;next} inside" \
            "$page" >"run-$name.sh" &&
        test -s "run-$name.sh" &&
        (cd "run-$name" && LODGE_STATE_DIR=$PWD/state sh -e "../run-$name.sh") >out 2>&1 ||
        { cat out; false; }
    '
done

test_expect_success 'the table of exit statuses is in lodge(1)' '
    lodge __doc status | sed -n "s/^[*]\([0-9]*\)[*]::.*/\1/p" >statuses &&
    test $(wc -l <statuses) -gt 10 &&
    while read -r n; do grep -q "$n" "$man/lodge.1" || return 1; done <statuses
'

test_expect_success 'each key of lodge.conf is in lodge.conf(5), which is what site init writes' '
    lodge site init >/dev/null &&
    sed -n "s/^#\([a-z_]*\) = .*/\1/p" "$LODGE_CONFIG_DIR/lodge.conf" >keys &&
    test $(wc -l <keys) -gt 8 && tr -d "\\\\" <"$man/lodge.conf.5" >text &&
    while read -r key; do grep -q "^fB${key}fP" text || { echo "$key"; return 1; }; done <keys
'

test_done
