#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# nodes.sh [PROFILE]: runs on n1 of two lab machines. lodged on n1 drives real agents on n1
# and n2 through real sshd: add, check, a machine on each, exec, pause, stop, drain, a cut
# network. PROFILE is of type fake if not given. Ends at the first thing that is wrong.
set -eu
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

say set up
lodge site init
key=$(cat /etc/lodge/id_ed25519.pub)
envs="LODGE_LIBEXEC_DIR=$B LODGE_DATA_DIR=$S LODGE_STATE_DIR=/var/lib/lodge LODGE_IMAGE_PATH=${LODGE_IMAGE_PATH:-}"
for n in n1 n2; do
    ssh $n "echo 'restrict,command=\"$B/lodge-join /run/lodge/agent.sock\" $key' >>/root/.ssh/authorized_keys;
        env $envs setsid $B/lodge-agent --stay >/tmp/agent.log 2>&1 </dev/null &"
done
lodged >/tmp/lodged.log 2>&1 &

say nodes
lodge node add 'n[1-2]' --host-key /run/lab-ssh/key.pub
wait_for 120 link_is n1 up
wait_for 120 link_is n2 up
lodge node list

say machines
cat >/tmp/f.xml <<XML
<profile><name>f</name><type>fake</type><image>none</image><memory>64M</memory></profile>
XML
lodge profile add /tmp/f.xml 2>/dev/null
profile=${1:-f}
for n in n1 n2; do
    lodge vm start "$profile" --node $n --name m-$n
    [ "$(lodge vm exec --node $n m-$n -- echo in)" = in ]
    lodge vm pause --node $n m-$n
    lodge vm resume --node $n m-$n
done
lodge vm list --node n2
[ "$(head -c 3000000 /dev/urandom | tee /tmp/sent | lodge vm exec --node n2 m-n2 -- cat | cksum)" = "$(cksum </tmp/sent)" ]

say drain
lodge node drain n1 --reason fans
lodge node list -o name,state --noheader | grep "n1 *drained"
lodge node resume n1

say a cut network
ip link set "$(ip -o route get 10.77.0.2 | sed 's/.* dev \([^ ]*\).*/\1/')" down
wait_for 20 link_is n2 down
[ "$(lodge vm exec --node n1 m-n1 -- echo still)" = still ]
ip link set "$(ip -o link | sed -n 's/^[0-9]*: \(e[^:@]*\).*/\1/p' | head -1)" up
wait_for 120 link_is n2 up
lodge vm destroy --node n2 m-n2
lodge vm destroy --node n1 m-n1
say done
