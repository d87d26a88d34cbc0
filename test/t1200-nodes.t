#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# lodged drives agents: nodes come and go, machines start and stop, all or nothing; lodged
# and agents are killed in the middle. Machines are of type fake: real agents, no guests.
test_description='controller, nodes, operations'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"

agent() { # N: start node nN's agent
    (
        LODGE_STATE_DIR=$LODGE_TEST_TMP/n$1/s LODGE_RUN_DIR=$LODGE_TEST_TMP/n$1/r
        export LODGE_STATE_DIR LODGE_RUN_DIR
        exec lodge-agent --stay >>"$LODGE_TEST_TMP/agent$1.log" 2>&1
    ) &
    eval "agent$1=$!"
}
controller() {
    lodged >>"$LODGE_TEST_TMP/lodged.log" 2>&1 &
    lodged=$!
}
add() { # N
    lodge node add "n$1" \
        --transport "$LODGE_LIBEXEC_DIR/lodge-join $LODGE_TEST_TMP/n$1/r/agent.sock"
}
link_is() { test "$(lodge node list -o link --noheader "$1")" = "$2"; }
no_machines() { test -z "$(lodge cluster status --noheader)"; }

cat >f.xml <<'XML'
<profile><name>f</name><type>fake</type><image>none</image><memory>64M</memory></profile>
XML
cat >slow.xml <<'XML'
<profile><name>slow</name><type>fake</type><image>none</image><memory>64M</memory>
<append>fake.boot-delay=1500</append></profile>
XML
cat >broken.xml <<'XML'
<profile><name>broken</name><type>fake</type><image>none</image><memory>64M</memory>
<append>fake.boot-fail</append></profile>
XML
cat >six.xml <<'XML'
<cluster><name>six</name><members><member name="w" profile="f" count="6"/></members></cluster>
XML
cat >lame.xml <<'XML'
<cluster><name>lame</name><members><member name="w" profile="f" count="4"/>
<member name="b" profile="broken" count="1"/></members></cluster>
XML
cat >late.xml <<'XML'
<cluster><name>late</name><members><member name="w" profile="slow" count="4"/></members></cluster>
XML

test_expect_success 'a site is set up, twice is once, and its gaps have codes' '
    test_must_fail lodge site verify -o code --noheader >gaps &&
    grep ssh-key gaps && grep no-lodged gaps &&
    lodge site init >said && grep "wrote .*lodge.conf" said &&
    test "$(stat -c %a "$LODGE_CONFIG_DIR/id_ed25519")" = 600 &&
    grep "restrict,command=" "$LODGE_CONFIG_DIR/node-setup.txt" &&
    lodge site init >said && grep "there already" said &&
    chmod 644 "$LODGE_CONFIG_DIR/keys/signing.key" &&
    test_must_fail lodge site verify -o code --noheader >gaps &&
    grep ticket-key gaps && chmod 600 "$LODGE_CONFIG_DIR/keys/signing.key" &&
    echo "sharse = /home" >>"$LODGE_CONFIG_DIR/lodge.conf" &&
    test_must_fail lodge site verify >gaps && grep "did you mean .shares" gaps &&
    sed -i \$d "$LODGE_CONFIG_DIR/lodge.conf"
'

test_expect_success 'lodged starts, a second one of the same store is refused' '
    controller &&
    until_true 100 test -S "$LODGE_RUN_DIR/lodged.sock" &&
    until_true 100 lodge node list &&
    test_must_fail lodged --socket "$LODGE_TEST_TMP/other.sock" 2>err &&
    grep "another lodged serves the store" err
'

test_expect_success 'nodes are added and connect' '
    agent 1 && agent 2 && agent 3 &&
    add 1 && add 2 && add 3 &&
    until_true 100 link_is n1 up && until_true 100 link_is n2 up &&
    until_true 100 link_is n3 up
'

test_expect_success 'nodes say what they can do' '
    { lodge node check "n[1-2]" -o node,fact --noheader >got || true; } &&
    grep "^n1 *kvm" got && grep "^n2 *kvm" got &&
    test_must_fail lodge node check n9 2>err && grep "no node .n9." err
'

test_expect_success 'host keys come from a file of all hosts, each node its own' '
    printf "%s\n" "# all" "n7,10.0.0.7 ecdsa-sha2-nistp256 AAAAe" "n7 ssh-ed25519 AAAA7" "n8 ssh-ed25519 AAAA8" \
        "[n9]:2222 ssh-rsa AAAA9" >keys &&
    lodge node add "n[7-8]" --host-key keys && lodge node add n9 -p 2222 --host-key keys &&
    printf "%s\n" "n7 ssh-ed25519 AAAA7" "n8 ssh-ed25519 AAAA8" "[n9]:2222 ssh-rsa AAAA9" >want &&
    test_cmp want "$LODGE_CONFIG_DIR/known_hosts" && lodge node remove -f "n[7-9]" &&
    test_must_fail lodge node add "n[8-9]" --host-key keys 2>err && grep "no key of .n9." err &&
    test_must_fail lodge node list n8
'

test_expect_success 'wrong nodes are refused in one line' '
    test_must_fail lodge node list n9 2>err && grep "no node .n9." err &&
    test_must_fail lodge node add x --port 99999 2>err && grep "between 1 and 65535" err &&
    test_must_fail lodge node drain n1 2>err && grep "reason" err
'

test_expect_success 'a cluster starts whole, is spread, and stops whole' '
    lodge profile add f.xml slow.xml broken.xml &&
    lodge cluster add six.xml lame.xml late.xml &&
    lodge cluster start six &&
    lodge cluster status six -o vm,node,state --noheader >got &&
    test $(wc -l <got) = 6 &&
    test $(grep -c running got) = 6 &&
    test $(awk "{print \$2}" got | sort | uniq -c | awk "{print \$1}" | sort -u) = 2 &&
    test_must_fail lodge cluster start six 2>err && grep "exists already" err &&
    lodge vm list --all-nodes -o node,name,state --noheader >got && test $(grep -c "^n[123] .*running" got) = 6 &&
    test $(lodge vm list --node "n[1-2]" --noheader | wc -l) = 4 &&
    lodge cluster stop six && no_machines
'

test_expect_success 'one machine that fails takes the others back' '
    test_must_fail lodge cluster start lame 2>err &&
    grep "n[123]: " err &&
    no_machines &&
    lodge op list -o method,state --noheader | grep "cluster.start *failed"
'

test_expect_success 'a drained node gets nothing; a node with machines stays' '
    lodge node drain n1 n2 --reason "new fans" &&
    lodge cluster start six &&
    test "$(lodge cluster status six -o node --noheader | sort -u)" = n3 &&
    test_must_fail lodge node remove -f n3 2>err && grep "still has machines" err &&
    lodge node resume n1 n2 && lodge cluster stop six
'

test_expect_success 'a killed lodged goes on where it was' '
    lodge cluster start late --no-wait >said &&
    op=$(sed "s/.*operation \([0-9]*\).*/\1/" said) &&
    kill -9 $lodged && wait $lodged 2>/dev/null; controller &&
    until_true 100 link_is n3 up &&
    until_true 200 sh -c "lodge op show $op -o state -P | grep -q done" &&
    test $(lodge cluster status late -o state --noheader | grep -c running) = 4 &&
    lodge cluster stop late && no_machines
'

test_expect_success 'a cancelled operation is taken back' '
    lodge cluster start late --no-wait >said &&
    op=$(sed "s/.*operation \([0-9]*\).*/\1/" said) &&
    lodge op cancel $op &&
    until_true 100 sh -c "lodge op show $op -o state -P | grep -q cancelled" &&
    no_machines
'

test_expect_success 'a killed agent is noticed, and comes back with its machines' '
    lodge cluster start six &&
    kill -9 $agent2 && wait $agent2 2>/dev/null; until_true 100 link_is n2 down &&
    lodge cluster status six -o node,state --noheader >got &&
    grep "n2 *unknown" got && grep "n1 *running" got &&
    agent 2 && until_true 300 link_is n2 up &&
    test $(lodge cluster status six -o state --noheader | grep -c running) = 6 &&
    lodge cluster stop six && no_machines
'

test_expect_success 'a node that does not answer delays no other' '
    kill -STOP $agent1 &&
    start=$(date +%s) &&
    lodge cluster start six >out 2>&1; lodge cluster status >/dev/null &&
    kill -CONT $agent1 && until_true 300 link_is n1 up &&
    { lodge cluster stop six || true; } && no_machines
'

# --- images --------------------------------------------------------------------------------
on_node() { # N COMMAND...: with node nN's directories
    (
        LODGE_STATE_DIR=$LODGE_TEST_TMP/n$1/s LODGE_RUN_DIR=$LODGE_TEST_TMP/n$1/r
        export LODGE_STATE_DIR LODGE_RUN_DIR
        shift
        "$@"
    )
}
has_image() { on_node "$1" lodge image show "$2" >/dev/null 2>&1; }
steps() { lodge op steps "$(lodge op list -o id --noheader -n 1)" "$@"; }

test_expect_success 'an image goes to nodes, whole, once' '
    for i in a b c; do
        head -c 3145728 /dev/urandom >$i.raw && lodge image import --as-is $i "raw:$PWD/$i.raw" ||
            return 1
    done &&
    lodge image push a "n[1-2]" >said && grep "n1: has it" said && grep "n2: has it" said &&
    has_image 1 a && has_image 2 a && ! has_image 3 a &&
    on_node 1 lodge image verify a &&
    lodge image push a n1 && steps -o detail --noheader | grep "^0 bytes sent"
'

test_expect_success 'wrong pushes are refused in one line' '
    test_must_fail lodge image push nosuch n1 2>err && grep "no image .nosuch." err &&
    test_must_fail lodge image push a n9 2>err && grep "no node .n9." err &&
    test_must_fail lodge image push a 2>err
'

test_expect_success 'a broken transfer goes on; damaged bytes are sent again' '
    sum=$(sha256sum <b.raw | cut -d" " -f1) &&
    for n in 1 2; do mkdir -p "$LODGE_TEST_TMP/n$n/s/images/partial" || return 1; done &&
    head -c 1048576 b.raw >"$LODGE_TEST_TMP/n1/s/images/partial/$sum" &&
    head -c 1048576 c.raw >"$LODGE_TEST_TMP/n2/s/images/partial/$sum" &&
    lodge image push b "n[1-2]" && steps -o node,detail --noheader >got && cat got &&
    grep "n1 *2097152 bytes" got && grep "n2 *5242880 bytes" got &&
    on_node 2 lodge image verify b
'

test_expect_success 'a machine brings its image along; its node keeps what machines use' '
    sed "s/>f</>with</; s/none/c/" f.xml >with.xml && lodge profile add with.xml &&
    lodge vm start with --node n3 --name user && has_image 3 c &&
    echo "image_cache = 8M" >>"$LODGE_CONFIG_DIR/lodge.conf" &&
    lodge image push a n3 && has_image 3 a && sleep 1.1 &&
    lodge image push b n3 && has_image 3 c && has_image 3 b && ! has_image 3 a &&
    head -c 6291456 /dev/urandom >d.raw && lodge image import --as-is d "raw:$PWD/d.raw" &&
    test_must_fail lodge image push d n3 2>err && grep "images that machines use" err &&
    lodge vm destroy --node n3 user && lodge image push d n3 && ! has_image 3 c &&
    head -c 9437184 /dev/urandom >e.raw && lodge image import --as-is e "raw:$PWD/e.raw" &&
    test_must_fail lodge image push e n3 2>err && grep "larger" err &&
    sed -i \$d "$LODGE_CONFIG_DIR/lodge.conf"
'

kill_lodged() { kill -9 $lodged && { wait $lodged 2>/dev/null || true; } && controller; }
kill_agent() { # N
    eval "kill -9 \$agent$1 && { wait \$agent$1 2>/dev/null || true; }" && agent $1
}

test_expect_success 'lodged and agent are killed while an image goes: it arrives' '
    head -c 150000000 /dev/urandom >big.raw && lodge image import --as-is big "raw:$PWD/big.raw" &&
    { lodge image push big "n[1-3]" >said 2>&1 & push=$!; } &&
    sleep 0.7 && kill_lodged && sleep 0.7 && kill_agent 2 &&
    { wait $push || true; } && until_true 100 lodge node list &&
    until_true 600 sh -c "! lodge op list -o state --noheader | grep -q running" &&
    lodge op list -o method,state --noheader | head -1 | grep "image.push *done" &&
    for n in 1 2 3; do
        on_node $n lodge image verify big || return 1
    done
'

test_expect_success 'events tell what happened, who did it, to whom it may concern' '
    until_true 20 sh -c "lodge events -w node --noheader | grep -q node.up" &&
    lodge events --what vm --node n1 -o what,vm,detail --noheader >got &&
    grep "vm.state *six-w[0-9] *running" got &&
    lodge events --what profile -o what,who,detail --noheader | grep "profile.add *0" &&
    lodge events --what node.drain -o detail --noheader | grep n1 &&
    op=$(lodge op list -o id --noheader -n 1) &&
    lodge events --op $op -o what,detail --noheader >got && grep op.end got &&
    lodge events --json --since 1h --limit 5 >got && test $(grep -c "\"at\"" got) = 5 &&
    { lodge events -f --what vm >tail & tail=$!; } && sleep 1 &&
    lodge vm start f --node n1 --name seen && until_true 50 grep "seen.*running" tail &&
    lodge vm destroy --node n1 seen && until_true 50 grep "vm.forgotten.*seen" tail &&
    kill $tail && { wait $tail 2>/dev/null || true; } &&
    setpriv --reuid=65534 --regid=65534 --clear-groups \
        env LODGE_CONTROLLER_SOCKET="$LODGE_RUN_DIR/lodged.sock" LODGE_STATE_DIR=/nonexistent \
        lodge events --limit 10000 -o what --noheader | sort -u >got &&
    grep node.up got && ! grep "vm\|profile" got
'

test_done
