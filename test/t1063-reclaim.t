#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='lodge-agent --reclaim: what belongs to no machine goes, all else stays'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT
lodge_prereq IP 'this kernel or these rights allow no network interfaces' \
    sh -c 'ip link add lgtest type bridge && ip link del lgtest'

groups() { # the hierarchies in which an agent makes groups of its own
    for g in /sys/fs/cgroup/lodge /sys/fs/cgroup/memory/lodge /sys/fs/cgroup/cpu/lodge; do
        test -e "${g%/lodge}/cgroup.procs" && echo $g
    done
}
lodge_prereq CGROUPS 'control groups cannot be made here' \
    sh -c "mkdir -p $(echo $(groups)) && test -n '$(groups)'"
agent_ends() {
    kill "$1" $(cat "$LODGE_STATE_DIR/agent.lock") && for i in $(seq 100); do
        flock -n "$LODGE_STATE_DIR/agent.lock" true && return
        sleep 0.1
    done
    return 1
}
profile() {
    printf '<?xml version="1.0"?>\n<profile><name>%s</name><type>fake</type><image>/dev/null</image></profile>\n' $1 >$1.xml
}
lodge_take_away() {
    for d in $left_groups; do rmdir $d; done
    ip link del lg$lost.0
    ip link del lgb${tag}0000007
}

test_expect_success 'two machines; the agent is killed and one loses its row' '
    profile kept && profile lost && lodge vm start kept.xml && lodge vm start lost.xml &&
    lost=$(lodge vm list --noheader --raw -o name,id | awk "\$1 == \"lost\" { print \$2 }") &&
    lodge vm list --raw -o name,id,pid >&3 && pid=$(lodge vm list --noheader --raw -o name,pid | awk "\$1 == \"lost\" { print \$2 }") &&
    kill -0 $pid && agent_ends -KILL && rm "$LODGE_STATE_DIR/agent/$lost.json"
'
test_expect_success 'it has files, a link and control groups; so has a machine of another agent' '
    tag=$(echo $lost | cut -c 1-5) &&
    case $tag in fffff) stranger=eeeee01234 ;; *) stranger=fffff01234 ;; esac &&
    mkdir -p "$LODGE_STATE_DIR/scratch" && : >"$LODGE_STATE_DIR/scratch/$lost.raw" &&
    : >"$LODGE_STATE_DIR/scratch/$stranger.raw" && mkdir -p "$LODGE_RUN_DIR/vms/$stranger"
'
test_expect_success IP 'a link, and the bridge of its network' '
    ip link add lg$lost.0 type bridge && ip link add lgb${tag}0000007 type bridge
'
test_expect_success CGROUPS 'groups: of it; of another, just made; of another, long ago' '
    old=$(echo $stranger | tr 4 5) &&
    for g in $(groups); do
        left_groups="$left_groups $g/$lost $g/$stranger $g/$old" &&
        mkdir $g/$lost $g/$stranger $g/$old && touch -d "2 hours ago" $g/$old || return 1
    done
'
test_expect_success 'a file where no row can be is no obstacle' '
    echo "{" >"$LODGE_STATE_DIR/agent/broken.json"
'
test_expect_success 'it says what it took back, and that is all' '
    lodge-agent --reclaim >out && cat out && echo $lost >want && test_cmp want out
'
test_expect_success 'the process is gone, and the files' '
    for i in $(seq 50); do grep -qsF LODGE_VM= /proc/$pid/environ || break; sleep 0.1; done &&
    ! grep -qsF LODGE_VM= /proc/$pid/environ && test ! -e "$LODGE_STATE_DIR/scratch/$lost.raw" &&
    test ! -e "$LODGE_RUN_DIR/vms/$lost"
'
test_expect_success IP 'and the links' '
    test_must_fail ip link show lg$lost.0 && test_must_fail ip link show lgb${tag}0000007
'
test_expect_success CGROUPS 'and the groups, with those that nobody has touched for long' '
    for g in $(groups); do
        test ! -e $g/$lost && test ! -e $g/$old && test -d $g/$stranger || return 1
    done
'
test_expect_success 'what is another agent'"'"'s stays' '
    test -e "$LODGE_STATE_DIR/scratch/$stranger.raw" && test -d "$LODGE_RUN_DIR/vms/$stranger"
'
test_expect_success 'again: nothing' 'lodge-agent --reclaim >out && test_must_be_empty out'
test_expect_success 'the other machine runs on' '
    lodge vm start --dry-run kept.xml >&3 && test "$(lodge vm exec -T kept echo here </dev/null)" = here
'
test_expect_success 'while an agent runs it is refused' '
    test_must_fail lodge-agent --reclaim 2>said && cat said && grep "another lodge-agent runs" said
'
test_expect_success 'an agent that starts sweeps by itself' '
    mkdir "$LODGE_RUN_DIR/vms/$lost" && agent_ends -TERM && lodge vm start --dry-run kept.xml >&3 &&
    for i in $(seq 100); do test ! -e "$LODGE_RUN_DIR/vms/$lost" && break; sleep 0.1; done &&
    test ! -e "$LODGE_RUN_DIR/vms/$lost" && lodge vm destroy -f kept
'
test_done
