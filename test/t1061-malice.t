#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='a guest that talks nonsense, floods, or is silent, hurts neither agent nor others'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"

# In the guest's place: a program that begins like the real one and goes bad.
mkdir libexec && ln -s "$LODGE_TOP_BUILDDIR"/lodge-* libexec/ && rm libexec/lodge-guest
cat >libexec/lodge-guest <<EOF
#!/usr/bin/env python3
import os, random, socket, struct, sys, threading
how = open("$PWD/how").read().strip()
if how == "good":
    os.execv("$LODGE_TOP_BUILDDIR/lodge-guest", ["lodge-guest"] + sys.argv[1:])
real = how == "flips"  # the real one behind a line that changes bytes
path = sys.argv[sys.argv.index("--listen") + 1]
s = socket.socket(socket.AF_UNIX); s.bind(path); s.listen(8)
rnd = random.Random(7)
def junk():
    if how == "random":
        return rnd.randbytes(65536)
    if how == "zeros":
        return bytes(65536)
    # frames that look right: magic, a tag, streams nobody opened, lying lengths
    return b"".join(b"LDG1" + struct.pack("<IIIBBBBI", rnd.randrange(4), rnd.randrange(9),
                    rnd.choice((0, 5, 32768, 0xffffffff)), rnd.randrange(9), rnd.randrange(2),
                    rnd.randrange(4), 0, rnd.getrandbits(32)) + rnd.randbytes(rnd.randrange(64))
                    for _ in range(500))
def serve(c):
    try:
        if real:
            return flip(c)
        while True:
            if how == "silent":
                if not c.recv(65536): return
            elif how == "hangup":
                c.sendall(junk()); return c.close()
            else:
                c.sendall(junk())
    except OSError:
        pass
def flip(c):
    import subprocess
    inner = path + ".real"
    if not os.path.exists(inner):
        subprocess.Popen(["$LODGE_TOP_BUILDDIR/lodge-guest", "--no-identity", "--listen", inner])
    import time
    while not os.path.exists(inner): time.sleep(0.05)
    g = socket.socket(socket.AF_UNIX); g.connect(inner)
    def up():
        while True:
            d = c.recv(65536)
            if not d: return g.close()
            g.sendall(d)
    threading.Thread(target=up, daemon=True).start()
    while True:
        d = bytearray(g.recv(65536))
        if not d: return c.close()
        if rnd.random() < 0.3: d[rnd.randrange(len(d))] ^= 1 << rnd.randrange(8)
        c.sendall(bytes(d))
while True:
    c, _ = s.accept()
    threading.Thread(target=serve, args=(c,), daemon=True).start()
EOF
chmod +x libexec/lodge-guest
LODGE_LIBEXEC_DIR=$PWD/libexec
profile() {
    printf '<?xml version="1.0"?>\n<profile><name>%s</name><type>fake</type><image>x</image><limits ready="%s"/></profile>\n' "$1" "$2" >"$1.xml"
}
# AddressSanitizer keeps what is freed.
grown() { test -z "${LODGE_TEST_SANITIZERS:-}" && test $(rss) -ge $(($(cat before) + $1)); }
rss() { awk '/VmRSS/ { print $2 }' /proc/$(cat "$LODGE_STATE_DIR/agent.lock")/status; }
quick() { # the agent answers others; a loaded machine may take seconds
    timeout 10 lodge vm list >/dev/null && test "$(timeout 10 lodge vm exec good echo hi)" = hi
}

test_expect_success 'a good machine' '
    profile good 20s && echo good >how && lodge vm start good.xml && rss >before
'
for bad in random zeros frames hangup silent; do
    test_expect_success "$bad: never ready, told so, and nobody else notices" '
        profile bad 3s && echo '$bad' >how && lodge vm start --no-wait bad.xml &&
        for i in 1 2 3 4 5; do quick || return 1; done &&
        test_must_fail lodge vm wait bad 2>said && grep -q "not ready" said &&
        lodge vm destroy -f bad && ! grown 6000
    '
done
test_expect_success 'flipped bits: commands end, well or not, and the agent lives' '
    profile bad 20s && echo flips >how &&
    { timeout 30 lodge vm start bad.xml || :; } &&
    for i in 1 2 3; do timeout 5 lodge vm exec bad seq 10000 >/dev/null 2>&1; quick || return 1; done &&
    lodge vm destroy -f bad && ! grown 8000
'
test_expect_success 'the good one is as before' '
    quick && lodge vm destroy -f good && test -z "$(ls "$LODGE_RUN_DIR/vms")"
'
test_done
