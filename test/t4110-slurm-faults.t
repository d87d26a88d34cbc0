#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='faults under jobs with machines on a private Slurm: agents, daemons, power, preemption'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless SLURM ROOT PLUGIN
. "$LODGE_TOP_SRCDIR/test/slurm/lib.sh"
T=$LODGE_TEST_TMP
P=$T/fake.xml
fake_profile fake >"$P"
fake_profile slow fake.boot-delay=6000 >"$T/slow.xml"
fake_profile ill fake.node-fault >"$T/ill.xml"
fake_profile tough fake.destroy-delay=4000 >"$T/tough.xml"
fake_profile never fake.never-ready >"$T/never.xml"
cd "$T"
O=$T/o
on_node() { # NODE SHELL-TEXT
    on_n=$1
    shift
    "$C" exec "$D" "$on_n" sh -c "$*"
}
agent_kill() { on_node "$1" 'kill -9 $(cat /run/lodge/agent.pid)'; }
# A job on n1 that says on, then done.
start_job() { # SECONDS [OPTION]...
    start_s=$1
    shift
    rm -f $O
    id=$(sbatch --parsable -N1 -o $O --open-mode=append --vm-profile=$P "$@" \
        --wrap "echo on \$LODGE_NODE \${SLURM_RESTART_COUNT:-0}; sleep $start_s; echo done") &&
        until_ok 40 grep -q "^on" $O
}

# A requeued job waits for old credentials to expire (minutes), unless it is told to begin; a
# node refuses one that begins in the second in which the last one ended.
again() {
    until_ok 60 sh -c "test \"\$(squeue -h -j $1 -o %T)\" = PENDING" && sleep 3 &&
        scontrol update JobId=$1 StartTime=now
}

# n3 is for the job that meets its time limit, which Slurm has in whole minutes: it runs beside all else.
test_expect_success 'a cluster of three nodes, two partitions, the low one preemptable' '
    slurm_up --nodes 3 --conf "SchedulerParameters=batch_sched_delay=0,sched_min_interval=50000,nohold_on_prolog_fail,requeue_delay=1" \
        --conf "PreemptType=preempt/partition_prio" --conf "PreemptMode=REQUEUE" \
        --conf "PartitionName=low Nodes=n[1-3] PriorityTier=1 PreemptMode=REQUEUE MaxTime=INFINITE" \
        --conf "PartitionName=high Nodes=n[1-2] PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE"
'
slurm_or_end
test_expect_success 'a job that will meet its time limit begins' '
    limited=$(sbatch --parsable -N1 -w n3 --exclusive -t 1 -o $T/limit --vm-profile=$P \
        --wrap "trap \"echo told; exit 0\" TERM; echo on; sleep 300 & wait")
'

test_expect_success 'the agent is killed while the machine boots: it boots all the same' '
    rm -f $O && id=$(sbatch --parsable -N1 -w n1 -o $O --vm-profile=$T/slow.xml --wrap "echo ran in \$LODGE_VM") &&
    until_ok 30 sh -c "\"$C\" exec \"$D\" n1 test -n \"\$(\"$C\" exec \"$D\" n1 ls /run/lodge/vms 2>/dev/null)\"" && agent_kill n1 &&
    until_ok 60 grep -q "ran in n1-$id" $O && clean && state_is $id COMPLETED
'
test_expect_success 'the agent is killed under a job: the job goes on' '
    start_job 4 -w n1 && agent_kill n1 && until_ok 40 grep -q done $O && clean && state_is $id COMPLETED
'
test_expect_success 'the agent is away when the script ends: the job waits for its word' '
    start_job 2 -w n1 && on_node n1 "touch /run/lodge/agent.stop" && agent_kill n1 && sleep 4 &&
    on_node n1 "rm /run/lodge/agent.stop" && clean 90 && grep -q done $O && state_is $id COMPLETED
'
test_expect_success 'the agent is killed while the epilog takes the machine down' '
    id=$(sbatch --parsable -N1 -w n1 -o $O --vm-profile=$T/tough.xml --wrap "echo ran") &&
    until_ok 40 sh -c "test \"\$(squeue -h -j $id -o %T)\" = COMPLETING" && agent_kill n1 && clean 90 &&
    state_is $id COMPLETED && test "$(node_reason n1)" = none
'
test_expect_success 'no agent on a node: it is drained with the reason, the job runs on another' '
    on_node n1 "touch /run/lodge/agent.stop" && agent_kill n1 && rm -f $O &&
    id=$(sbatch --parsable -N1 -w n1 -p high -o $O --vm-profile=$P --wrap "echo ran on \$LODGE_NODE") &&
    until_ok 60 sh -c "sinfo -h -N -n n1 -o %t | grep -q drain" &&
    node_reason n1 >reason && grep -q "lodge-agent does not answer" reason &&
    scontrol update JobId=$id ReqNodeList= StartTime=now && until_ok 60 grep -q "ran on n2" $O &&
    on_node n1 "rm /run/lodge/agent.stop" && until_ok 20 on_node n1 "test -S /run/lodge/agent.sock" &&
    scontrol update NodeName=n1 State=RESUME && clean
'
test_expect_success 'a node that cannot boot: drained once with the reason, the job requeued to another' '
    touch $D/n1/state/fake.node-fault && rm -f $O &&
    id=$(sbatch --parsable -N1 -w n1 -p high -o $O --open-mode=append --vm-profile=$T/ill.xml --wrap "echo ran on \$LODGE_NODE") &&
    until_ok 60 sh -c "sinfo -h -N -n n1 -o %t | grep -q drain" &&
    node_reason n1 >reason && grep -q "no hypervisor" reason &&
    until_ok 30 sh -c "test \"\$(squeue -h -j $id -o %T)\" = PENDING" &&
    scontrol update JobId=$id ReqNodeList= StartTime=now && until_ok 60 grep -q "ran on n2" $O &&
    grep -c "update_node: node n1 state set to DRAIN" $D/log/slurmctld >n; echo "drained so often: $(cat n)"; test "$(cat n)" = 2 &&
    rm $D/n1/state/fake.node-fault && scontrol update NodeName=n1 State=RESUME && clean &&
    state_is $id COMPLETED && test "$(sinfo -h -N -n n2 -o %E | head -n 1)" = none
'
test_expect_success 'a guest that never answers is the fault of its image: the node stays' '
    id=$(sbatch --parsable -N1 -w n1 -o $O --vm-profile=$T/never.xml --wrap "echo ran") &&
    until_ok 20 state_is $id RUNNING && sleep 1 && scancel $id && clean && test "$(node_reason n1)" = none
'
test_expect_success 'slurmd restarts under a job' '
    start_job 5 -w n1 && "$C" slurmd "$D" n1 && until_ok 60 grep -q done $O && clean && state_is $id COMPLETED
'
test_expect_success 'slurmctld restarts under a job, and one that waits' '
    start_job 5 -w n1 && id2=$(sbatch --parsable -N1 -w n1 --exclusive -o $O.2 --vm-profile=$P --wrap "echo second") &&
    "$C" slurmctld "$D" && until_ok 60 grep -q done $O && until_ok 60 grep -q second $O.2 && clean &&
    state_is $id COMPLETED && state_is $id2 COMPLETED
'
test_expect_success 'power cut: the job is requeued and runs elsewhere; the node comes back empty' '
    start_job 100 -w n1 -p high && vm_states n1 >states && grep -q running states &&
    "$C" crash "$D" n1 && until_ok 90 sh -c "sinfo -h -N -n n1 -o %t | grep -q down" &&
    until_ok 60 sh -c "test \"\$(squeue -h -j $id -o %T)\" = PENDING" &&
    scontrol update JobId=$id ReqNodeList= StartTime=now && until_ok 60 grep -q "^on n2 1" $O &&
    scancel $id && "$C" up "$D" n1 && scontrol update NodeName=n1 State=RESUME && clean 90
'
test_expect_success 'requeue: the machine goes and comes again' '
    start_job 100 && scontrol requeue $id && again $id && until_ok 60 grep -q "^on n. 1" $O &&
    scancel $id && clean
'
test_expect_success 'preemption by requeue: the victim starts again when there is room' '
    rm -f $O && id=$(sbatch --parsable -N1 -w n1 -p low --exclusive -o $O --open-mode=append --vm-profile=$P \
        --wrap "echo low \${SLURM_RESTART_COUNT:-0}; test -n \"\$SLURM_RESTART_COUNT\" || sleep 100") && until_ok 30 grep -q "low 0" $O &&
    job srun -p high -w n1 --exclusive --vm-profile=$P sh -c "echo high in \$LODGE_VM" >high && grep -q "high in n1-" high &&
    again $id && until_ok 60 grep -q "low 1" $O && clean 90 && state_is $id COMPLETED
'
test_expect_success 'the time limit: TERM for the script, TIMEOUT for the user, nothing left' '
    until_ok 150 sh -c "test \"\$(scontrol -o show job $limited | tr \" \" \"\\n\" | sed -n s/^JobState=//p)\" = TIMEOUT" &&
    grep -q "DUE TO TIME LIMIT" $T/limit && slurm_nodes=n1,n2,n3 clean
'
test_expect_success 'the end leaves nothing on the machine' '
    slurm_down && test ! -e "$D"
'
test_done
