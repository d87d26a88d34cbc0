#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='images: build, boot, compare, break, import and export them'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"

. "$LODGE_TOP_SRCDIR/test/image/lib.sh"
tools() {
    for tool in mmdebstrap mkfs.erofs mksquashfs veritysetup qemu-img fsck.erofs; do
        command -v $tool || return 1
    done
}
lodge_prereq TOOLS 'mmdebstrap, erofs-utils, squashfs-tools, cryptsetup-bin or qemu-utils is missing' tools
lodge_skip_all_unless TOOLS
lodge_prereq OCI 'umoci is missing' command -v umoci

sum() { # IMAGE OUTPUT
    lodge image show "$1" |
        jq -r ".content.outputs.$2.sha256"
}
blob() { echo "$LODGE_STATE_DIR/images/blobs/sha256/$(sum "$1" "$2")"; }

cp "$LODGE_TOP_SRCDIR/test/data/image/tiny.xml" "$LODGE_TOP_SRCDIR/test/data/image/clone.xml" .

test_expect_success 'a plan is printed and nothing is done' '
    lodge image build --dry-run debian-fast >plan &&
    grep -q "linux-image-cloud-amd64" plan && ! test -e "$LODGE_STATE_DIR/images"
'
test_expect_success 'build debian-fast' '
    lodge image build debian-fast &&
    lodge image list --noheader | grep -q "^debian-fast"
'
test_expect_success 'its parts are small: initramfs at most 512 KiB, root 100 MiB' '
    test $(stat -c %s "$(blob debian-fast initramfs)") -le 524288 &&
    test $(stat -c %s "$(blob debian-fast erofs)") -le 104857600
'
test_expect_success 'the kernel is an ELF, not compressed' '
    test "$(head -c 4 "$(blob debian-fast vmlinux)" | od -An -tx1 | tr -d " ")" = 7f454c46
'
test_expect_success QEMU 'it boots to its marker' 'boot debian-fast'
test_expect_success 'a warm build gives the same digest' '
    digest debian-fast >first && lodge image build debian-fast &&
    digest debian-fast >second && test_cmp first second
'
test_expect_success 'so does another directory without any layer, offline' '
    mkdir other && (
        LODGE_STATE_DIR=$PWD/other && export LODGE_STATE_DIR &&
        lodge image build --offline --no-cache debian-fast && digest debian-fast
    ) | tail -n 1 >second && test_cmp first second
'
test_expect_success 'no secret and no identity is in it' '
    lodge image exec debian-fast sh -c "
        test -f /etc/machine-id && test ! -s /etc/machine-id &&
        test ! -e /etc/ssh/ssh_host_ed25519_key && test ! -e /var/lib/systemd/random-seed"
'
test_expect_success 'exec gives the exit status of the command' '
    test_expect_code 7 lodge image exec debian-fast sh -c "exit 7"
'
test_expect_success BUSYBOX 'a root from a directory, behind dm-verity' '
    lodge image build tiny.xml && lodge image build --check tiny.xml
'
test_expect_success BUSYBOX 'files have owner, mode and links as defined' '
    lodge image exec tiny /bin/busybox stat -c "%a %u %g" /etc/motd >got &&
    echo "600 7 8" >want && test_cmp want got &&
    lodge image exec tiny /bin/busybox readlink /etc/link | grep -q "^motd$"
'
test_expect_success QEMU,BUSYBOX 'it boots' 'boot tiny'
test_expect_success QEMU,BUSYBOX 'two clones have different machine ids' '
    lodge image build clone.xml && boot clone --console 2>one && boot clone --console 2>two &&
    cat one two && one=$(grep -ao "id=[0-9a-f]\{32\}" one) && test -n "$one" &&
    ! grep -aq "$one" two && grep -aq "id=[0-9a-f]\{32\}" two
'
test_expect_success QEMU,BUSYBOX 'with one byte changed it refuses' '
    root=$(blob tiny erofs) && cp "$root" whole && chmod u+w "$root" &&
    size=$(stat -c %s whole) &&
    printf "\252" | dd of="$root" bs=1 seek=$((size / 3)) conv=notrunc status=none &&
    test_must_fail boot tiny 2>why && cat why &&
    grep -q "root disk does not match its hash" why &&
    test_must_fail lodge image verify && cp whole "$root" && lodge image verify
'
test_expect_success BUSYBOX 'two builds at once' '
    lodge image build tiny.xml & one=$! ; lodge image build tiny.xml & two=$! ;
    wait $one && wait $two && lodge image verify
'
test_expect_success BUSYBOX 'kill -9 at any moment leaves a clean store' '
    mkdir kill && (
        LODGE_STATE_DIR=$PWD/kill && export LODGE_STATE_DIR &&
        start=$(date +%s%3N) && lodge image build tiny.xml && took=$(($(date +%s%3N) - start)) &&
        for i in $(seq 20); do # spread over the time that a build takes
            setsid lodge image build tiny.xml >log 2>&1 & pid=$! &&
            sleep $(echo "$took $i" | awk "{ print \$1 * \$2 / 21000 }") && kill -9 $pid 2>/dev/null
            wait $pid
            lodge image verify || exit 1
        done
        for i in $(seq 100); do # what was killed may still be dying
            lodge image gc && test -z "$(ls kill/images/work)" && break
            sleep 0.3
        done
        lodge image verify &&
        test -z "$(ls kill/images/work)" && ! grep "$LODGE_STATE_DIR" /proc/mounts &&
        lodge image build tiny.xml && lodge image verify
    )
'
test_expect_success BUSYBOX 'an error names the step, the command and its last words' '
    sed "s,</image>,<run>/bin/busybox ls /nowhere</run></image>," tiny.xml >bad.xml &&
    test_must_fail lodge image build bad.xml 2>why && cat why &&
    test $(wc -l <why) -eq 1 && grep -q "step .run.: .*busybox ls /nowhere. ended with" why &&
    grep -q "No such file" why && lodge image log tiny | grep -q "run failed"
'
test_expect_success BUSYBOX 'a secret is refused' '
    sed "s,</image>,<file path=\"/home/u/.ssh/id_rsa\">x</file></image>," tiny.xml >bad.xml &&
    test_must_fail lodge image build bad.xml 2>why && grep -q "/home/u/.ssh/id_rsa" why
'
test_expect_success BUSYBOX 'a link in the root leads nowhere outside of it' '
    victim=/srv/lodge-victim.$$ && test_when_finished "rm -rf \"$victim\"" &&
    mkdir -p trap/bin "$victim" "trap$victim" && cp /bin/busybox trap/bin/ &&
    ln -s "$victim" trap/etc && echo mine >"$victim/passwd-" &&
    sed "s,\"tiny\",\"trap\"," tiny.xml >trap.xml && lodge image build trap.xml &&
    test "$(ls "$victim")" = passwd- && test "$(cat "$victim/passwd-")" = mine
'
test_expect_success BUSYBOX 'disk full is one line and nothing half-done' '
    mkdir full && mount -t tmpfs -o size=20m full full &&
    test_when_finished "umount \"$PWD/full\"" &&
    (
        LODGE_STATE_DIR=$PWD/full && export LODGE_STATE_DIR &&
        test_must_fail lodge image build tiny.xml 2>why && cat why &&
        test $(wc -l <why) -eq 1 && grep -q "No space left" why &&
        lodge image verify && test -z "$(ls full/images/work)" &&
        test -z "$(lodge image list --noheader)"
    )
'
test_expect_success OCI 'to OCI and back: no file differs' '
    lodge image export debian-fast oci:layout && lodge image import back oci:layout:12 &&
    lodge image exec back test -u /usr/bin/su &&
    { lodge image diff debian-fast back --json || true; } |
        jq -r ".data[] | select(.path) | .path" | grep -v "^/usr/lib/lodge\|^/usr/lib/modules\|^/lib/modules" >differ
    test_must_be_empty differ
'
test_expect_success QEMU,OCI 'what was imported boots' 'boot back'
test_expect_success BUSYBOX 'to qcow2 and back, and as a partition of a disk' '
    lodge image export tiny qcow2:t.qcow2 && lodge image import t2 qcow2:t.qcow2 &&
    lodge image export tiny raw:t.raw && truncate -s 80M disk.raw &&
    dd if=t.raw of=disk.raw bs=512 seek=2048 conv=notrunc status=none &&
    { head -c 446 /dev/zero; printf "\0\0\0\0\203\0\0\0\0\010\0\0\0\0\002\0";
      head -c 48 /dev/zero; printf "\125\252"; } |
        dd of=disk.raw conv=notrunc status=none &&
    lodge image import t3 raw:disk.raw && lodge image import t4 raw:disk.raw --as-is &&
    lodge image exec t3 /bin/busybox cat /etc/motd | grep -q hello &&
    lodge image list --noheader | grep "^t4" | grep -q disk
'
test_expect_success 'a qcow2 that refers to another file is refused' '
    qemu-img create -q -f qcow2 -F raw -b /etc/passwd evil.qcow2 10M &&
    test_must_fail lodge image import evil qcow2:evil.qcow2 2>why &&
    grep -q "refers to another file" why
'
test_expect_success 'sign, and check that' '
    ssh-keygen -q -t ed25519 -N "" -f key && echo "me $(cat key.pub)" >signers &&
    lodge image sign debian-fast --key key &&
    lodge image sign debian-fast --check signers --identity me &&
    test_must_fail lodge image sign debian-fast --check signers --identity you
'
test_expect_success BUSYBOX 'copy to another store and find it there' '
    lodge image copy tiny "$PWD/site" &&
    LODGE_STATE_DIR=$PWD/empty LODGE_IMAGE_PATH=$PWD/site lodge image show tiny >/dev/null
'
test_expect_success BUSYBOX 'a site'"'"'s images are seen through lodged' '
    mkdir -p "$LODGE_RUN_DIR" && { lodged & pid=$!; } && test_when_finished "kill $pid" &&
    for i in $(seq 100); do test -S "$LODGE_RUN_DIR/lodged.sock" && break; sleep 0.1; done &&
    LODGE_STATE_DIR=$PWD/nobodys lodge image list --noheader >listed && cat listed &&
    test $(grep -c "^clone " listed) -eq 1 && test $(lodge image list --noheader | grep -c "^clone ") -eq 1 &&
    LODGE_STATE_DIR=$PWD/nobodys lodge image show clone | jq -e ".content.name == \"clone\""
'
test_expect_success BUSYBOX 'a new version, rollback, rm and gc' '
    sed "s,hello,goodbye," tiny.xml >tiny2.xml && lodge image build tiny2.xml &&
    test_expect_code 1 lodge image diff tiny@1 tiny | grep -q /etc/motd &&
    lodge image rollback tiny | grep -q "tiny@1.* again" &&
    lodge image rm tiny t2 t3 t4 && lodge image gc && lodge image verify
'
test_done
