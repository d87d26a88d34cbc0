#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A submit host reaches lodged over TCP: munge tells who calls, a private munged stands for the
# site's. What is not what it should be is refused, each in its own words.
test_description='submit hosts: lodged over TCP by munge credentials'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_prereq MUNGE 'munged is not installed' command -v munged
lodge_skip_all_unless ROOT MUNGE

start_munged() { # NAME: a munged of its own with its own key
    mkdir -p "$LODGE_TEST_TMP/$1" && chmod 755 "$LODGE_TEST_TMP/$1" &&
    head -c 1024 /dev/urandom >"$LODGE_TEST_TMP/$1/key" && chmod 600 "$LODGE_TEST_TMP/$1/key" &&
    munged --foreground --force --num-threads=2 --socket="$LODGE_TEST_TMP/$1/socket" \
        --key-file="$LODGE_TEST_TMP/$1/key" --pid-file="$LODGE_TEST_TMP/$1/pid" \
        --log-file="$LODGE_TEST_TMP/$1/log" --seed-file="$LODGE_TEST_TMP/$1/seed" 2>/dev/null &
    until_true 100 test -S "$LODGE_TEST_TMP/$1/socket"
}
free_port() {
    python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'
}
far() { # COMMAND...: as on a submit host, which has nothing but the address
    env LODGE_STATE_DIR="$LODGE_TEST_TMP/far/state" LODGE_RUN_DIR="$LODGE_TEST_TMP/far/run" \
        LODGE_CONFIG_DIR="$LODGE_TEST_TMP/far/config" "$@"
}
nobody() {
    far setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}
LODGE_MUNGE_SOCKET=$LODGE_TEST_TMP/munge/socket
export LODGE_MUNGE_SOCKET
port=$(free_port)

test_expect_success 'lodged serves submit hosts where lodge.conf says so' '
    start_munged munge && mkdir -p far/config "$LODGE_TEST_TMP/far/config" &&
    echo "listen = 127.0.0.1:$port" >>"$LODGE_CONFIG_DIR/lodge.conf" &&
    echo "controller = 127.0.0.1:$port" >"$LODGE_TEST_TMP/far/config/lodge.conf" &&
    chmod -R a+rX "$LODGE_TEST_TMP/far" &&
    { lodged 2>"$LODGE_TEST_TMP/lodged.log" & lodged=$!; } &&
    until_true 100 far lodge profile list
'

cat >f.xml <<'XML'
<profile><name>f</name><type>fake</type><image>none</image><memory>64M</memory></profile>
XML

test_expect_success 'lodge works there as on the head node, without a store of its own' '
    far lodge profile add f.xml && lodge profile list -o name --noheader | grep "^f *$" &&
    far lodge profile show f >/dev/null && far lodge node list &&
    far lodge ticket issue "{\"profile\": \"f\"}" >ticket && grep "lodge1\." ticket &&
    test ! -e "$LODGE_TEST_TMP/far/state/lodge.db"
'

test_expect_success 'who calls is whom munge names' '
    nobody lodge profile list >/dev/null &&
    test_must_fail nobody lodge node drain x --reason y 2>err && grep "only root" err &&
    nobody lodge ticket issue "{\"profile\": \"f\"}" >ticket &&
    python3 - ticket <<-\EOF
	import base64, json, sys
	part = json.load(open(sys.argv[1]))["ticket"].split(".")[1]
	assert json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["uid"] == 65534
	EOF
'

test_expect_success 'machines of nodes are reached through it, streams too' '
    { LODGE_STATE_DIR=$LODGE_TEST_TMP/n/s LODGE_RUN_DIR=$LODGE_TEST_TMP/n/r \
        lodge-agent --stay 2>"$LODGE_TEST_TMP/agent.log" & } &&
    far lodge node add n1 --transport "$LODGE_LIBEXEC_DIR/lodge-join $LODGE_TEST_TMP/n/r/agent.sock" &&
    until_true 100 sh -c "lodge node list -o link --noheader | grep up" &&
    far lodge vm start f --node n1 --name m &&
    head -c 3000000 /dev/urandom >sent &&
    far lodge vm exec --node n1 m -- cat <sent >back && cmp sent back &&
    far lodge vm destroy --node n1 m
'

# talk: a client of our own. Frames are munge credentials; see src/transport/gate.c.
cat >talk.py <<'EOF'
import ctypes, os, socket, subprocess, sys
port, what = int(sys.argv[1]), sys.argv[2]
def cred(data, *more, sock=None):
    return subprocess.run(["munge", "--socket", sock or os.environ["LODGE_MUNGE_SOCKET"],
        "--no-input" if not data else "--string", *([data] if data else []), *more],
        capture_output=True, text=True, check=True).stdout.strip()
def connect():
    s = socket.create_connection(("127.0.0.1", port)); f = s.makefile("rw")
    return f, f.readline().split()[2]
f, nonce = connect()
def piece(n, seq, text):
    return "lodge-gate 1 %s c %d\n%s" % (n, seq, text)
mine = "0" * 32
good = cred(piece(nonce, 0, mine))
if what == "none": first = "hello"
elif what == "foreign": first = cred("some other text")
elif what == "otherkey": first = cred(piece(nonce, 0, mine), sock=sys.argv[3])
elif what == "altered": first = good[:60] + ("A" if good[60] != "A" else "B") + good[61:]
elif what == "order": first = cred(piece(nonce, 5, mine))
elif what == "expired":
    first = cred(piece(nonce, 0, mine), "--ttl", "1"); import time; time.sleep(2.5)
elif what == "connection":
    first = cred(piece("1" * 32, 0, mine))
elif what == "replay":
    f.write(good + "\n"); f.flush(); f.readline()
    f, other = connect(); first = good
elif what == "swap":
    f.write(good + "\n"); f.flush(); f.readline()
    first = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "munge",
        "--socket", os.environ["LODGE_MUNGE_SOCKET"], "--string",
        piece(nonce + ":" + mine, 1, "{}\n")], capture_output=True, text=True, check=True).stdout.strip()
f.write(first + "\n"); f.flush()
for line in f:
    if line.startswith("! "):
        print(line.strip()); break
EOF

test_expect_success 'what is no credential, foreign, altered, late, moved or replayed is refused' '
    start_munged other &&
    refused() { python3 talk.py $port "$1" "$LODGE_TEST_TMP/other/socket" >said && cat said && grep "$2" said; } &&
    refused none "no munge credential" &&
    refused foreign "not made for lodge" &&
    refused otherkey "altered, or of another site" &&
    refused altered "altered, or of another site" &&
    refused order "missing or out of order" &&
    refused expired "expired" &&
    refused connection "of another connection" &&
    refused replay "a replay" &&
    refused swap "of uid 65534, the connection of uid 0" &&
    grep "127.0.0.1: refused: .*replay" "$LODGE_TEST_TMP/lodged.log"
'

test_expect_success 'without munged, and without lodged, one line says so' '
    test_must_fail env LODGE_MUNGE_SOCKET=/nonexistent LODGE_CONTROLLER_SOCKET=tcp:127.0.0.1:$port \
        lodge profile list 2>err && grep "munge" err && test $(wc -l <err) = 1 &&
    test_must_fail env LODGE_CONTROLLER_SOCKET=tcp:127.0.0.1:1 lodge profile list 2>err &&
    grep "127.0.0.1:1" err && test $(wc -l <err) = 1
'

test_expect_success 'many clients at once are served; the way comes back after a kill' '
    pids= && for i in 1 2 3 4 5 6 7 8; do
        far lodge profile list >"got$i" & pids="$pids $!"
    done && for p in $pids; do wait $p || return 1; done &&
    gate=$(pgrep -P $lodged lodge-gate) && kill -9 $gate &&
    until_true 150 far lodge profile list
'

test_done
