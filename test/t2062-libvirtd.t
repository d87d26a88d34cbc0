#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='libvirtd that hangs or dies: other machines go on; random kills with QEMU and libvirtd'
# A libvirtd of our own: the one of this host serves others, who are to live.
if test "$(id -u)" = 0 && test -z "$LODGE_TEST_OWN_RUN"; then
    LODGE_TEST_OWN_RUN=1 exec unshare -m --propagation private sh "$0" "$@"
fi
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT QEMU
. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"
kills=${LODGE_TEST_KILLS:-8}
vm_own_libvirt
lodge_take_away() { vm_own_libvirt_end; }

profile() { # NAME TYPE
    printf '<?xml version="1.0"?>\n<profile><name>%s</name><type>%s</type><memory>192M</memory><image>debian-fast</image><limits ready="400s"/></profile>\n' "$1" "$2" >"$1.xml"
}
test_expect_success 'an image' 'vm_image'
test_expect_success 'machines of two types' '
    profile q qemu && profile q2 qemu && profile f fake && profile f2 fake &&
    lodge vm start q.xml && lodge vm start f.xml &&
    test "$(lodge vm exec -T q echo here </dev/null)" = here
'
test_expect_success 'libvirtd hangs: others start, answer, end; the start behind it fails in time or waits alone' '
    kill -STOP $(cat /run/libvirtd.pid) &&
    { timeout 300 lodge vm start q2.xml >q2.out 2>&1 & } && sleep 1 &&
    before=$(date +%s%N) &&
    lodge vm start f2.xml && lodge vm exec -T f2 true </dev/null && lodge vm destroy -f f2 &&
    test "$(lodge vm exec -T q echo still </dev/null)" = still &&
    lodge vm exec -T f true </dev/null && lodge vm list &&
    after=$(date +%s%N) && ms=$(((after - before) / 1000000)) && echo "others took $ms ms" &&
    test $ms -lt 15000
'
test_expect_success 'a machine of that libvirtd is taken down without it' '
    timeout 100 lodge vm destroy -f q && timeout 100 lodge vm destroy -f q2 &&
    test "$(lodge vm list --noheader --raw -o name)" = f
'
test_expect_success 'it goes on: nothing is left of what was asked meanwhile' '
    kill -CONT $(cat /run/libvirtd.pid) && lodge vm destroy -f f &&
    for i in $(seq 100); do
        test -z "$(virsh -c qemu:///system list --all --name 2>/dev/null)" && break
        sleep 0.5
    done && test -z "$(virsh -c qemu:///system list --all --name)" &&
    ! ls "$LODGE_RUN_DIR"/vms/* 2>/dev/null
'
test_expect_success "$kills kills under a mixed load, types qemu and fake" '
    KILL_LIBVIRTD=/run/libvirtd.pid "$LODGE_TOP_SRCDIR"/test/vm/kills $kills qemu fake >&3 2>&1
'
test_done
