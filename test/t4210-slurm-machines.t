#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='jobs in real guests on a private Slurm: steps, pty, srun within, suspend and clock, kills, panic'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless SLURM ROOT PLUGIN LIBVIRT QEMU
. "$LODGE_TOP_SRCDIR/test/slurm/lib.sh"
. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"
PATH=$LODGE_TOP_BUILDDIR:$PATH
T=$LODGE_TEST_TMP
cd "$T"
job() { timeout 400 "$@"; }
on_node() { # NODE SHELL-TEXT
    on_n=$1
    shift
    "$C" exec "$D" "$on_n" sh -c "$*"
}
profile_of() { # NAME IMAGE
    cat <<EOT
<?xml version="1.0"?>
<profile>
  <name>$1</name>
  <type>qemu</type>
  <memory>512</memory>
  <image>$2</image>
  <limits ready="5m"/>
</profile>
EOT
}
profile_of guest debian-fast >guest.xml
slurm_home $USER1
H=$T/home.$USER1

test_expect_success 'an image' '
    vm_image && LODGE_STATE_DIR=$T/state lodge image list
'
test_expect_success 'a cluster whose nodes have libvirt' '
    LODGE_WITH_LIBVIRT=yes LODGE_IMAGE_PATH=$T/state/images CLUSTER_TIMEOUT=180 slurm_up --conf DefMemPerNode=1200 &&
    head_lodge profile add guest.xml
'
slurm_or_end

# Two machines at once, one on each node: this one prints the time every second.
cat >ticks.sh <<\EOT
#!/bin/sh
echo "batch as $(id -u) on $(hostname)"
i=0
while [ $i -lt 600 ] && [ ! -e /tmp/stop ]; do
    echo "tick $(date +%s.%N | cut -c 1-14)"
    sleep 1
    i=$((i + 1))
done
EOT
chmod 755 ticks.sh
test_expect_success 'a batch job on n2, as an ordinary user' '
    ticks=$(as $USER1 sbatch --parsable -D / -N1 -w n2 -o $H/ticks --vm-profile=guest $T/ticks.sh)
'
cat >within.sh <<\EOT
#!/bin/bash
export FOO=bar
cd /usr
echo "script $(hostname | sed 's/-.*//') $(id -u)"
srun -n4 -l sh -c 'echo "$PWD $FOO $SLURM_PROCID of $SLURM_NTASKS in $(hostname | sed "s/-.*//")"' | sort
printf 'a b\nc\n' | srun -n1 wc -l
srun -n1 sh -c 'exit 5' 2>/dev/null
echo "status $?"
srun -n1 --task-prolog=/bin/true true 2>&1 | grep -c "not for srun in a machine"
EOT
chmod 755 within.sh
test_expect_success 'srun in the script: four tasks in the machine, from within it' '
    as $USER1 timeout 400 sbatch -W -D / -N1 -n4 -O -w n1 -o $H/within --vm-profile=guest $T/within.sh &&
    cat >want <<-EOT &&
	script n1 $USER1
	0: /usr bar 0 of 4 in n1
	1: /usr bar 1 of 4 in n1
	2: /usr bar 2 of 4 in n1
	3: /usr bar 3 of 4 in n1
	2
	status 5
	1
	EOT
    test_cmp want $H/within
'
cat >steps.sh <<\EOT
#!/bin/bash
srun -n4 -O -l hostname | sort >steps.n4
script -qec 'srun -n1 --pty sh -c "tty; stty size"' /dev/null </dev/null >steps.pty 2>&1
srun -n1 --input=steps.in sh -c 'wc -l' >steps.wc
srun -n1 head -c 20000000 /dev/zero | md5sum >steps.md5
srun -n1 sh -c 'kill -TERM $$' 2>steps.err
echo $? >steps.status
EOT
test_expect_success 'srun -n4, a pty, stdin of a file, output, a signal: steps of an allocation' '
    printf "a b\nc\n" >steps.in && chmod 755 steps.sh &&
    job salloc -N1 -n4 -O -w n1 --vm-profile=guest ./steps.sh 2>salloc.err &&
    test "$(sed "s/-[0-9]*//" steps.n4 | tr "\n" " ")" = "0: n1 1: n1 2: n1 3: n1 " &&
    grep -q "/dev/pts/" steps.pty && echo 2 >want && test_cmp want steps.wc &&
    head -c 20000000 /dev/zero | md5sum >want && test_cmp want steps.md5 &&
    grep -q Terminated steps.err && test "$(cat steps.status)" = 143
'
last_tick() { sed -n 's/^tick //p' "$H/ticks" | tail -n 1; }
near() { awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; exit !(d < 3 && d > -3) }'; }
new_tick() { test "$(last_tick)" != "$1"; }
test_expect_success 'suspend for 30 s: not one tick; resume: the clock is right at once' '
    until_ok 200 grep -q "^tick" $H/ticks && grep -q "^batch as $USER1 on n2-$ticks" $H/ticks &&
    scontrol suspend $ticks && sleep 3 && before=$(last_tick) && vm_states n2 >states && grep -q paused states &&
    sleep 30 && test "$(last_tick)" = "$before" && scontrol resume $ticks &&
    until_ok 60 new_tick $before && one=$(last_tick) && until_ok 30 new_tick $one &&
    two=$(last_tick) && now=$(date +%s.%N) && echo "before $before, then $one, $two; now $now" && near $two $now
'
test_expect_success 'console, exec and list of a job, for its owner alone' '
    A="env LODGE_AGENT_SOCKET=/run/lodge/agent.sock $B/lodge vm" &&
    "$C" exec "$D" n2 setpriv --reuid=$USER1 --regid=$USER1 --clear-groups $A list -j $ticks --noheader -o NAME,STATE >list &&
    grep -q "n2-$ticks *running" list &&
    "$C" exec "$D" n2 setpriv --reuid=$USER1 --regid=$USER1 --clear-groups $A exec -j $ticks -- id -u >id </dev/null &&
    echo $USER1 >want && test_cmp want id &&
    "$C" exec "$D" n2 setpriv --reuid=$USER1 --regid=$USER1 --clear-groups timeout 5 $A console -r -j $ticks </dev/null >console 2>&1 || :
    ! grep -q "no VM\|usage" console &&
    test_must_fail "$C" exec "$D" n2 setpriv --reuid=$USER2 --regid=$USER2 --clear-groups $A exec -j $ticks -- id 2>err </dev/null && grep -q "has no VM here" err &&
    "$C" exec "$D" n2 setpriv --reuid=$USER2 --regid=$USER2 --clear-groups $A list -j $ticks --noheader >list && test_must_be_empty list
'
test_expect_success 'users of squeue see the profile' '
    until_ok 20 sh -c "squeue -h -j $ticks -o %k | grep -qx vm-profile=guest"
'
test_expect_success 'the VMM is killed: the job ends with the reason, the node is idle' '
    on_node n2 "pkill -KILL -f guest=[l]odge-" && until_ok 60 sh -c "test -z \"\$(squeue -h)\"" && clean 90 &&
    tail -n 5 $H/ticks && grep -q "^lodge: " $H/ticks && state_is $ticks FAILED
'
test_expect_success 'a guest panics: the job ends with the reason, the node is idle' '
    test_must_fail job srun -N1 -w n1 --vm-profile=guest sh -c "echo on; echo c >/proc/sysrq-trigger; sleep 300" >out 2>err &&
    grep -q on out && cat err && grep -q "^lodge: .*n1-" err && clean 90
'
test_expect_success 'the image is removed between submit and start: told to the user, the node is idle' '
    id=$(sbatch --parsable -H -N1 -o $T/lost --vm-profile=guest --wrap "echo ran") &&
    LODGE_STATE_DIR=$T/state lodge image rm -f debian-fast && scontrol release $id && until_ok 60 state_is $id FAILED &&
    cat lost && grep -q "lodge: .*debian-fast" lost && clean 90 && test "$(node_reason n1)$(node_reason n2)" = nonenone
'
test_expect_success 'the end leaves nothing on the machine' '
    slurm_down && test ! -e "$D"
'
test_done
