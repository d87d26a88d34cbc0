#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Tickets end to end: lodged signs, real agents take them at their sockets, and refuse what is
# forged, altered, expired, somebody else's or used before, each in its own words.
test_description='tickets: signed by lodged, checked by agents'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT

agent() { # N
    (
        LODGE_STATE_DIR=$LODGE_TEST_TMP/n$1/s LODGE_RUN_DIR=$LODGE_TEST_TMP/n$1/r
        export LODGE_STATE_DIR LODGE_RUN_DIR
        exec lodge-agent --stay >>"$LODGE_TEST_TMP/agent$1.log" 2>&1
    ) &
}
# call.py SOCKET METHOD JSON: one request as root, its answer or the error's code and text
cat >call.py <<'EOF'
import json, socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); f = s.makefile("rw")
f.readline()
f.write(json.dumps({"id": "1", "method": sys.argv[2], "params": json.loads(sys.argv[3])}) + "\n"); f.flush()
for line in f:
    m = json.loads(line)
    if m.get("id") == "1" and "progress" not in m:
        break
if "error" in m:
    print(m["error"]["code"] + ": " + m["error"]["text"]); sys.exit(1)
print(json.dumps(m.get("result")))
EOF
deploy() { # N JOB TICKET [UID]: as the plugin does in a job's prolog
    python3 call.py "$LODGE_TEST_TMP/n$1/r/agent.sock" vm.deploy \
        "{\"ticket\": \"$(cat "$3")\", \"uid\": ${4:-65534}, \"gid\": 65534, \"job\": \"$2\", \"wait\": true}"
}
issue() { # FILE: a ticket for uid 65534 by lodged
    setpriv --reuid=65534 --regid=65534 --clear-groups \
        env LODGE_CONTROLLER_SOCKET="$LODGE_RUN_DIR/lodged.sock" LODGE_STATE_DIR=/nonexistent \
        lodge ticket issue '{"profile": "f"}' >answer &&
        python3 -c 'import json; print(json.load(open("answer"))["ticket"])' >"$1"
}
state_of() { # N JOB: of the job's machine, with why it failed
    python3 call.py "$LODGE_TEST_TMP/n$1/r/agent.sock" vm.status "{\"job\": \"$2\"}"
}
cat >f.xml <<'XML'
<profile><name>f</name><type>fake</type><image>none</image><memory>64M</memory></profile>
XML

test_expect_success 'lodged, two nodes, a profile' '
    { lodged 2>"$LODGE_TEST_TMP/lodged.log" & } && agent 1 && agent 2 &&
    until_true 100 lodge node list &&
    for n in 1 2; do
        lodge node add n$n --transport "$LODGE_LIBEXEC_DIR/lodge-join $LODGE_TEST_TMP/n$n/r/agent.sock" || return 1
    done &&
    until_true 200 sh -c "test \$(lodge node list -o link --noheader | grep -c up) = 2" &&
    lodge profile add f.xml
'

on_node() { # N COMMAND...: with node nN's directories
    (
        LODGE_STATE_DIR=$LODGE_TEST_TMP/n$1/s LODGE_RUN_DIR=$LODGE_TEST_TMP/n$1/r
        export LODGE_STATE_DIR LODGE_RUN_DIR
        shift
        "$@"
    )
}
job_end() { # N JOB
    python3 call.py "$LODGE_TEST_TMP/n$1/r/agent.sock" job.end "{\"job\": \"$2\", \"wait\": true}"
}
test_expect_success 'a node asks the controller for the image of a ticket that it has not' '
    head -c 1048576 /dev/urandom >pic.raw && lodge image import --as-is pic "raw:$PWD/pic.raw" &&
    sed "s/>f</>g</; s/none/pic/; s/>fake</>hpc</" f.xml >g.xml && lodge profile add g.xml &&
    lodge ticket issue "{\"profile\": \"g\"}" >answer &&
    python3 -c "import json; print(json.load(open(\"answer\"))[\"ticket\"])" >g.ticket &&
    test_must_fail on_node 1 lodge image show pic &&
    { deploy 1 900 g.ticket 0 || :; } && # it cannot boot: there is no kernel in it
    until_true 300 on_node 1 lodge image show pic && on_node 1 lodge image verify pic &&
    lodge op list -o method,state --noheader | grep "image.push *done" &&
    job_end 1 900
'

test_expect_success 'a good ticket boots a machine, for each node of its job, and again' '
    issue good && deploy 1 42 good && deploy 2 42 good && state_of 2 42 | grep running &&
    python3 call.py "$LODGE_TEST_TMP/n1/r/agent.sock" job.end "{\"job\": \"42\"}" &&
    deploy 1 42 good
'

test_expect_success 'forged: signed by a key the node does not trust' '
    LODGE_CONFIG_DIR=$PWD/other LODGE_STATE_DIR=$PWD/other LODGE_RUN_DIR=$PWD/other \
        sh -c "lodge profile add f.xml && lodge ticket issue {\\\"profile\\\":\\\"f\\\"}" | tail -n 1 >answer &&
    python3 -c "import json; print(json.load(open(\"answer\"))[\"ticket\"])" >forged &&
    test_must_fail deploy 1 50 forged 0 >err && cat err && grep "denied: .*signed by key .* does not trust" err
'

test_expect_success 'altered: one byte of what it says, one of its signature' '
    issue fresh && python3 - <<-\EOF &&
	import base64
	head, body, sign = open("fresh").read().strip().split(".")
	text = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)).replace(b"\"vms\":1", b"\"vms\":9")
	assert b"\"vms\":9" in text
	again = base64.urlsafe_b64encode(text).rstrip(b"=").decode()
	open("altered", "w").write(".".join((head, again, sign)))
	open("sign", "w").write(".".join((head, body, ("B" if sign[0] != "B" else "C") + sign[1:])))
	EOF
    for t in altered sign; do
        test_must_fail deploy 1 51 $t >err && cat err && grep "denied: the ticket was altered" err || return 1
    done
'

test_expect_success 'foreign: of another user' '
    test_must_fail deploy 1 52 fresh 65533 >err && cat err &&
    grep "denied: the ticket is for uid 65534, not for uid 65533" err
'

test_expect_success 'no ticket at all' '
    echo rubbish >rubbish && test_must_fail deploy 1 53 rubbish >err && cat err &&
    grep "input: this is not a ticket" err
'

test_expect_success 'replayed for another job on the same node' '
    test_must_fail deploy 1 43 good >err && cat err &&
    grep "denied: the ticket was used before, for job 42" err
'

test_expect_success 'replayed for another job on another node: lodged sees it, its machines end' '
    issue twice && deploy 1 60 twice && sleep 0.3 &&
    { deploy 2 61 twice || true; } &&
    until_true 100 sh -c "python3 call.py $LODGE_TEST_TMP/n2/r/agent.sock vm.status \"{\\\"job\\\": \\\"61\\\"}\" | grep failed" &&
    state_of 2 61 | grep "used before, for job 60 on node n1" &&
    state_of 1 60 | grep running &&
    until_true 30 sh -c "lodge events --what ticket.reused --noheader | grep -q \"job 60 on node n1\""
'

test_expect_success 'the same while lodged is away: when it is back' '
    issue later && lodged=$(pgrep -P $$ -x lodged) && kill $lodged && { wait $lodged || true; } &&
    deploy 1 70 later && deploy 2 71 later &&
    { lodged 2>>"$LODGE_TEST_TMP/lodged.log" & } &&
    until_true 300 sh -c "for n in 1 2; do python3 call.py $LODGE_TEST_TMP/n\$n/r/agent.sock vm.list {} ; done |
        grep -q \"used before, for job 7[01] on node n[12]\"" &&
    alive=0 && for j in "1 70" "2 71"; do
        state_of $j | grep "running" && alive=$((alive + 1))
    done; test $alive = 1
'

test_expect_success 'expired' '
    until_true 100 lodge node list && echo "ticket_life = 1s" >>"$LODGE_CONFIG_DIR/lodge.conf" &&
    issue short && sleep 2.5 && test_must_fail deploy 1 80 short >err && cat err &&
    grep "denied: the ticket expired [0-9]* s ago" err && sed -i \$d "$LODGE_CONFIG_DIR/lodge.conf"
'

test_expect_success 'who has not the right gets it at submission' '
    lodge profile allow f --user daemon && test_must_fail issue none 2>err && cat err &&
    grep "you may not boot profile .f." err &&
    lodge profile allow f --user 65534 && issue some && deploy 1 90 some
'

test_expect_success 'a retired key: what it signed is refused' '
    issue old && key=$(basename "$(ls "$LODGE_CONFIG_DIR"/keys/*.pub)" .pub) &&
    mv "$LODGE_CONFIG_DIR/keys/$key.pub" gone.pub && mv "$LODGE_CONFIG_DIR/keys/signing.key" gone.key &&
    issue new && test_must_fail deploy 1 91 old >err && grep "does not trust" err && deploy 1 92 new
'

test_done
