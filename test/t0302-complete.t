#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='completion: nouns, verbs, options and names that live'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"

completion=$LODGE_TOP_SRCDIR/src/cli/completion
lodge_prereq BASH 'bash is missing' bash --version
lodge_prereq ZSH 'zsh is missing: apt-get install zsh' zsh --version

test_expect_success 'nouns, verbs, options' '
    lodge __complete pro >out && echo profile >expected && test_cmp expected out &&
    lodge __complete profile re >out && echo remove >expected && test_cmp expected out &&
    lodge __complete profile check --off >out && echo --offline >expected &&
    test_cmp expected out &&
    lodge __complete profile list --noh >out && echo --noheader >expected &&
    test_cmp expected out
'

test_expect_success 'names that live, types, files' '
    lodge profile copy tiny zebra 2>/dev/null &&
    lodge __complete profile show ze >out && echo zebra >expected && test_cmp expected out &&
    lodge __complete profile show zebra ti >out && echo tiny >expected &&
    test_cmp expected out &&
    lodge __complete explain --type h >out && echo hpc >expected && test_cmp expected out &&
    lodge __complete explain --type=h >out && test_cmp expected out &&
    lodge __complete profile check ze >out && printf "zebra\n:files\n" >expected &&
    test_cmp expected out &&
    lodge __complete store export "" >out && echo :dirs >expected && test_cmp expected out
'

test_expect_success 'machines, checkpoints; no agent is started for it' '
    lodge __complete vm exec "" >out && test_must_be_empty out && test ! -e "$LODGE_RUN_DIR/agent.sock" &&
    lodge vm start debian-fake --name yak >/dev/null && lodge __complete vm exec ya >out && echo yak >expected &&
    test_cmp expected out && lodge __complete vm checkpoint --stop "" >out && test_cmp expected out &&
    lodge vm destroy -f yak >/dev/null &&
    mkdir -p "$LODGE_STATE_DIR/checkpoints/yak-1" && printf ":dirs\nyak-1\n" >expected &&
    lodge __complete vm restore ya >out && test_cmp expected out &&
    lodge __complete vm checkpoint yak --parent ya >out && test_cmp expected out &&
    lodge __complete ckpt verify ya >out && test_cmp expected out &&
    lodge __complete vm restore --mode=u >out && echo uffd >expected && test_cmp expected out &&
    lodge __complete vm start --type v >out && test_must_be_empty out
'

test_expect_success 'what cannot be known is quiet' '
    lodge __complete frobnicate x >out && test_must_be_empty out &&
    lodge __complete >out && grep -qx profile out
'

test_expect_success BASH 'bash asks the program' '
    cat >try.bash <<-END &&
	. "$completion/lodge.bash"
	try() { COMP_WORDS=("\$@"); COMP_CWORD=\$((\$# - 1)); _lodge; echo "\${COMPREPLY[*]}"; }
	try lodge pro
	try lodge profile show ze
	try lodge explain --type = hp
	try lodge profile "re"
	try lodge vm restore --mode = m
	try lodge vm checkpoint --tr
	END
    bash try.bash >out && printf "profile\nzebra\nhpc\nremove\nmap\n--track\n" >expected &&
    test_cmp expected out
'

test_expect_success ZSH 'zsh asks the program' '
    cat >try.zsh <<-END &&
	compadd() { print -r -- \$names; }
	_files() { print -r -- files; }
	try() { words=("\$@"); CURRENT=\$#; . "$completion/_lodge"; }
	try lodge profile show ze
	try lodge explain --type=hp
	END
    zsh -f try.zsh >out && printf "zebra\n--type=hpc\n" >expected && test_cmp expected out
'

test_done
