#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='lodge-exec through lodge-agent to lodge-guest, without a machine (type fake)'
. "$(dirname "$0")/lib.sh"

EXEC=$LODGE_TEST_TMP/libexec/lodge-exec
# Programs can be changed for one VM: its lodge-guest is found there.
mkdir -p "$LODGE_TEST_TMP/libexec" "$LODGE_RUN_DIR" "$LODGE_STATE_DIR"
for p in lodge-agent lodge-exec lodge-guest; do
    ln -s "$LODGE_TOP_BUILDDIR/$p" "$LODGE_TEST_TMP/libexec/$p"
done
LODGE_LIBEXEC_DIR=$LODGE_TEST_TMP/libexec
export LODGE_LIBEXEC_DIR

start_agent() {
    "$LODGE_LIBEXEC_DIR/lodge-agent" --stay >>"$LODGE_TEST_TMP/agent.log" 2>&1 &
    agent=$!
    i=0
    while ! test -S "$LODGE_RUN_DIR/agent.sock" && test $i -lt 100; do
        sleep 0.05
        i=$((i + 1))
    done
}

stop_agent() {
    kill "$agent"
    wait "$agent"
    rm -f "$LODGE_RUN_DIR/agent.sock"
}

# ask METHOD PARAMS: one request, the answer's line
ask() {
    python3 - "$LODGE_RUN_DIR/agent.sock" "$1" "$2" <<'PYTHON'
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(30)
s.connect(sys.argv[1])
f = s.makefile('rw')
f.readline()
f.write(json.dumps({'id': '1', 'method': sys.argv[2], 'params': json.loads(sys.argv[3])}) + '\n')
f.flush()
while True:
    m = json.loads(f.readline())
    if 'result' in m or 'error' in m:
        print(json.dumps(m))
        sys.exit('error' in m)
PYTHON
}

deploy() {
    ask vm.deploy "{\"name\": \"$1\", \"wait\": $2, \"profile\":
        {\"name\": \"p\", \"type\": \"fake\", \"image\": \"/dev/null\"}}"
}

term() {
    "$LODGE_TOP_SRCDIR"/test/vm/term "$@"
}

test_expect_success 'a fake VM is deployed' '
    start_agent && deploy one true
'

test_expect_success 'output, error, arguments, directory, umask, environment' '
    mkdir -p "$LODGE_TEST_TMP/a b" &&
    (cd "$LODGE_TEST_TMP/a b" && umask 027 && X="y z" "$EXEC" --vm one -- sh -c \
        "pwd; umask; echo \"\$X|\$1\"; echo oops >&2" sh "two words" >out 2>err) &&
    printf "%s\n" "$LODGE_TEST_TMP/a b" 0027 "y z|two words" >want &&
    test_cmp want "$LODGE_TEST_TMP/a b/out" &&
    echo oops >want && test_cmp want "$LODGE_TEST_TMP/a b/err"
'

test_expect_success 'exit statuses and signals are exact' '
    test_expect_code 7 "$EXEC" --vm one -- sh -c "exit 7" &&
    test_expect_code 127 "$EXEC" --vm one -- no-such-program 2>err &&
    grep "^lodge: no-such-program: No such file" err &&
    test_expect_code 126 "$EXEC" --vm one -- /etc &&
    test_expect_code 143 sh -c "\"$EXEC\" --vm one -- sh -c \"kill -TERM \\\$\\\$\"; exit \$?" &&
    test_expect_code 125 "$EXEC" --vm no-such-vm -- true
'

test_expect_success 'a script travels with its command' '
    printf "#!/bin/sh\necho \"script \$1\"\nexit 9\n" >"$LODGE_TEST_TMP/job" &&
    test_expect_code 9 "$EXEC" --vm one --script "$LODGE_TEST_TMP/job" -- job.sh arg >out &&
    echo "script arg" >want && test_cmp want out
'

test_expect_success 'closed standard files are no trouble' '
    "$EXEC" --vm one -- cat <&- && test_expect_code 4 "$EXEC" --vm one -- sh -c "exit 4" <&- >&- 2>&-
'

test_expect_success 'bulk goes both ways unchanged' '
    head -c ${LODGE_TEST_BULK:-100000000} /dev/urandom >"$LODGE_TEST_TMP/bulk" &&
    "$EXEC" --vm one -- cat <"$LODGE_TEST_TMP/bulk" | cmp - "$LODGE_TEST_TMP/bulk"
'

test_expect_success 'nothing is lost or doubled when the agent is killed three times' '
    start=$(date +%s) &&
    ("$EXEC" --vm one -- sh -c "cat; exit 5" <"$LODGE_TEST_TMP/bulk" \
        >"$LODGE_TEST_TMP/back"; echo $? >status) &
    pipe=$! &&
    for i in 1 2 3; do
        sleep 0.2 && kill -9 $agent && { wait $agent || :; } &&
            rm -f "$LODGE_RUN_DIR/agent.sock" && start_agent || return 1
    done &&
    wait $pipe && echo 5 >want && test_cmp want status &&
    cmp "$LODGE_TEST_TMP/bulk" "$LODGE_TEST_TMP/back"
'

test_expect_success 'a broken pipe ends the command' '
    "$EXEC" --vm one -- sh -c "trap \"\" TERM; yes; echo \$? >$LODGE_TEST_TMP/pipe" | head -c 10 &&
    i=0 && while ! test -s "$LODGE_TEST_TMP/pipe" && test $i -lt 100; do sleep 0.1; i=$((i+1)); done &&
    echo 141 >want && test_cmp want "$LODGE_TEST_TMP/pipe"
'

test_expect_success 'signals go through; TERM is the command'\''s to answer' '
    "$EXEC" --vm one -- sh -c "trap \"echo bye; exit 6\" TERM; echo up; while :; do sleep 0.1; done" >out &
    pid=$! &&
    i=0 && while ! grep -q up out && test $i -lt 100; do sleep 0.1; i=$((i+1)); done &&
    kill -TERM $pid && { wait $pid; test $? = 6; } && grep bye out
'

test_expect_success 'the whole tree dies with a killed lodge-exec' '
    "$EXEC" --vm one -- sh -c "setsid sleep 987 & echo \$! >$LODGE_TEST_TMP/pid; wait" &
    pid=$! &&
    i=0 && while ! test -s "$LODGE_TEST_TMP/pid" && test $i -lt 100; do sleep 0.1; i=$((i+1)); done &&
    kill -0 $(cat "$LODGE_TEST_TMP/pid") && kill -9 $pid &&
    i=0 && while kill -0 $(cat "$LODGE_TEST_TMP/pid") 2>/dev/null && test $i -lt 100; do sleep 0.1; i=$((i+1)); done &&
    ! kill -0 $(cat "$LODGE_TEST_TMP/pid") 2>/dev/null
'

test_expect_success 'a terminal: size, resize, Ctrl-C, status' '
    term 20 "
resize(30, 90)
time.sleep(0.3)
type(\"stty size\\r\"); see(\"30 90\")
resize(31, 91)
time.sleep(0.3)
type(\"stty size\\r\"); see(\"31 91\")
type(\"sleep 100\\r\"); time.sleep(0.3); type(\"\\x03\")
type(\"echo and\" \" on\\r\"); see(\"and on\")
type(\"exit 3\\r\")
sys.exit(status() != 3)
" -- "$EXEC" --vm one -- sh
'

test_expect_success 'Ctrl-Z stops the command and us; fg goes on' '
    term 20 "
see(\"begin\")
signal(\"SIGTSTP\"); state(\"T\")
signal(\"SIGCONT\"); see(\"end\")
sys.exit(status())
" -- "$EXEC" --no-pty --vm one -- sh -c "echo begin; sleep 1; echo end"
'

test_expect_success 'a closed terminal hangs the command up' '
    rm -f "$LODGE_TEST_TMP/pid" &&
    term 20 "
see(\"here\"); os.close(fd); time.sleep(0.5)
" -- "$EXEC" --vm one -- sh -c "echo \$\$ >$LODGE_TEST_TMP/pid; echo here; sleep 500" &&
    i=0 && while kill -0 $(cat "$LODGE_TEST_TMP/pid") 2>/dev/null && test $i -lt 100; do sleep 0.1; i=$((i+1)); done &&
    ! kill -0 $(cat "$LODGE_TEST_TMP/pid") 2>/dev/null
'

test_expect_success "50 at once, and ${LODGE_TEST_ROW:-200} in a row" '
    for i in $(seq 50); do
        ("$EXEC" --vm one -- sh -c "sleep 0.1; exit $i" </dev/null; test $? = $i || touch "$LODGE_TEST_TMP/bad") &
        pids="$pids $!"
    done && wait $pids && ! test -e "$LODGE_TEST_TMP/bad" &&
    for i in $(seq ${LODGE_TEST_ROW:-200}); do
        test "$("$EXEC" --vm one -- echo $i </dev/null)" = $i || return 1
    done
'

test_expect_success 'lodge-guest is killed: its VM answers again' '
    worker=$(pgrep -f "lodge-guest.*$LODGE_RUN_DIR" | tail -n 1) && test -n "$worker" &&
    kill -9 $worker &&
    i=0 && while ! "$EXEC" --vm one -- true 2>/dev/null && test $i -lt 100; do sleep 0.1; i=$((i+1)); done &&
    "$EXEC" --vm one -- true
'

test_expect_success 'a hostile guest harms neither the agent nor other VMs' '
    ln -sf "$LODGE_TOP_BUILDDIR/test/hostile-guest" "$LODGE_LIBEXEC_DIR/lodge-guest" &&
    deploy bad false &&
    for i in $(seq ${LODGE_TEST_HOSTILE:-10}); do
        for j in 1 2 3; do
            timeout 3 "$EXEC" --vm bad -- cat <"$LODGE_TEST_TMP/bulk" >/dev/null 2>&1 &
        done
        sleep 1
        test "$(timeout 5 "$EXEC" --vm one -- echo well </dev/null)" = well || return 1
        rss=$(sed -n "s/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p" /proc/$agent/status)
        echo "agent: at most $rss KiB"
        test_have_prereq SANITIZERS || test "$rss" -lt 65536 || return 1
    done &&
    ask vm.destroy "{\"vm\": \"bad\"}"
'

test_expect_success 'all is taken back' '
    ask vm.destroy "{\"vm\": \"one\"}" && stop_agent &&
    ! pgrep -f "lodge-guest.*$LODGE_RUN_DIR"
'

test_done
