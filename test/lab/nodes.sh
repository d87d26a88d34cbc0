#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# nodes.sh [TYPE IMAGES NAME]: runs on n1 of two lab machines. lodged on n1 drives real agents
# on n1 and n2 through real sshd: add, check, push the image NAME of the store IMAGES, a machine
# on each, exec, console, pause, drain, a cut network, stop. TYPE is fake if not given, without
# an image. Ends at the first thing that is wrong.
set -eu
type=${1:-fake}
B=$LODGE_TOP_BUILDDIR S=$LODGE_TOP_SRCDIR
PATH=$B:$PATH
unset LODGE_STATE_DIR LODGE_RUN_DIR LODGE_CONFIG_DIR LODGE_CACHE_DIR || true
export LODGE_LIBEXEC_DIR=$B LODGE_DATA_DIR=$S LODGE_CONFIG_DIR=/etc/lodge LODGE_STATE_DIR=/var/lib/lodge
say() { echo "== $*"; }
wait_for() { # SECONDS COMMAND...
    n=$1
    shift
    until "$@" >/dev/null 2>&1; do
        n=$((n - 1))
        [ $n -gt 0 ] || { echo "waited in vain: $*"; lodge node list; tail -5 /tmp/lodged.log; exit 1; }
        sleep 1
    done
}
link_is() { [ "$(lodge node list -o link --noheader "$1")" = "$2" ]; }
is_lost() { ! link_is "$1" up; } # down, or being tried again

say set up
lodge site init
key=$(cat /etc/lodge/id_ed25519.pub)
envs="LODGE_LIBEXEC_DIR=$B LODGE_DATA_DIR=$S LODGE_STATE_DIR=/var/lib/lodge"
if [ $# -gt 1 ]; then # n1 is the controller: its store is the site's
    mkdir -p /var/lib/lodge/images && cp -a "$2/." /var/lib/lodge/images/
fi
for n in n1 n2; do
    ssh $n "echo 'restrict,command=\"$B/lodge-join /run/lodge/agent.sock\" $key' >>/root/.ssh/authorized_keys;
        env $envs setsid $B/lodge-agent --stay >/tmp/agent.log 2>&1 </dev/null &"
done
lodged >/tmp/lodged.log 2>&1 &
wait_for 60 grep listening /tmp/lodged.log

say nodes
lodge node add 'n[1-2]' --host-key /run/lab-ssh/key.pub
wait_for 120 link_is n1 up
wait_for 120 link_is n2 up
lodge node list
lodge node check 'n[1-2]' || true

node_do() { ssh "$1" "env LODGE_STATE_DIR=/var/lib/lodge LODGE_LIBEXEC_DIR=$B LODGE_DATA_DIR=$S $B/$2"; }
last_op() { lodge op list -o id --noheader -n 1 | tr -d ' '; }
state_of() { lodge vm list --node "$1" -o name,state --noheader | sed -n "s/^m-$1 *//p"; }

case $type in
fake) image=none ;;
*)
    image=$3
    say image
    time lodge image push $image 'n[1-2]'
    lodge op steps $(last_op)
    for n in n1 n2; do node_do $n "lodge image verify $image"; done
    lodge image push $image 'n[1-2]'
    lodge op steps $(last_op)
    [ "$(lodge op steps $(last_op) -o detail --noheader | grep -c '^0 bytes')" = 2 ]
    ;;
esac

say machines
cat >/tmp/m.xml <<XML
<profile><name>m</name><type>$type</type><memory>192M</memory><image>$image</image>
<limits ready="10m"/></profile>
XML
lodge profile add /tmp/m.xml
for n in n1 n2; do
    lodge vm start m --node $n --name m-$n
    [ "$(lodge vm list --node $n -o type --noheader)" = "$type" ]
    [ "$(lodge vm exec --node $n m-$n -- echo in)" = in ]
    if [ $type != fake ]; then
        lodge vm exec --node $n m-$n -- sh -c 'echo "seen on $(uname -n)" >/dev/console'
        timeout 20 lodge vm console --node $n m-$n </dev/null >/tmp/console 2>/dev/null || true
        grep -a 'seen on' /tmp/console
    fi
    lodge vm pause --node $n m-$n
    [ "$(state_of $n)" = paused ]
    lodge vm resume --node $n m-$n
    [ "$(lodge vm exec --node $n m-$n -- echo again)" = again ]
done
lodge vm list --node n2
head -c 3000000 /dev/urandom >/tmp/sent
lodge vm exec --node n2 m-n2 -- cat </tmp/sent >/tmp/received
cmp /tmp/sent /tmp/received

say drain
lodge node drain n1 --reason fans
lodge node list -o name,state --noheader | grep "n1 *drained"
if lodge vm start m --node n1 --name new 2>/tmp/err; then exit 1; fi
cat /tmp/err
grep fans /tmp/err
lodge node resume n1

say a cut network
dev=$(ssh n2 ip -o route get 10.77.0.1 | sed 's/.* dev \([^ ]*\).*/\1/')
ssh n2 "setsid sh -c 'sleep 8; ip link set $dev down; sleep 40; ip link set $dev up' >/dev/null 2>&1 </dev/null &"
sleep 8
start=$(date +%s)
wait_for 14 is_lost n2
echo "told after $(($(date +%s) - start)) s"
[ $(($(date +%s) - start)) -le 10 ]
[ "$(lodge vm exec --node n1 m-n1 -- echo still)" = still ]
wait_for 150 link_is n2 up
[ "$(lodge vm exec --node n2 m-n2 -- echo back)" = back ]

say stop
for n in n1 n2; do
    lodge vm stop --node $n m-$n
    lodge vm destroy --node $n m-$n
    [ -z "$(lodge vm list --node $n --noheader)" ]
done
say done
