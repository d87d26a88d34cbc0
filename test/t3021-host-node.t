#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='host-node boots by kernel, initramfs and squashfs, passes node check, enrols by itself'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT LAB
lodge_prereq SSHD 'openssh-server is not installed' test -x /usr/sbin/sshd
lodge_skip_all_unless SSHD

keep=${LODGE_TEST_IMAGE_CACHE:-$lodge_home/.cache/lodge/test-images}
mkdir -p "$keep/debs" "$LODGE_CACHE_DIR/images" "$LODGE_STATE_DIR" "$LODGE_RUN_DIR"
ln -s "$keep/debs" "$LODGE_CACHE_DIR/images/debs"
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
wait_for() { # SECONDS COMMAND...
    wait_left=$1
    shift
    until "$@"; do
        wait_left=$((wait_left - 1))
        test $wait_left -gt 0 || return 1
        sleep 1
    done
}
blob() { # OUTPUT
    echo "$LODGE_STATE_DIR/images/blobs/sha256/$(jq -r ".content.outputs.$1.sha256" shown)"
}
port=$(free_port) node=$(free_port)

test_expect_success 'a site: keys, lodged, an SSH server whose enrolment key may only enrol' '
    lodge site init >&3 &&
    ssh-keygen -q -t ed25519 -N "" -f enrol_key && ssh-keygen -q -t ed25519 -N "" -f host &&
    cat >enrol <<-EOF && chmod 755 enrol && mkdir -p /run/sshd &&
	#!/bin/sh
	export PATH="$PATH" LODGE_STATE_DIR="$LODGE_STATE_DIR" LODGE_RUN_DIR="$LODGE_RUN_DIR"
	export LODGE_CONFIG_DIR="$LODGE_CONFIG_DIR" LODGE_DATA_DIR="$LODGE_DATA_DIR"
	exec lodge node enrol
	EOF
    echo "restrict,command=\"\\\"$PWD/enrol\\\"\" $(cat enrol_key.pub)" >keys &&
    cat >sshd_config <<-EOF &&
	ListenAddress 127.0.0.1
	Port $port
	HostKey "$PWD/host"
	AuthorizedKeysFile "$PWD/keys"
	StrictModes no
	UsePAM no
	PermitRootLogin prohibit-password
	PidFile none
	EOF
    { /usr/sbin/sshd -D -e -f "$PWD/sshd_config" 2>sshd.log & echo $! >sshd.pid; } &&
    { lodged >lodged.log 2>&1 & echo $! >lodged.pid; } &&
    wait_for 30 test -S "$LODGE_RUN_DIR/lodged.sock"
'
test_expect_success 'its image: host-node with the enrolment key' '
    {
        grep -v "^</image>" "$LODGE_TOP_SRCDIR/images/host-node.xml" &&
            cat <<-EOF
	<file path="/etc/lodge/enrol_key" mode="0600" source="enrol_key"/>
	<file path="/etc/lodge/controller_known_hosts">
	[10.0.2.2]:$port $(cut -d " " -f 1-2 host.pub)
	</file></image>
	EOF
    } >node.xml &&
    lodge image build node.xml >&3 && lodge image show host-node >shown
'
test_expect_success 'the node boots' '
    { setpriv --pdeathsig KILL qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot -M q35 \
        -accel tcg,thread=multi -smp 2 -m 2560 -cpu EPYC-Rome,+svm,+npt,+pdpe1gb \
        -kernel "$(blob vmlinux)" -initrd "$(blob initramfs)" \
        -append "$(jq -r .content.append shown) tsc=reliable no_timer_check lodge.controller=10.0.2.2:$port lodge.node=n1 lodge.address=127.0.0.1:$node" \
        -drive "if=none,id=root,format=raw,readonly=on,file=$(blob squashfs)" \
        -device virtio-blk-pci,drive=root,serial=lodge-root -device virtio-rng-pci \
        -netdev "user,id=net,hostfwd=tcp:127.0.0.1:$node-:22" -device virtio-net-pci,netdev=net \
        -serial "file:console" >qemu.log 2>&1 & echo $! >qemu.pid; } &&
    wait_for 600 sh -c "grep -aq \"lodge-node: ready\" console || ! kill -0 $(cat qemu.pid)" &&
        grep -aq "lodge-node: ready" console
    status=$?; cat console qemu.log >&3; test $status = 0
'
test_expect_success 'it passes lodge node check' '
    grep -a "ok.* kvm  *real" console && grep -a "ok.* nested-paging  *NPT" console &&
    ! grep -a "found something missing" console && ! grep -a "no lodge-guest" console
'
test_expect_success 'its agent runs' 'grep -aq "lodge-agent is active" console'
test_expect_success 'it enrols, and lodged reaches its agent' '
    wait_for 300 grep -aq "lodge-node: enrolled as n1" console &&
    wait_for 300 sh -c "lodge node list --json | jq -e \".data[] | select(.name == \\\"n1\\\" and .link == \\\"up\\\")\"" >&3
    status=$?; lodge node list >&3; cat sshd.log lodged.log >&3; test $status = 0
'
for pid in qemu lodged sshd; do
    test -s $pid.pid && kill $(cat $pid.pid)
done
test_done
