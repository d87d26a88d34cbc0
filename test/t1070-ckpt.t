#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='checkpoints around the hypervisor: verbs, rights, failures, damage (type fake)'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT
. "$LODGE_TOP_SRCDIR/test/agent.sh"
. "$LODGE_TOP_SRCDIR/test/users.sh"

A=64011 B=64012
agent
for u in $A $B; do mkdir -m 700 "$LODGE_TEST_TMP/u$u" && chown $u:$u "$LODGE_TEST_TMP/u$u"; done

test_expect_success 'a machine goes on, and its checkpoint is whole' '
    lodge vm start debian-fake --name m && lodge vm checkpoint m --to a --json >json &&
    grep -q "\"downtime_us\"" json && grep -q "\"stored_bytes\"" json &&
    test "$(state m)" = running && lodge vm exec m true && lodge ckpt verify a &&
    lodge ckpt show a | grep -q "whole" && ! ls -a a | grep -q lodge.writing
'
test_expect_success 'without --to it is where list looks' '
    lodge vm checkpoint m --continue &&
    name=$(lodge ckpt list --noheader --raw -o name) && lodge ckpt verify $name &&
    lodge __complete vm restore m | grep -qx "$name"
'
test_expect_success 'the words that do not go together' '
    refused "exclude each other" lodge vm checkpoint m --stop --continue &&
    refused "needs --to" lodge vm checkpoint m --node n1 &&
    refused "not empty" lodge vm checkpoint m --to a &&
    refused "no VM" lodge vm checkpoint nobody --to b &&
    refused "exclude each other" lodge vm checkpoint m --stop --track --to b &&
    refused "does not lie beside" lodge vm checkpoint m --to b --parent /nowhere/c &&
    refused "only type .hpc." lodge vm checkpoint m --to b --parent ./a &&
    refused "only type .hpc." lodge vm checkpoint m --to b --compress &&
    refused "did you mean .read." lodge vm restore a --name m2 --mode raed &&
    refused "only type .hpc." lodge vm restore a --name m2 --mode map && ! test -e b
'
test_expect_success 'while it runs it is not restored, but as another it is' '
    refused "already (running)" lodge vm restore a &&
    lodge vm restore a --name m2 && test "$(state m2)" = running &&
    refused "already (running)" lodge vm restore a --name m2 &&
    lodge vm destroy -f m2
'
test_expect_success 'stopped, it comes back as the same machine' '
    id=$(lodge vm list --noheader --raw -o id) && lodge vm checkpoint m --stop --to s &&
    test "$(state m)" = gone && lodge vm restore s &&
    test "$(state m)" = running && test "$(lodge vm list --noheader --raw -o id)" = "$id"
'
test_expect_success 'a paused machine stays paused' '
    lodge vm pause m && lodge vm checkpoint m --to p && test "$(state m)" = paused &&
    lodge vm resume m && lodge ckpt verify p
'
test_expect_success 'one that fails: it goes on, nothing is left' '
    lodge vm start debian-fake --name f --append fake.checkpoint-fail &&
    refused "asked for a checkpoint that fails" lodge vm checkpoint f --to f1 &&
    ! test -e f1 && mkdir f2 && refused "fails" lodge vm checkpoint f --to f2 &&
    rmdir f2 && test "$(state f)" = running && lodge vm exec f true && lodge vm destroy -f f
'
test_expect_success 'the disk is full: one line, it goes on' '
    mkdir full && mount -t tmpfs -o size=64k,mode=755 full full &&
    test_when_finished "umount full" &&
    head -c 100000 /dev/zero >full/fill; refused "No space left" lodge vm checkpoint m --to full/x;
    ls -A full >after; echo fill >want; test_cmp want after && lodge vm exec m true
'
test_expect_success 'who asked goes away: given up' '
    lodge vm start debian-fake --name w --append fake.checkpoint-delay=600000 &&
    { lodge vm checkpoint w --to w1 & } && asked=$! && until_state w checkpointing &&
    for i in $(seq 100); do test -e w1/lodge.writing && break; sleep 0.1; done &&
    lodge ckpt list . | grep -q "^w1 *writing" && lodge ckpt prune . && test -e w1/lodge.writing &&
    refused "busy\|cannot checkpoint" lodge vm checkpoint w --to w2 &&
    kill $asked && until_state w running && ! test -e w1 && lodge vm exec w true
'
test_expect_success 'the agent is killed in the middle: it goes on, the next one cleans' '
    { lodge vm checkpoint w --to w1 2>/dev/null & } && until_state w checkpointing &&
    for i in $(seq 100); do test -e w1/fake && break; sleep 0.1; done &&
    kill -9 $agent_pid && wait $agent_pid; test -e w1/fake && agent && until_state w running &&
    ! test -e w1 && lodge vm exec w true
'
test_expect_success 'an agent that came back a moment ago: commands wait for its guests' '
    for i in 1 2 3 4 5; do
        kill -9 $agent_pid; wait $agent_pid; agent && lodge vm exec m true || return 1
    done
'
test_expect_success 'a worker killed: the same' '
    { lodge vm checkpoint w --to w1 2>said & } && asked=$! && until_state w checkpointing &&
    for i in $(seq 100); do test -e w1/fake && break; sleep 0.1; done &&
    kill -9 $(pgrep -P $agent_pid) && ! wait $asked && grep -q "the worker died" said &&
    until_state w running && ! test -e w1 && lodge vm exec w true
'
test_expect_success 'stopped in the middle: nothing is left' '
    { lodge vm checkpoint w --to w1 2>said & } && asked=$! && until_state w checkpointing &&
    lodge vm kill w && ! wait $asked && grep -q "was stopped" said && ! test -e w1 &&
    lodge vm destroy -f w
'
test_expect_success 'prune removes what was left, and old ones but their parents' '
    mkdir -p keep/left && >keep/left/lodge.writing && mkdir keep/other && >keep/other/file &&
    for i in 1 2 3; do lodge vm checkpoint m --to keep/c$i || return 1; done &&
    lodge ckpt prune keep && ! test -e keep/left && test -e keep/c1 && test -e keep/other/file &&
    lodge ckpt prune -f --keep 1 keep && ! test -e keep/c2 && test -e keep/c3 &&
    test -e keep/other/file
'
test_expect_success 'every byte of it flipped, every length cut: refused, never half a machine' '
    for file in fake manifest.json; do
        size=$(stat -c %s a/$file) && step=$((size / 40 + 1)) &&
        for at in $(seq 0 $step $((size - 1))); do
            rm -rf bad && cp -r a bad &&
            byte=$(od -An -tu1 -j$at -N1 a/$file | tr -d " ") &&
            printf "\\$(printf %03o $((byte ^ 16)))" |
                dd of=bad/$file bs=1 seek=$at conv=notrunc status=none &&
            refused . lodge ckpt verify bad && refused . lodge vm restore bad --name bad &&
            rm -rf bad && cp -r a bad && truncate -s $at bad/$file &&
            refused . lodge ckpt verify bad && refused . lodge vm restore bad --name bad || {
                echo "$file at $at"
                return 1
            }
        done
    done &&
    test "$(lodge vm list --noheader --raw -o name,state | grep -c running)" = 1 &&
    lodge vm destroy -f $(lodge vm list --noheader --raw -o name,id,state | awk "\$3 != \"running\" { print \$2 }")
'
test_expect_success 'the directory is touched with the rights of who asks' '
    as $A lodge vm start debian-fake --name u && mkdir -m 700 private && mkdir -m 777 open &&
    refused "denied\|Permission" as $A lodge vm checkpoint u --to "$PWD/private/x" &&
    ! test -e private/x && as $A lodge vm checkpoint u --to "$PWD/open/x" &&
    test "$(stat -c %u:%a open/x)" = $A:700 && test "$(stat -c %u open/x/manifest.json)" = $A &&
    ln -s "$PWD/private" open/link && refused . as $A lodge vm checkpoint u --to "$PWD/open/link" &&
    test -z "$(ls -A private)"
'
test_expect_success 'another user reads neither the machine nor the checkpoint' '
    refused "no VM" as $B lodge vm checkpoint u --to "$PWD/open/y" &&
    refused "Permission denied" as $B lodge vm restore "$PWD/open/x" --name stolen &&
    as $A lodge vm restore "$PWD/open/x" --name u2 &&
    test "$(as $A lodge vm list --noheader --raw -o uid | sort -u)" = $A
'
test_expect_success 'a requeued job has its machine back, which ends with it' '
    cat >ask.py <<-\EOF &&
	import json, socket, sys
	s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); f = s.makefile("rw"); f.readline()
	f.write(json.dumps({"id": "1", "method": sys.argv[2], "params": json.loads(sys.argv[3])}) + "\n"); f.flush()
	for line in f:
	    m = json.loads(line)
	    if m.get("id") == "1" and "progress" not in m:
	        break
	print(m["error"]["text"] if "error" in m else m["result"].get("job"))
	EOF
    ask() { python3 ask.py "$LODGE_AGENT_SOCKET" "$@"; } &&
    test "$(ask vm.restore "{\"checkpoint\": \"$PWD/a\", \"name\": \"q\", \"job\": \"77\"}")" = 77 &&
    test "$(state q)" = running && ask job.end "{\"job\": \"77\"}" &&
    for i in $(seq 100); do test -z "$(state q)" && break; sleep 0.1; done && test -z "$(state q)" &&
    as $A python3 ask.py "$LODGE_AGENT_SOCKET" vm.restore \
        "{\"checkpoint\": \"$PWD/open/x\", \"name\": \"q\", \"job\": \"77\"}" | grep "only root may name a job"
'
test_expect_success 'hostile manifests are one line' '
    hostile() { # WORDS PYTHON STATEMENT ON m, ALL BUT THE CHECKSUM
        rm -rf bad && cp -r a bad && python3 - "$2" <<-\EOF &&
	import json, sys
	m = json.load(open("bad/manifest.json"))
	exec(sys.argv[1])
	json.dump(m, open("bad/manifest.json", "w"))
	EOF
        { test "$1" = damaged || python3 "$LODGE_TOP_SRCDIR/test/forge.py" bad/manifest.json "{}"; } &&
        refused "$1" lodge vm restore bad --name bad
    } &&
    hostile damaged "m[\"vm\"] = []" && hostile "of no machine" "m[\"vm\"] = []" &&
    hostile "files" "del m[\"files\"]" && hostile "version 2" "m[\"version\"] = 2" &&
    hostile "future" "m[\"features\"].append(\"future\")" &&
    disk="m[\"vm\"][\"profile\"][\"disks\"] = [{\"id\": \"d\", \"size_bytes\": 1 << 20}]" &&
    hostile "disk .d. is missing" "$disk" &&
    hostile "disk .d. is missing" "$disk; m[\"disks\"] = [{\"id\": 7, \"bytes\": 1}]" &&
    hostile "disk .d. is missing" "$disk; m[\"disks\"] = [{\"id\": None, \"bytes\": 1}, 5, \"d\"]" &&
    test "$(state m)" != ""
'
kill $agent_pid
test_done
