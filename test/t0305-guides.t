#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# In the guides, ```sh blocks run anywhere and are run here; ```console blocks need root, a
# node or a cluster, and each command of theirs must at least be one.
test_description='the guides: blocks of sh run, commands of consoles exist'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"

blocks() { # KIND FILE
    awk -v kind="^\`\`\`$1\$" '$0 ~ kind {inside = 1; next} /^```$/ {inside = 0} inside' "$2"
}

for guide in "$LODGE_TOP_SRCDIR"/README.md "$LODGE_TOP_SRCDIR"/docs/*.md; do
    name=$(basename "$guide" .md)
    blocks sh "$guide" >"$name.sh"
    test ! -s "$name.sh" || test_expect_success "the examples of $name run" '
        mkdir "run-$name" && (cd "run-$name" && LODGE_STATE_DIR=$PWD/state sh -e "../$name.sh") \
            >out 2>&1 </dev/null || { cat out; false; }
    '
    # NOUN VERB OPTIONS of every lodge command shown.
    blocks console "$guide" | sed -n "s/^[\$#] *\(lodge [a-z].*\)/\1/p" >"$name.commands"
    test ! -s "$name.commands" || test_expect_success "the commands of $name exist" '
        : >wrong && while read -r _ noun verb rest; do
            case $noun in run|explain) page=$noun what= ;; *) page=$noun what=$verb ;; esac
            lodge __doc "$page" >page 2>/dev/null || { echo "no noun: $noun" >>wrong; continue; }
            test -z "$what" || grep -q "^=== .*$what" page || echo "no verb: $noun $what" >>wrong
            for word in ${rest%% -- *}; do
                case $word in
                --) break ;;
                -[a-z]) grep -q -e "^[*]$word[* ]" page || echo "$noun $verb: $word" >>wrong ;;
                --*) grep -qF -e "${word%%=*}" page || echo "$noun $verb: $word" >>wrong ;;
                esac
            done
        done <"$name.commands" && cat wrong && test_must_be_empty wrong
    '
done

# Files and folders that a guide names or links to are there; NAME and the like stand for any.
for guide in "$LODGE_TOP_SRCDIR"/README.md "$LODGE_TOP_SRCDIR"/docs/*.md; do
    name=$(basename "$guide" .md)
    test_expect_success "the files that $name names are there" '
        grep -oE "\`(src|test|bench|plugins|schema|images|profiles|docs|systemd|debian)/[A-Za-z0-9_./*-]*" "$guide" |
            sed "s/.//; s/NNNN-name\|NAME\|NOUN\|ROOM/*/; s,^,$LODGE_TOP_SRCDIR/," >named
        grep -oE "\]\([a-z][^):#]*" "$guide" | sed "s,^..,$(dirname "$guide")/," >>named
        : >missing && while read -r path; do
            set -- $path*
            test -e "$1" || echo "$path" >>missing
        done <named && test_must_be_empty missing
    '
done

test_done
