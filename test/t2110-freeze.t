#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='frozen images: thawed machines are ready sooner, each somebody else; what does not fit boots'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT
. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"
lodge_skip_all_unless QEMU
clones=${LODGE_CLONES:-3}

profile() { # NAME MEMORY
    cat <<E2
<?xml version="1.0"?>
<profile>
  <name>$1</name>
  <type>qemu</type>
  <memory>$2</memory>
  <image>debian-fast</image>
  <disks><disk id="data" size="8M"/></disks>
  <nics><nic type="isolated" network="inside"/></nics>
</profile>
E2
}
start_of() { # NAME
    lodge vm show "$1" --json | sed -n 's/.*"start": "\(.*\)",*/\1/p'
}
who() {
    lodge vm exec "$1" sh -c 'hostname; cat /etc/machine-id /sys/class/net/eth0/address; od -An -tx8 -N16 /dev/urandom'
    lodge vm show "$1" -o address --raw | tail -n 1
}
profile m 192M >m.xml && profile big 224M >big.xml

test_expect_success 'an image, frozen as a machine' '
    vm_image && lodge image freeze debian-fast --profile m.xml &&
    test -z "$(lodge vm list --noheader)" && lodge ckpt verify "$LODGE_STATE_DIR"/images/frozen/*
'
test_expect_success "$clones thawed at once: each somebody else" '
    for i in $(seq $clones); do lodge vm start m.xml --name c$i & done && wait &&
    for i in $(seq $clones); do
        test "$(start_of c$i)" = thawed && who c$i >who$i || return 1
    done &&
    cat who[0-9]* >&3 && lines=$(cat who[0-9]* | wc -l) && test $lines = $((5 * clones)) &&
    test "$(cat who[0-9]* | sort -u | wc -l)" = $lines
'
test_expect_success 'each writes its own disk' '
    lodge vm exec c1 sh -c "echo mine >/dev/vdb; sync" &&
    test "$(lodge vm exec c2 head -c 4 /dev/vdb | tr -d "\\0")" = "" &&
    test "$(lodge vm exec c1 head -c 4 /dev/vdb)" = mine
'
test_expect_success 'started again after its end it thaws again' '
    lodge vm kill c1 && lodge vm start c1 && test "$(start_of c1)" = thawed &&
    lodge vm destroy -f $(lodge vm list --noheader --raw -o name)
'
test_expect_success 'another shape boots' '
    lodge vm start big.xml --name big && test -z "$(start_of big)" && lodge vm destroy -f big
'
test_expect_success 'a damaged one: it boots, and says so' '
    file=$(echo "$LODGE_STATE_DIR"/images/frozen/*/qemu) &&
    printf damage | dd of="$file" bs=1 seek=$(($(stat -c %s "$file") / 2)) conv=notrunc status=none &&
    lodge vm start m.xml --name d && start_of d | grep "booted, not thawed.*damaged" &&
    lodge vm exec d true && lodge vm destroy -f d
'
test_expect_success 'frozen again it is whole' '
    lodge image freeze debian-fast --profile m.xml && lodge vm start m.xml --name e &&
    test "$(start_of e)" = thawed && lodge vm destroy -f e
'
test_done
