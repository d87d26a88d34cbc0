#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='a second user tries to get out of a container, and past the check of a share'
# docs/security.md tells of it under "What was tried".
if test "$(id -u)" = 0 && test -z "$LODGE_TEST_OWN_RUN"; then
    LODGE_TEST_OWN_RUN=1 exec unshare -m --propagation private sh "$0" "$@"
fi
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT
lodge_prereq LXC 'libvirt has no LXC driver' \
    sh -c 'command -v libvirtd && test -x /usr/lib/libvirt/libvirt_lxc'
. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"
. "$LODGE_TOP_SRCDIR/test/users.sh"
vm_own_libvirt
lodge_take_away() { vm_own_libvirt_end; }

B=64002
LODGE_AGENT_SOCKET=$LODGE_RUN_DIR/agent.sock
U=$LODGE_TEST_TMP/u$B
# What he may share, what he has besides, and what he cannot reach.
mkdir -m 755 "$U" && mkdir "$U/ok" "$U/ok/there" "$U/else" && ln -s "$U/else" "$U/ok/else" && chown -hR $B:$B "$U"
mkdir -m 700 "$LODGE_TEST_TMP/closed" && mkdir "$LODGE_TEST_TMP/closed/in" && ln -s "$LODGE_TEST_TMP/closed/in" "$U/ok/closed"
for where in "$U/else" "$LODGE_TEST_TMP/closed/in"; do echo secret >"$where/secret"; done
echo "shares = $U/ok" >"$LODGE_CONFIG_DIR/lodge.conf"
chmod 777 .

cat >ask.py <<'PY'
import json, os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(os.environ["LODGE_AGENT_SOCKET"])
f = s.makefile("rb")
f.readline()
profile = json.load(open("profile.json"))["data"][0]["profile"]
profile.update(json.loads(sys.argv[1]))
params = {"name": "n", "profile": profile, "boot": False}
s.sendall(json.dumps({"id": "1", "method": "vm.deploy", "params": params}).encode() + b"\n")
print(f.readline().decode())
PY
# Two names change places, for as long as he lives.
cat >swap.py <<'PY'
import ctypes, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
libc = ctypes.CDLL(None, use_errno=True)
a, b = (p.encode() for p in sys.argv[1:])
parent = os.getppid()
with open("swap.pid", "w") as f:
    f.write(str(os.getpid()))
while os.getppid() == parent:
    for nap in 0.002, 0.006: # a link, the directory
        if libc.renameat2(-100, a, -100, b, 2):
            sys.exit(os.strerror(ctypes.get_errno()))
        time.sleep(nap)
PY
profile() { # TYPE SOURCE
    cat >p.xml <<XML
<?xml version="1.0"?>
<profile><name>p</name><type>$1</type><memory>192M</memory><image>debian-fast</image>
  <shares><share source="$2" target="/mnt/a"/></shares><limits ready="400s"/></profile>
XML
}
begin_swap() { # LINK
    as $B python3 swap.py "$U/ok/there" "$1" 2>swap.err &
    swapper=$!
}
end_swap() {
    # The one who swaps is a child of who was started.
    kill $(cat swap.pid) && wait $swapper
    test ! -s swap.err || { cat swap.err; return 1; }
    if test -L "$U/ok/there"; then as $B mv -T "$U/ok/there" "$U/x" && as $B mv -T "$1" "$U/ok/there" && as $B mv "$U/x" "$1"; fi
}

test_expect_success 'an image, and an agent of root' '
    vm_image && chmod 711 "$LODGE_STATE_DIR" &&
    { "$LODGE_LIBEXEC_DIR/lodge-agent" --stay 3>&- 4>&- 2>agent.log & } &&
    for i in $(seq 100); do test ! -S "$LODGE_AGENT_SOCKET" || break; sleep 0.1; done &&
    lodge profile show debian-fake --json >profile.json && chown $B "$U/ok"
'
test_expect_success LXC 'nothing of his is mounted where a container is root: not over its system, not within another share' '
    for target in /usr/lib/lodge /usr /etc/ //etc /./etc /etc/. /.lodge /lib64 /run/x /root /mnt/../etc; do
        as $B python3 ask.py "{\"type\": \"lxc\", \"image\": \"debian-fast\", \"shares\": [{\"tag\": \"a\", \"source\": \"$U/ok/there\", \"target\": \"$target\"}]}" >said &&
        cat said && grep "only outside\|may not stand\|cannot be mounted" said || return 1
    done &&
    as $B python3 ask.py "{\"type\": \"lxc\", \"image\": \"debian-fast\", \"shares\": [
        {\"tag\": \"a\", \"source\": \"$U/ok/there\", \"target\": \"/mnt/a\"}, {\"tag\": \"b\", \"source\": \"$U/ok/there\", \"target\": \"/mnt/a/b\"}]}" >said &&
    cat said && grep "no share within another" said
'
test_expect_success LXC 'in a container nobody becomes root by a file of root' '
    profile lxc "$U/ok/there" && cp /usr/bin/id "$U/ok/there/suid" && chmod 4755 "$U/ok/there/suid" &&
    as $B lodge vm start "$PWD/p.xml" --name c && test "$(as $B lodge vm exec c /mnt/a/suid -u)" = $B &&
    as $B lodge vm exec c cat /proc/self/mounts >mounts && cat mounts &&
    grep "^overlay / overlay [^ ]*nosuid" mounts && grep " /mnt/a [^ ]* [^ ]*nosuid,nodev" mounts &&
    # Who could speak to what runs as root in there would be root.
    test_must_fail as $B lodge vm exec c ls /.lodge && test_must_fail as $B lodge vm exec c sh -c "echo >/.lodge/guest.sock" &&
    test_must_fail as $B lodge vm exec --user 0 c id && test_must_fail as $B lodge vm exec c sh -c "kill -0 1" &&
    as $B lodge vm exec c touch /mnt/a/mine && test -e "$U/ok/there/mine" &&
    as $B lodge vm destroy -f c && rm "$U/ok/there/suid" && test -e "$U/ok/there/mine"
'
test_expect_success LXC 'a directory that becomes a link after the check: the container has what was checked, or nothing' '
    profile lxc "$U/ok/there" && begin_swap "$U/ok/closed" && started=0 &&
    for i in $(seq 60); do
        test $started -lt 5 || break
        if as $B lodge vm start "$PWD/p.xml" --name c 2>err; then
            started=$((started + 1))
            as $B lodge vm exec c ls /mnt/a >seen && ! grep secret seen || { end_swap "$U/ok/closed"; return 1; }
        else
            cat err && grep "share .*\(Permission denied\|Not a directory\|allows only\)" err || return 1
        fi
        as $B lodge vm destroy -f c
    done
    end_swap "$U/ok/closed" && echo "started $started of $i" && test $started -gt 0
'
test_expect_success QEMU 'the same with virtiofsd, and a directory beyond what the site allows' '
    profile qemu "$U/ok/there" && begin_swap "$U/ok/else" && served=0 &&
    for i in $(seq 40); do
        test $served -lt 5 || break
        as $B timeout 400 lodge vm start "$PWD/p.xml" --name q --no-wait 2>err || cat err
        for k in $(seq 100); do
            state=$(lodge vm list --noheader --raw -o name,state | awk "\$1 == \"q\" { print \$2 }")
            test "$state" != staging || { sleep 0.1; continue; }
            break
        done
        id=$(lodge vm list --noheader --raw -o name,id | awk "\$1 == \"q\" { print \$2 }")
        pid=$(cat "$LODGE_RUN_DIR/vms/$id/fs0.pid" 2>/dev/null) || :
        # It has begun when its root is not that of the host any more.
        for k in $(seq 20); do
            test -e "/proc/$pid/root" && test "$(stat -Lc %d:%i "/proc/$pid/root/")" = "$(stat -c %d:%i /)" && sleep 0.1 || break
        done
        if test -n "$pid" && test -d "/proc/$pid/root/"; then
            served=$((served + 1)) && ls "/proc/$pid/root/" >seen && cat seen
            ! grep secret seen || { end_swap "$U/ok/else"; return 1; }
        fi
        as $B lodge vm destroy -f q
    done
    end_swap "$U/ok/else" && echo "served $served of $i" && test $served -gt 0
'
test_expect_success QEMU 'no word about files that he cannot see, as an image or as a disk' '
    sed "s,<image>.*</image>,<image>$LODGE_TEST_TMP/closed/in/secret</image>,; s,<shares>.*</shares>,," p.xml >there.xml &&
    sed "s,in/secret,in/nothing," there.xml >nowhere.xml &&
    for p in there nowhere; do
        test_must_fail as $B lodge vm start "$PWD/$p.xml" --name i 2>$p.err && cat $p.err && grep "Permission denied" $p.err || return 1
        as $B lodge vm destroy -f i
    done
'
test_done
