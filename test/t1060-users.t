#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='two users of one agent: neither sees, enters, stops or reads what is the other'"'"'s'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT
. "$LODGE_TOP_SRCDIR/test/agent.sh"
. "$LODGE_TOP_SRCDIR/test/users.sh"

A=64001 B=64002

agent
for u in $A $B; do mkdir -m 700 "$LODGE_TEST_TMP/u$u" && chown $u:$u "$LODGE_TEST_TMP/u$u"; done

test_expect_success 'each starts a machine, of the same name' '
    as $A lodge vm start debian-fake --name m && as $B lodge vm start debian-fake --name m
'
test_expect_success 'each sees one, root both' '
    test "$(as $A lodge vm list --noheader --raw -o uid)" = $A &&
    test "$(as $B lodge vm list --noheader --raw -o uid)" = $B &&
    test "$(lodge vm list --noheader --raw -o uid | sort | xargs)" = "$A $B"
'
test_expect_success 'each is itself inside' '
    test "$(as $A lodge vm exec m id -u)" = $A && test "$(as $B lodge vm exec m id -u)" = $B
'
test_expect_success 'the id of another machine is as good as none' '
    id=$(as $A lodge vm list --noheader --raw -o id) &&
    for verb in show stop kill pause resume console destroy stats; do
        refused "no VM" as $B lodge vm $verb -f $id || return 1
    done &&
    refused "no VM .$id.nthat" as $B lodge vm show "$(printf "$id\nthat")" &&
    refused "no VM" as $B lodge vm exec $id true &&
    test_must_fail as $B lodge vm cp $id:/etc/hostname "$LODGE_TEST_TMP/u$B/x" &&
    as $A lodge vm exec m true
'
test_expect_success 'nobody becomes somebody else' '
    refused "only root" as $B lodge vm exec --user $A m id &&
    refused "only root" as $B lodge vm exec --user 0 m id
'
test_expect_success 'root runs as anybody, in machines of his own too' '
    lodge vm start debian-fake --name mine && test "$(lodge vm exec --user $A mine id -u)" = $A &&
    test "$(lodge vm exec --user $B m id -u)" = $B && refused "no VM .yours." lodge vm exec --user $A yours id &&
    lodge vm destroy -f mine
'
test_expect_success 'what one cannot read one cannot name' '
    echo secret >secret && chmod 600 secret && truncate -s 1M disk && chmod 600 disk &&
    mkdir -m 700 private &&
    for what in "<kernel>$PWD/secret</kernel>" "<disks><disk path=\"$PWD/disk\"/></disks>" \
        "<shares><share source=\"$PWD/private\" target=\"/mnt/x\"/></shares>"; do
        printf "<?xml version=\"1.0\"?>\n<profile><name>x</name><type>qemu</type>%s<image>/etc/hostname</image>%s</profile>\n" \
            "$(case $what in *kernel*) echo "$what" ;; esac)" \
            "$(case $what in *kernel*) ;; *) echo "$what" ;; esac)" >x.xml &&
        chmod 644 x.xml && sed -i "s,<kernel>\(.*\)</kernel><image>\(.*\)</image>,<image>\2</image><kernel>\1</kernel>," x.xml &&
        refused "Permission denied" as $B lodge vm start "$PWD/x.xml" --name x &&
        as $B lodge vm destroy -f x || return 1
    done
'
test_expect_success 'files and sockets of a machine are closed to others' '
    dir=$LODGE_RUN_DIR/vms/$(as $A lodge vm list --noheader --raw -o id) &&
    refused "denied" as $B ls "$dir/own" && refused "denied" as $B cat "$dir/guest.log"
'
test_expect_success 'jobs and groups are for root' '
    cat >ask.py <<-EOF &&
	import json, socket, sys
	s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); f = s.makefile("rw"); f.readline()
	p = {"name": "t", "type": "fake", "image": "x"}
	for m, q in (("vm.deploy", {"profile": p, "uid": $A}), ("vm.deploy", {"profile": p, "job": "1"}),
	             ("vm.deploy", {"profile": p, "cgroups": {"memory": "/sys/fs/cgroup/memory"}}),
	             ("job.end", {"job": "1"}), ("vm.deploy", {"profile": p, "vcpus": 99})):
	    f.write(json.dumps({"id": "1", "method": m, "params": q}) + "\n"); f.flush()
	    print(json.loads(f.readline()).get("error", {}).get("code"))
	EOF
    as $B python3 ask.py "$LODGE_AGENT_SOCKET" | sort -u >out && echo denied >want && test_cmp want out
'
test_expect_success 'where the site wants machines for jobs only, users start none by themselves' '
    mkdir -p "$LODGE_CONFIG_DIR" && echo "outside_jobs = no" >"$LODGE_CONFIG_DIR/lodge.conf" &&
    refused "for jobs only" as $B lodge vm start debian-fake --name alone &&
    refused "for jobs only" as $B lodge run debian-fake -- true &&
    lodge run debian-fake -- true && as $A lodge vm exec m true &&
    rm "$LODGE_CONFIG_DIR/lodge.conf"
'
test_expect_success 'both go, nothing is left' '
    as $A lodge vm destroy -f m && as $B lodge vm destroy -f m &&
    test -z "$(ls "$LODGE_RUN_DIR/vms")" && test -z "$(ls "$LODGE_STATE_DIR/agent")"
'
test_done
