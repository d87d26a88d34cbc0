#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='the store: many profiles, writers at once, kill -9, backup, export, import'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"

write_profile() { # NAME MEMORY
    printf '<profile><name>%s</name><memory>%s</memory><type>fake</type>' "$1" "$2" &&
    printf '<kernel>/boot/vmlinuz</kernel></profile>\n'
}
names() {
    lodge profile list --raw --noheader -o name,origin | sed -n 's/ own$//p'
}

test_expect_success 'a thousand profiles go in' '
    mkdir many && for i in $(seq 1000); do
        write_profile "many$i" 64M >many/many$i.xml || return 1
    done &&
    lodge profile add many/*.xml >out 2>err && test $(wc -l <out) = 1000 &&
    names >list && test $(wc -l <list) = 1000 &&
    lodge store check
'

test_expect_success 'eight writers at once wait for each other' '
    mkdir -p writers && for w in 1 2 3 4 5 6 7 8; do
        (for i in 1 2 3 4 5 6 7 8 9 10; do
            write_profile "w$w-$i" 64M >writers/w$w-$i.xml &&
            lodge profile add writers/w$w-$i.xml >>writers/out$w 2>>writers/err$w || exit 1
            write_profile "shared" "$((64 + w * 16 + i))M" >writers/s$w-$i.xml &&
            lodge profile add --replace writers/s$w-$i.xml >>writers/out$w \
                2>>writers/err$w || exit 1
        done) &
    done &&
    wait && names | grep -c "^w[1-8]-" >count && echo 80 >expected &&
    test_cmp expected count &&
    lodge profile history shared --raw --noheader -o version >out &&
    test $(wc -l <out) -gt 70 && lodge store check
'

# The times spread over the whole life of the command, so that all its writes are hit.
test_expect_success 'a hundred kill -9 during writes lose nothing acknowledged' '
    mkdir killed && : >acked && : >cut &&
    start=$(date +%s%N) && lodge profile copy tiny timing 2>/dev/null &&
    life=$((($(date +%s%N) - start) / 1000)) &&
    i=0 && while test $i -lt 100; do
        i=$((i + 1))
        write_profile "k$i" 64M >killed/k$i.xml
        lodge profile add killed/k$i.xml >/dev/null 2>&1 &
        pid=$!
        sleep "$(printf "0.%06d" $((life * (i % 20 + 1) / 20)))"
        kill -9 $pid 2>/dev/null
        if wait $pid 2>/dev/null; then echo k$i >>acked; else echo k$i >>cut; fi
    done
    cat acked | wc -l >&2; cat cut | wc -l >&2
    test $(wc -l <cut) -gt 20 &&
    lodge store check && names >list && while read -r name; do
        grep -qx "$name" list || { echo "lost: $name"; return 1; }
    done <acked
'

start_lodged() {
    lodged 2>>lodged.log &
    lodged=$!
    for try in 1 2 3 4 5 6 7 8 9 10; do
        LODGE_CONTROLLER_SOCKET=$LODGE_RUN_DIR/lodged.sock lodge op list >/dev/null 2>&1 &&
            return 0
        sleep 0.2
    done
    return 1
}

test_expect_success 'lodged killed twenty times under writers loses nothing acknowledged' '
    mkdir served && : >acked2 &&
    (i=0; while test ! -e stop; do
        i=$((i + 1))
        write_profile "s$i" 64M >served/s$i.xml
        LODGE_CONTROLLER_SOCKET=$LODGE_RUN_DIR/lodged.sock \
            lodge profile add served/s$i.xml >/dev/null 2>&1 && echo s$i >>acked2
    done) & writer=$! &&
    for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        start_lodged || return 1
        sleep "0.0$((i % 10))"
        kill -9 $lodged; wait $lodged 2>/dev/null
    done
    : >stop; wait $writer
    wc -l <acked2 >&2
    test -s acked2 && lodge store check && names >list && while read -r name; do
        grep -qx "$name" list || { echo "lost: $name"; return 1; }
    done <acked2
'

test_expect_success 'backup, export and import keep everything' '
    rm -f "$LODGE_RUN_DIR/lodged.sock" &&
    lodge store backup copy.db && test_expect_code 73 lodge store backup copy.db 2>err &&
    lodge store check --database copy.db && lodge store export all >out &&
    test -f all/profiles/$(id -u)/many7.xml &&
    (LODGE_STATE_DIR=$PWD/new && export LODGE_STATE_DIR && lodge store import all &&
        lodge store check && names >list2 &&
        lodge profile history shared --raw --noheader >history2 &&
        test_expect_code 73 lodge store import all 2>err) &&
    names >list && lodge profile history shared --raw --noheader >history &&
    test_cmp list list2 && test_cmp history history2
'

test_expect_success 'damage is found and told' '
    cp copy.db bad.db && dd if=/dev/urandom of=bad.db bs=4096 seek=3 count=40 conv=notrunc \
        2>/dev/null && test_must_fail lodge store check --database bad.db >out 2>err &&
    grep -q "restore a backup" err &&
    echo "not a database at all, not even nearly" >not.db &&
    test_must_fail lodge store check --database not.db 2>err && grep -q "restore" err
'

test_expect_success 'a store of a newer lodge is not touched' '
    cp copy.db newer.db && printf "PRAGMA user_version=9999;" >sql &&
    if command -v sqlite3 >/dev/null; then
        sqlite3 newer.db <sql && test_expect_code 78 lodge store check --database newer.db 2>err &&
        grep -q "newer lodge" err
    fi
'

lodge_prereq SETPRIV 'setpriv is missing' setpriv --version

test_expect_success ROOT,SETPRIV 'lodged: a user sees the site, changes only own rows' '
    start_lodged && test_when_finished "kill $lodged; wait $lodged" &&
    chmod 755 . "$LODGE_RUN_DIR" && sock=$LODGE_RUN_DIR/lodged.sock &&
    as() { u=$1; shift; LODGE_CONTROLLER_SOCKET=$sock setpriv --reuid=$u --regid=$u \
        --clear-groups env HOME=/nonexistent LODGE_STATE_DIR=/nonexistent "$@"; } &&
    as 61234 lodge profile show many1 >out &&
    test_expect_code 77 as 61234 lodge profile remove many1 2>err &&
    grep -q "only root" err &&
    as 61234 lodge profile copy tiny private >out 2>err &&
    as 61234 lodge profile list private --raw --noheader -o name,origin >out &&
    echo "private own" >expected && test_cmp expected out &&
    test_expect_code 66 as 61235 lodge profile show private 2>err &&
    test_expect_code 66 as 61235 lodge profile remove private 2>err &&
    test_expect_code 77 as 61235 lodge op list --all 2>err &&
    as 61235 lodge op list --raw --noheader >out && test_must_be_empty out &&
    as 61234 lodge profile copy many1 many1 >out 2>err &&
    as 61234 lodge profile list many1 --raw --noheader -o origin >out &&
    echo own >expected && test_cmp expected out &&
    LODGE_CONTROLLER_SOCKET=$sock lodge profile list many1 --raw --noheader -o origin >out &&
    test_cmp expected out
'

test_expect_success 'a store that is not there is not made to be found clean' '
    for verb in check "backup copy" "export folder"; do
        test_expect_code 66 lodge store $verb -D nosuch.db 2>err &&
        grep "store .nosuch.db.: No such file" err && ! test -e nosuch.db || return 1
    done
'

test_expect_success ROOT 'where no store can be made, that is what is said' '
    mkdir ro && unshare -m sh -c "mount -t tmpfs -o ro none ro &&
        LODGE_STATE_DIR=\$PWD/ro lodge profile list; echo \$?" >out 2>err &&
    cat out err && grep -qx 77 out && grep -q "store .*/ro/lodge.db.: Read-only file system" err
'

test_done
