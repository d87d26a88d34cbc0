#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='a second user of the machine tries what is not meant for him'
# docs/security.md tells of each of these under "What was tried".
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT
. "$LODGE_TOP_SRCDIR/test/agent.sh"
. "$LODGE_TOP_SRCDIR/test/users.sh"

# Of this run alone: a name in /tmp follows from the number.
A=$((70000 + $$ % 10000 * 2)) B=$((70001 + $$ % 10000 * 2))
cat >attack.py <<'PY'
import json, os, resource, socket, sys, time
PATH = os.environ["LODGE_AGENT_SOCKET"]


def connect():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect(PATH)
    f = s.makefile("rb")
    return s, f, json.loads(f.readline())


def send(line, fds=()):
    """What comes back to one line: the error's text, "closed", or the result."""
    s, f, _ = connect()
    try:
        socket.send_fds(s, [line[:1]], fds) if fds else s.sendall(line[:1])
        s.sendall(line[1:])
        while True:
            said = f.readline()
            if not said:
                return "closed"
            m = json.loads(said)
            if "progress" not in m:
                return m["error"]["text"] if "error" in m else "RESULT " + json.dumps(m["result"])
    except (BrokenPipeError, ConnectionResetError):
        return "closed"


def ask(method, **params):
    return send(json.dumps({"id": "1", "method": method, "params": params}).encode() + b"\n")


def want(what, said, word):
    print("%s: %s" % (what, said[:200]))
    if word not in said:
        sys.exit("wanted: " + word)


def others(victim, profile):
    """Another user's machine is as if it were not there: by id, and by its name."""
    for vm in (victim, "m"):
        for method in ("status pause resume stop kill destroy exec console load stats wait hold "
                       "checkpoint boot").split():
            more = {"argv": ["id"]} if method == "exec" else {}
            want("vm.%s %s" % (method, vm), ask("vm." + method, vm=vm, **more), "no VM '%s' here" % vm)
        for op in ("put", "get"):
            want("vm.cp " + op, ask("vm.cp", vm=vm, op=op, path="/etc/passwd"), "no VM '%s' here" % vm)
    want("vm.list", ask("vm.list"), '"vms": []')
    for key in "vms", "reserved", "room":
        if key in json.loads(ask("agent.info")[7:]):
            sys.exit("agent.info tells him " + key)


def rights(victim, profile):
    for method, params in (("session.as", {"uid": 0, "gid": 0}), ("job.begin", {"job": "1"}),
                           ("job.end", {"job": "1"}), ("ticket.claims", {}), ("image.part", {})):
        want(method, ask(method, **params), "only ")
    for key, value in (("uid", 64001), ("uid", 0), ("gid", 0), ("cgroups", ["/sys/fs/cgroup"]), ("job", "1"),
                       ("memory_bytes", 1)):
        want("vm.deploy with " + key, ask("vm.deploy", profile=profile, name="q", boot=False, **{key: value}),
             "only root may")
    for kind in "kvm", "hpc":
        for device in {"address": "0000:00:00.0"}, {"class": "nvme"}:
            want("%s with %s" % (kind, device),
                 ask("vm.deploy", profile=dict(profile, type=kind, devices=[device]), name="q", boot=False),
                 "in jobs only")


def names(victim, profile):
    for name in "../x", "..", "/etc/x", "a/b", "", "x" * 300, "a\nb", "a b", "-f", "é":
        want("name %.10r" % name, ask("vm.deploy", profile=profile, name=name, boot=False), "cannot name a VM")
    for key, value, word in (
            ("image", "../../etc/passwd", "image:"), ("name", "../p", "name:"),
            ("shares", [{"tag": "../t", "source": "/tmp", "target": "/mnt"}], "tag:"),
            ("disks", [{"id": "../d", "path": "/etc/shadow"}], "id:")):
        want(key, ask("vm.deploy", profile=dict(profile, **{key: value}), name="n", boot=False), word)
    # What lodge would have told him, had he asked it.
    for key, value, word in (
            ("disks", [{"id": "lodge-scratch", "path": "/etc/shadow"}], "is Lodge's own"),
            ("disks", [{"id": "d"}], "neither a path nor a size"),
            ("init", "/../bin/sh", "may not stand"), ("cpu_pin", [0, 0], "pin")):
        want(key, ask("vm.deploy", profile=dict(profile, **{key: value}), name="n", boot=False), word)


def disk(victim, profile):
    """A disk of his whose path looks like one that the agent made: it is nobody's to make anew."""
    mine = os.environ["LODGE_STATE_DIR"] + "/mine"
    with open(mine, "w") as f:
        f.write("his own")
    path = sys.argv[3] + "/scratch" + "/.." * 20 + mine
    print(path)
    for _ in range(2):
        said = ask("vm.deploy", profile=dict(profile, disks=[{"id": "d", "path": path}]), name="d", wait=True)
        print(said[:300])
        with open(mine) as f:
            want("his file", f.read(), "his own")
        ask("vm.destroy", vm="d")


def parts(victim, profile):
    """Profiles without what every program that reads XML puts into them."""
    for kind in "fake", "hpc", "qemu", "lxc":
        for key, one in (("disks", {"size_bytes": 1 << 20}), ("disks", {"path": "/etc/passwd", "readonly": True}),
                         ("disks", {}), ("nics", {}), ("devices", {}), ("shares", {}), ("shares", {"tag": "t"}),
                         ("shares", {"source": "/tmp", "target": "/mnt"})):
            said = ask("vm.deploy", profile=dict(profile, type=kind, **{key: [one]}), name="h", fresh=True)
            want("%s %s" % (kind, one), ask("vm.list"), "RESULT")
            if key == "shares" and "source" not in one or one == {} and key == "disks":
                want("", said, "profile: %s" % key)
            if said.startswith("RESULT"):
                want("destroy", ask("vm.destroy", vm="h", force=True), "RESULT")


def lines(victim, profile):
    want("2 MiB", send(b'{"id":"1","method":"ping","params":{"x":"' + b"a" * (2 << 20) + b'"}}\n'), "closed")
    want("deep", send(b'{"id":"1","method":"ping","params":' + b"[" * 100000 + b"]" * 100000 + b"}\n"), "depth")
    want("twice", send(b'{"id":"1","id":"2","method":"ping"}\n'), "duplicate")
    want("NUL", send(b'{"id":"1\\u0000","method":"ping"}\n'), "NUL")
    want("number", send(b'{"id":"1","method":"ping","params":{"a":1e999999}}\n'), "overflow")
    want("no JSON", send(bytes(range(128, 255)) + b"\n"), "not a JSON")
    null = os.open("/dev/null", os.O_RDONLY)
    for _ in range(20):
        want("200 descriptors", send(b'{"id":"1","method":"ping"}\n', [null] * 200), "RESULT")


def floods(victim, profile):
    """More at once than anybody needs: what makes processes of root is counted."""
    s, f, _ = connect()
    for i in range(200):
        s.sendall(json.dumps({"id": str(i), "method": "node.check"}).encode() + b"\n")
    said = [json.loads(f.readline()) for _ in range(200)]
    want("node.check", str([m["error"]["text"] for m in said if "error" in m][:1]), "answers already; wait for some")
    want("node.check", str(any("result" in m for m in said)), "True")
    for i in range(260):
        said = ask("vm.deploy", profile=profile, name="f%d" % i, boot=False)
    want("vm.deploy", said, "has 256 machines here already")
    for i in range(256):
        want("vm.destroy", ask("vm.destroy", vm="f%d" % i), "RESULT")


def crowd(victim, profile):
    """As many connections as come, each with the beginning of a line, and one that does not read."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    kept, refused = [], ""
    for _ in range(min(1500, hard - 50)):
        s, f, hello = connect()
        kept += [s, f]
        if "error" in hello:
            refused = hello["error"]["text"]
        else:
            s.sendall(b'{"id":"1","method":"' + b"x" * 100000)
    want("refused", refused, "has 256 connections already")
    print("crowded", flush=True)
    with open("pid", "w") as f:
        f.write(str(os.getpid()))
    os.rename("pid", "crowded")
    time.sleep(300)


with open("profile.json") as f:
    globals()[sys.argv[1]](sys.argv[2], json.load(f)["data"][0]["profile"])
PY
attack() { # WHAT
    as $B python3 attack.py "$1" "$victim" "$LODGE_STATE_DIR"
}

agent
for u in $A $B; do mkdir -m 700 "$LODGE_TEST_TMP/u$u" && chown $u:$u "$LODGE_TEST_TMP/u$u"; done
chmod 777 .
descriptors() { ls "/proc/$agent_pid/fd" | wc -l; }

test_expect_success 'his victim has a machine, with a file of its own' '
    lodge profile show debian-fake --json >profile.json && as $A lodge vm start debian-fake --name m &&
    victim=$(lodge vm list --noheader --raw -o id) && test -n "$victim"
'
test_expect_success 'of all that the agent keeps he can open its socket' '
    as $B find "$LODGE_STATE_DIR" "$LODGE_RUN_DIR" ! -type d \( -readable -o -writable \) 2>/dev/null >readable
    cat readable && echo "$LODGE_AGENT_SOCKET" >socket && test_cmp socket readable &&
    test -z "$(as $B find "$LODGE_STATE_DIR" "$LODGE_RUN_DIR" -type d -writable 2>/dev/null)"
'
for what in others rights names parts lines floods; do
    test_expect_success "the socket: $what" "attack $what"
done
# The directory is there as soon as anybody had a disk.
test_expect_success 'a disk of his own below the directory of made ones' '
    mkdir -p "$LODGE_STATE_DIR/scratch" && chmod 711 "$LODGE_STATE_DIR" "$LODGE_STATE_DIR/scratch" && attack disk
'
test_expect_success 'descriptors that he sent are not kept' '
    for i in $(seq 50); do test $(descriptors) -gt 60 || break; sleep 0.1; done && descriptors &&
    test $(descriptors) -le 60
'
test_expect_success 'he comes in crowds: he is turned away, others are served' '
    rm -f crowded && { attack crowd >crowd.out 2>&1 & } &&
    for i in $(seq 600); do test ! -e crowded || break; sleep 0.1; done && cat crowd.out && test -e crowded &&
    test "$(as $A timeout 60 lodge vm exec m echo served)" = served && timeout 60 lodge vm list &&
    test_expect_code 75 as $B lodge vm list 2>err && cat err && grep "close some" err &&
    test $(awk "/^VmRSS/ { print \$2 }" /proc/$agent_pid/status) -lt 400000 && test $(wc -c <agent.log) -lt 20000
'
test_expect_success 'when he is gone nothing of him is left' '
    kill $(cat crowded) && for i in $(seq 100); do test $(descriptors) -gt 60 || break; sleep 0.1; done &&
    test $(descriptors) -le 60 && as $B lodge vm list
'
test_expect_success 'a checkpoint does not go where he could not write himself' '
    as $B lodge vm start debian-fake --name b &&
    mkdir -m 777 open && as $A mkdir -m 755 open/theirs && as $B ln -s "$PWD/open/theirs" open/link &&
    for to in /etc/lodge-checkpoint "$PWD/open/theirs/c" "$PWD/open/link/c" "$LODGE_STATE_DIR/c"; do
        test_must_fail as $B lodge vm checkpoint b --to "$to" 2>err && cat err && test ! -e "$to" || return 1
    done
'
tmp_dir=/tmp/lodge-$A
test -e $tmp_dir || test_set_prereq FREE
lodge_reason_FREE="$tmp_dir is there already"
test_expect_success FREE 'a run directory that he made in /tmp for somebody else is not believed' '
    test_when_finished "rm -rf $tmp_dir" && as $B mkdir -m 755 $tmp_dir &&
    as $B python3 -c "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1])" $tmp_dir/agent.sock &&
    for run in "vm list" "run debian-fake -- true" "profile list"; do
        test_must_fail setpriv --reuid $A --regid $A --clear-groups env -u LODGE_AGENT_SOCKET -u LODGE_RUN_DIR -u XDG_RUNTIME_DIR \
            LODGE_STATE_DIR="$LODGE_TEST_TMP/u$A" HOME=/nonexistent lodge $run 2>err &&
        cat err && grep "was made by uid $B: nothing in it is believed" err || return 1
    done
'
test_expect_success FREE 'nor is a link' '
    test_when_finished "rm -f $tmp_dir" && as $B ln -s "$LODGE_TEST_TMP/u$A" $tmp_dir &&
    test_must_fail setpriv --reuid $A --regid $A --clear-groups env -u LODGE_AGENT_SOCKET -u LODGE_RUN_DIR \
        LODGE_STATE_DIR="$LODGE_TEST_TMP/u$A" HOME=/nonexistent lodge vm list 2>err && grep "made by uid $B" err
'
test_expect_success 'the victim noticed nothing' '
    test "$(as $A lodge vm exec m id -u)" = $A && as $A lodge vm destroy -f m && as $B lodge vm destroy -f b
'
test_done
