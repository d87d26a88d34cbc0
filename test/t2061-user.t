#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='an ordinary user, without root: machines of type qemu, shares, the network for going out'
# libvirt of our own, so that nothing of this host is touched.
if test "$(id -u)" = 0 && test -z "$LODGE_TEST_OWN_RUN"; then
    LODGE_TEST_OWN_RUN=1 exec unshare -m --propagation private sh "$0" "$@"
fi
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT # to become an ordinary user
lodge_skip_all_unless QEMU
. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"
vm_own_libvirt
lodge_take_away() { vm_own_libvirt_end; }

user=nobody uid=$(id -u nobody) gid=$(id -g nobody)
home=$LODGE_TEST_TMP/u
mkdir -m 700 "$home" && mkdir "$home/share" "$home/ro" "$home/closed" "$LODGE_TEST_TMP/bin" "$LODGE_TEST_TMP/site"
echo read-me >"$home/ro/file"
chmod 711 "$home" && chown -R $uid:$gid "$home" && chown 0:0 "$home/closed" && chmod 700 "$home/closed"
# Where nobody can reach them.
cp "$LODGE_TOP_BUILDDIR"/lodge "$LODGE_TOP_BUILDDIR"/lodge-* "$LODGE_TEST_TMP/bin/"
as_user() { # NAME=VALUE... COMMAND...
    setpriv --reuid $uid --regid $gid --clear-groups env -u XDG_RUNTIME_DIR HOME="$home" USER=$user \
        LODGE_STATE_DIR="$home/state" LODGE_RUN_DIR="$home/run" LODGE_CACHE_DIR="$home/cache" \
        LODGE_CONFIG_DIR="$home/config" LODGE_LIBEXEC_DIR="$LODGE_TEST_TMP/bin" \
        LODGE_IMAGE_PATH="$LODGE_STATE_DIR/images" PATH="$LODGE_TEST_TMP/bin:$PATH" "$@"
}
profile() { # NAME RO-SOURCE
    cat >"$home/$1.xml" <<EOF
<?xml version="1.0"?>
<profile><name>$1</name><type>qemu</type><memory>192M</memory><image>debian-fast</image>
  <nics><nic type="user"/></nics>
  <shares>
    <share source="$home/share" target="/mnt/rw"/>
    <share source="$2" target="/mnt/ro" readonly="yes"/>
  </shares>
  <limits ready="400s"/>
</profile>
EOF
    chmod 644 "$home/$1.xml"
}
inside='id -u; cat /mnt/ro/file; echo new >/mnt/rw/new-$1; echo x >/mnt/ro/no; exec 3<>/dev/tcp/10.0.2.2/$2 && cat <&3; exit 3'

test_expect_success 'an image; somebody to talk to' '
    vm_image && chmod 711 "$LODGE_STATE_DIR" &&
    cat >listen.py <<-\EOF &&
	import socket
	s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(9)
	open("port.new", "w").write(str(s.getsockname()[1])); import os; os.rename("port.new", "port")
	while True:
	    c, a = s.accept(); c.sendall(b"hello\n"); c.close()
	EOF
    { python3 listen.py & } && for i in $(seq 50); do test -s port && break; sleep 0.1; done && test -s port
'
test_expect_success 'type auto, no configuration: qemu, the status is the command'"'"'s' '
    test_expect_code 3 as_user timeout 500 lodge run -T debian-fast -- sh -c "uname -r; id -un; cat /etc/hostname; exit 3" >out &&
    grep -q cloud-amd64 out && grep -qx nobody out && grep -qx debian-fast out
'
test_expect_success 'own agent: shares with the rights of the user, read-only honoured, a way out' '
    profile own "$home/ro" &&
    test_expect_code 3 as_user timeout 500 lodge run -T "$home/own.xml" -- bash -c "$inside" sh own $(cat port) >out 2>said </dev/null &&
    printf "%s\n" $uid read-me hello >want && test_cmp want out && grep -i "read-only" said &&
    test "$(cat "$home/share/new-own")" = new && test "$(stat -c %u "$home/share/new-own")" = $uid && test ! -e "$home/ro/no"
'
test_expect_success 'a directory they may not open is refused' '
    profile bad "$home/closed" && test_must_fail as_user lodge run -T "$home/bad.xml" -- true 2>said </dev/null &&
    grep "closed.*Permission denied" said
'
test_expect_success 'root'"'"'s agent, their machine: the same shares, the same refusals' '
    lodge vm start --dry-run debian-fast && { "$LODGE_LIBEXEC_DIR/lodge-agent" --stay 3>&- 4>&- 2>agent.log & } &&
    for i in $(seq 50); do test -S "$LODGE_RUN_DIR/agent.sock" && break; sleep 0.1; done && chmod 755 "$LODGE_RUN_DIR" &&
    test_expect_code 3 as_user env LODGE_AGENT_SOCKET="$LODGE_RUN_DIR/agent.sock" timeout 500 \
        lodge run -T "$home/own.xml" -- bash -c "$inside" sh roots $(cat port) >out 2>said </dev/null &&
    test_cmp want out && grep -i "read-only" said &&
    test "$(stat -c %u "$home/share/new-roots")" = $uid && test ! -e "$home/ro/no" &&
    test_must_fail as_user env LODGE_AGENT_SOCKET="$LODGE_RUN_DIR/agent.sock" lodge run -T "$home/bad.xml" -- true 2>said </dev/null &&
    grep "closed.*Permission denied" said
'
test_expect_success 'a path that the site does not allow is refused' '
    echo "shares = $LODGE_TEST_TMP/site:/srv" >"$LODGE_CONFIG_DIR/lodge.conf" &&
    test_must_fail as_user env LODGE_AGENT_SOCKET="$LODGE_RUN_DIR/agent.sock" lodge run -T "$home/own.xml" -- true 2>said </dev/null &&
    grep "this site allows only" said
'
test_expect_success 'nothing is left' '
    lodge vm destroy -f own bad 2>/dev/null; as_user lodge vm destroy -f own bad 2>/dev/null
    ! ls "$LODGE_RUN_DIR"/vms/* "$home"/run/vms/* 2>/dev/null && ! pgrep -u $uid -f "$home/run" &&
    ! pgrep -u $uid -f "$LODGE_RUN_DIR/vms"
'
test_done
