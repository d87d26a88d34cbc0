#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='random kill -9 among agent, guests, clients under load: nothing is left, others run on'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
# LODGE_KILLS: how many; the usual budget is short. LODGE_KILL_TYPE: of the machines.
kills=${LODGE_KILLS:-24} type=${LODGE_KILL_TYPE:-fake}

profile() {
    printf '<?xml version="1.0"?>\n<profile><name>%s</name><type>%s</type><memory>128M</memory><image>debian-fast</image></profile>\n' "$1" "$type" >"$1.xml"
}
marked() { # pids of what was started for machines
    grep -lzs "^LODGE_VM=" /proc/[0-9]*/environ | sed 's,/proc/\([0-9]*\)/.*,\1,' |
        while read p; do
            tr '\0' '\n' </proc/$p/environ 2>/dev/null | grep -qxF "LODGE_TEST_ID=$LODGE_TEST_ID" && echo $p
        done
    :
}
seed=${LODGE_KILL_SEED:-$$}
pick() { # one line of standard input
    seed=$(((seed * 1103515245 + 12345) % 2147483648))
    awk -v r=$seed '{ l[NR] = $0 } END { if (NR) print l[r % NR + 1] }'
}
victim() {
    case $((seed / 7 % 4)) in
    0) cat "$LODGE_STATE_DIR/agent.lock" ;;
    1) marked | grep -vxF "$keep" | pick ;;
    2) cat load-* 2>/dev/null | pick ;;
    3) cat "$LODGE_STATE_DIR/agent.lock" ;;
    esac
}

test_expect_success 'an untouched machine' '
    profile keep && lodge vm start keep.xml &&
    keep=$(lodge vm list --noheader --raw -o pid) && test -n "$keep" && echo $keep >keep &&
    pgrep -P $keep >>keep || :
'
keep=$(cat keep)
test_expect_success "$kills kills under a mixed load" '
    profile work &&
    for n in 1 2 3; do
        ( while test ! -e stop; do
            lodge run work.xml --name w$n -- sh -c "seq 2000; sleep 0.2" >/dev/null 2>&1 </dev/null & echo $! >load-$n; wait $!
            lodge vm start work.xml --name s$n >/dev/null 2>&1; lodge vm exec s$n true >/dev/null 2>&1
            lodge vm destroy -f s$n >/dev/null 2>&1
        done ) &
        echo $! >>loops
    done
    for i in $(seq $kills); do
        sleep 0.3
        seed=$(((seed * 1103515245 + 12345) % 2147483648))
        v=$(victim) && test -n "$v" && kill -9 $v 2>/dev/null
        lodge vm start --dry-run keep.xml >/dev/null 2>&1
    done
    touch stop && for l in $(cat loops); do wait $l; done; :
'
test_expect_success 'the untouched one still runs and answers' '
    lodge vm start --dry-run keep.xml && test "$(lodge vm exec keep echo here)" = here &&
    test "$(lodge vm show keep | awk "/pid|PID/ { print \$NF }" | head -n 1)" != 0
'
test_expect_success 'all others go, within the lease' '
    for n in 1 2 3; do lodge vm destroy -f s$n w$n 2>/dev/null; done
    for i in $(seq 90); do
        test "$(lodge vm list --noheader --raw -o name | sort | uniq | grep -vcx keep)" = 0 && break
        lodge vm destroy -f $(lodge vm list --noheader --raw -o id,leased,name | awk "\$NF != \"keep\" && !/true|yes/ { print \$1 }") 2>/dev/null
        sleep 0.5
    done
    lodge vm list && test "$(lodge vm list --noheader --raw -o name)" = keep
'
test_expect_success 'nothing is left behind' '
    lodge vm destroy -f keep && sleep 0.5 &&
    ls "$LODGE_RUN_DIR/vms" "$LODGE_STATE_DIR/agent" >left && ! grep -v -e : -e "^$" left &&
    ! ls "$LODGE_STATE_DIR"/scratch/* 2>/dev/null && marked >left && for p in $(cat left); do tr "\\0" " " </proc/$p/cmdline; echo; done && test_must_be_empty left
'
test_done
