#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='jobs with --vm-profile on a private Slurm, machines of type fake'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless SLURM ROOT PLUGIN
. "$LODGE_TOP_SRCDIR/test/slurm/lib.sh"
T=$LODGE_TEST_TMP
P=$T/fake.xml

fake_profile fake >"$P"
fake_profile slow fake.boot-delay=20000 >"$T/slow.xml"
fake_profile broken fake.boot-fail >"$T/broken.xml"
fake_profile dying fake.die-after=2000 >"$T/dying.xml"
fake_profile large '' 100000 >"$T/large.xml"
slurm_home $USER1
slurm_home $USER2
cd "$T"
O=$T/o

test_expect_success 'a cluster with the plugin, lodged and an agent a node' '
    slurm_up --conf "SchedulerParameters=batch_sched_delay=0,sched_min_interval=50000,nohold_on_prolog_fail" \
        --conf "PartitionName=low Nodes=n[1-2] PriorityTier=1 PreemptMode=REQUEUE MaxTime=INFINITE" &&
    head_lodge profile add "$P"
'
test_expect_success 'srun: on each node, in its machine' '
    job srun -N2 --vm-profile=$P sh -c "echo \$LODGE_VM" | sort | sed "s/-[0-9]*$//" >out &&
    printf "n1\nn2\n" >want && test_cmp want out && clean
'
test_expect_success 'a profile of the site by its name, as an ordinary user' '
    as $USER1 timeout 60 srun --vm-profile=fake id -u >out && echo $USER1 >want &&
    test_cmp want out && clean
'
test_expect_success 'batch: output, status, #SBATCH line' '
    printf "#!/bin/sh\n#SBATCH --vm-profile=fake\necho \$LODGE_VM; pwd; exit 7\n" >b.sh && chmod 755 b.sh &&
    test_expect_code 7 job sbatch -W -N1 -o $O b.sh &&
    grep -q "^n[12]-[0-9]*$" $O && grep -qx "$PWD" $O && clean
'
test_expect_success 'the environment names the profile, too' '
    SLURM_VM_PROFILE=fake job srun sh -c "echo \$LODGE_PROFILE" >out && echo fake >want &&
    test_cmp want out && clean
'
test_expect_success 'array: three tasks, one ticket, three machines' '
    job sbatch -W --array=1-3 -N1 --vm-profile=fake -o $O.%a --wrap "echo \$LODGE_VM" &&
    cat $O.1 $O.2 $O.3 | sed "s/.*-//" >out && printf "1\n2\n3\n" >want && test_cmp want out && clean
'
test_expect_success 'several machines a node, tasks spread over them' '
    job srun -N1 -n2 --vms-per-node=2 --vm-profile=fake sh -c "echo \$LODGE_VM" | sed "s/.*-//" | sort >out &&
    printf "0\n1\n" >want && test_cmp want out && clean
'
test_expect_success 'a heterogeneous job: each component has machines of its own' '
    job srun -N1 --vm-profile=$P sh -c "echo a \$LODGE_VM" : -N1 sh -c "echo b \$LODGE_VM" 2>err | sort |
        sed "s/-[0-9]*$//" >out && printf "a n1\nb n2\n" >want && test_cmp want out &&
    cat >h.sh <<-\EOF2 &&
	#!/bin/sh
	echo script ${LODGE_VM-none}
	srun --het-group=0,1 sh -c "echo \$LODGE_VM"
	EOF2
    chmod 755 h.sh && job sbatch -W -N1 --vm-profile=$P --vm-script=host -o $O : -N1 h.sh &&
    sed "s/-[0-9]*$//" $O | sort >out && printf "n1\nn2\nscript none\n" >want && test_cmp want out && clean
'
test_expect_success 'a step in an allocation; -l, -n4, stdin of a file, --chdir' '
    printf "a b\nc\n" >in &&
    job salloc -N2 -n4 --vm-profile=fake srun -n4 -l pwd 2>err | sort >out &&
    for i in 0 1 2 3; do echo "$i: $PWD"; done >want && test_cmp want out &&
    job srun --vm-profile=fake --input=in --chdir=/usr sh -c "pwd; wc -l" >out &&
    printf "/usr\n2\n" >want && test_cmp want out && clean
'
test_expect_success 'a pty' '
    job script -qec "srun --pty --vm-profile=fake sh -c \"tty && echo yes\"" /dev/null </dev/null >out &&
    grep -q "/dev/pts/" out && grep -q yes out && clean
'
test_expect_success '100 MB of stdout arrive whole' '
    job srun --vm-profile=fake head -c 100000000 /dev/zero | md5sum >out &&
    head -c 100000000 /dev/zero | md5sum >want && test_cmp want out && clean
'
test_expect_success 'death by a signal is told as such' '
    ! job srun --vm-profile=fake sh -c "kill -TERM \$\$" 2>err &&
    grep -q "Terminated" err && clean
'
test_expect_success 'script on the host, steps in machines' '
    printf "#!/bin/sh\necho host-\${LODGE_VM-none}\nsrun sh -c \"echo vm-\\\$LODGE_PROFILE\"\n" >h.sh &&
    job sbatch -W -N1 --vm-script=host --vm-profile=fake -o $O h.sh &&
    printf "host-none\nvm-fake\n" >want && test_cmp want $O && clean
'

# --- a virtual cluster ---------------------------------------------------------------
cat >bunch.xml <<EOT
<?xml version="1.0"?>
<cluster>
  <name>bunch</name>
  <members>
    <member profile="fake" name="head"/>
    <member profile="fake" name="work" count="3"><memory>96</memory></member>
  </members>
</cluster>
EOT
test_expect_success 'a virtual cluster: its members over the nodes, the script in the first' '
    head_lodge cluster add bunch.xml &&
    job srun -N2 -n4 --vm-cluster=bunch sh -c "echo \$LODGE_VM \$LODGE_CLUSTER" | sed "s/-[0-9]* / /" | sort >out &&
    printf "head0 bunch\nwork0 bunch\nwork1 bunch\nwork2 bunch\n" >want && test_cmp want out &&
    printf "#!/bin/sh\n#SBATCH --vm-cluster=bunch -N2 -n4\necho script in \${LODGE_VM%%-*} of \$LODGE_VMS_ON_NODE\n" >c.sh &&
    job sbatch -W -o $O c.sh && sed "s/-[0-9]*//g" $O >out &&
    grep -x "script in head0 of head0,work." out && clean
'
test_expect_success 'a virtual cluster on one node, as an ordinary user, named by the environment' '
    sed "s/bunch/duo/; s/count=\"3\"/count=\"1\"/" bunch.xml >duo.xml && head_lodge cluster add duo.xml &&
    as $USER1 env SLURM_VM_CLUSTER=duo timeout 60 srun -N1 -n1 -c2 sh -c "echo \$LODGE_VMS_ON_NODE" | sed "s/-[0-9]*//g" >out &&
    echo head0,work0 >want && test_cmp want out && clean
'
test_expect_success 'a virtual cluster that does not fit, is not there, or is no use: at submission' '
    test_must_fail job sbatch -N5 --vm-cluster=bunch --wrap true 2>err && grep -q "ask for fewer nodes" err &&
    test_must_fail job sbatch -N2 --mem=100M --vm-cluster=bunch --wrap true 2>err && grep -q "do not fit on 2 nodes" err &&
    test_must_fail job sbatch -N2 --vm-cluster=bunc --wrap true 2>err && grep -q "bunch" err &&
    test_must_fail job sbatch --vm-cluster=bunch --vm-profile=fake --wrap true 2>err && grep -q "not both" err &&
    test_must_fail job sbatch --vm-cluster=bunch --vms-per-node=2 --wrap true 2>err && grep -q "the cluster says" err &&
    test_must_fail job sbatch -N2 --vm-cluster=bunch --vm-dry-run --wrap true 2>err && grep -q "would boot on the job.s node 1: .work2., image none" err &&
    test -z "$(squeue -h)"
'
test_expect_success 'the cluster of a profile one may not boot is not for him either' '
    fake_profile closed >closed.xml && head_lodge profile add closed.xml && head_lodge profile allow closed --user root &&
    sed "s/bunch/shut/; s/profile=\"fake\" name=\"head\"/profile=\"closed\" name=\"head\"/" bunch.xml >shut.xml &&
    head_lodge cluster add shut.xml &&
    test_must_fail as $USER1 timeout 60 srun --vm-cluster=shut true 2>err && grep -q "may not boot profile .closed." err && clean
'
test_expect_success 'too few machines for the nodes, when only the nodes know: told to the user' '
    sed "s/bunch/solo/; /work/d" bunch.xml >solo.xml && head_lodge cluster add solo.xml &&
    test_must_fail job srun -n4 --vm-cluster=solo true 2>err && grep -q "ask for fewer nodes" err && clean
'

# --- srun in the script, which is in the machine ----------------------------------------
cat >calls.sh <<\EOT
#!/bin/bash
export FOO=bar
cd /usr
echo "$LODGE_VM" >"$T/vm"
srun -N2 -n2 -l sh -c 'echo "${LODGE_VM%%-*} $PWD $FOO $SLURM_PROCID of $SLURM_NTASKS"' | sort
echo hello | srun -N1 -n1 cat
for i in 1 2 3 4 5; do printf 'a\nb\n' | srun -N1 -n1 wc -l; done | uniq -c | tr -s ' '
srun -N1 -n1 sh -c 'exit 5' 2>/dev/null; echo "status $?"
srun -N1 -n1 sh -c 'kill -9 $$' 2>/dev/null; echo "status $?"
for i in 1 2 3 4; do srun -N1 -n1 --overlap echo "beside $i" & done | sort
wait
srun -N1 -n1 head -c 20000000 /dev/zero | md5sum
for bad in --task-prolog=/bin/true --prolog=/bin/true --epilog=/bin/true --jobid=1 --chdir=/ --output=/tmp/x --input=/etc/hostname \
    --bcast=/tmp/x --multi-prog --uid=0 --nodelist=/etc/passwd --mpi=../x --export=LD_PRELOAD=/x --unknown -o/tmp/x -D/; do
    srun "$bad" -N1 -n1 true 2>err.$$ && echo "let through: $bad"
    grep -q "not for srun in a machine" err.$$ || cat err.$$
done
srun -N1 -n1 true : --task-prolog=/bin/true -n1 true 2>err.$$ && echo "let through: a second job"
rm -f err.$$
EOT
test_expect_success 'srun in a script in its machine: steps in all machines of the job, and nothing of the host' '
    sed "s|\$T/vm|$T/vm|; s|err\.|$T/err.|g" calls.sh >calls2.sh && chmod 755 calls2.sh && chmod 1777 $T &&
    as $USER1 timeout 120 sbatch -W -N2 -n2 -o $T/home.$USER1/o --vm-profile=fake $T/calls2.sh &&
    cat >want <<-EOT &&
	0: n1 /usr bar 0 of 2
	1: n2 /usr bar 1 of 2
	hello
	 5 2
	status 5
	status 137
	beside 1
	beside 2
	beside 3
	beside 4
	$(head -c 20000000 /dev/zero | md5sum)
	EOT
    # A step may find the processors of the one before it not given back yet: Slurm says so, and waits.
    grep -v "^srun: .*tep creat" $T/home.$USER1/o >got && test_cmp want got && clean && rm -f err.*
'
lodge_prereq MPI 'no Open MPI: apt-get install openmpi-bin libopenmpi-dev' sh -c 'command -v mpirun && command -v mpicc'
test_expect_success MPI 'mpirun in a script starts its ranks in the machines of all nodes' '
    mpicc -o $T/pi "$LODGE_TOP_SRCDIR/test/slurm/pi.c" &&
    printf "#!/bin/bash\n#SBATCH -N2 -n2\nmpirun --mca btl self,tcp $T/pi\n" >mpi.sh && chmod 755 mpi.sh &&
    as $USER1 timeout 120 sbatch -W -o $T/home.$USER1/o --vm-profile=fake $T/mpi.sh &&
    grep -q "rank 0 of 2 on n1" $T/home.$USER1/o && grep -q "rank 1 of 2 on n2" $T/home.$USER1/o &&
    grep -q "pi is about 3.141592654" $T/home.$USER1/o && clean
'
test_expect_success 'srun in a script dies with its caller' '
    printf "#!/bin/sh\nsrun -N1 -n1 sh -c \"echo on >$T/on.\\\$\\\$; sleep 100\" & sleep 3; kill \$!; wait \$!; echo over \$?\n" >k.sh &&
    job sbatch -W -N1 -o $O --vm-profile=fake k.sh && grep -q "over 1[34]" $O && ls on.* && clean && rm -f on.*
'

test_expect_success 'unknown profile: at submission, one line, the nearest name, no job' '
    test_must_fail job sbatch --vm-profile=fakee --wrap true 2>err &&
    grep -q "no profile .fakee." err && test -z "$(squeue -h)"
'
test_expect_success 'a file that is not there, options without a profile, wrong values' '
    test_must_fail job sbatch --vm-profile=/nope.xml --wrap true 2>err && grep -q "No such file" err &&
    test_must_fail job sbatch --vm-keep --wrap true 2>err && grep -q "need --vm-profile" err &&
    test_must_fail job sbatch --vm-profile=fake --vms-per-node=x --wrap true 2>err &&
    grep -q "number from 1 to" err
'
test_expect_success 'too little memory or too few CPUs: at submission' '
    test_must_fail job sbatch --mem=30M --vm-profile=fake --wrap true 2>err &&
    grep -q "needs 64 MiB a node, the job asks for 30" err &&
    test_must_fail job sbatch --cpus-per-task=1 --vms-per-node=2 --vm-profile=fake --wrap true 2>err &&
    grep -q "CPUs" err
'
test_expect_success 'too little memory that only the node sees: told to the user, node idle' '
    test_must_fail job srun --vm-profile=$T/large.xml true 2>err &&
    grep -q "ask for more with --mem" err && clean
'
test_expect_success 'a profile one may not boot; root may; again when allowed' '
    fake_profile secret >s.xml &&
    head_lodge profile add s.xml &&
    head_lodge profile allow secret --user root &&
    test_must_fail as $USER1 timeout 60 srun --vm-profile=secret true 2>err &&
    grep -q "may not boot profile .secret." err &&
    job srun --vm-profile=secret true &&
    head_lodge profile allow secret --user nobody && as $USER1 timeout 60 srun --vm-profile=secret true && clean
'
test_expect_success 'dry run says what would be, and submits nothing' '
    test_must_fail job sbatch --vm-dry-run --vm-profile=fake --wrap true 2>err &&
    grep -q "1 of profile .fake., type fake, " err && grep -q "nothing was submitted" err && test -z "$(squeue -h)"
'
test_expect_success 'a machine that does not boot: the job fails with the reason, node idle' '
    test_must_fail job sbatch -W -o $O --vm-profile=$T/broken.xml --wrap true &&
    grep -q "boot that fails" $O && clean
'
test_expect_success 'scancel while it boots ends at once' '
    rm -f $O && id=$(sbatch --parsable -o $O --vm-profile=$T/slow.xml --wrap "echo ran") &&
    until_ok 20 sh -c "test \"\$(squeue -h -j $id -o %T)\" = RUNNING" && sleep 1 && scancel $id &&
    until_ok 15 slurm_quiet && state_is $id CANCELLED && ! grep -q ran $O && clean
'
test_expect_success 'scancel while it runs: the script has its TERM' '
    printf "#!/bin/sh\ntrap \"echo bye; exit 0\" TERM\necho on\nsleep 100 & wait\n" >t.sh &&
    rm -f $O && id=$(sbatch --parsable -o $O --vm-profile=fake t.sh) && until_ok 20 grep -q on $O &&
    scancel --signal=TERM --batch $id && until_ok 20 slurm_quiet && grep -q bye $O && clean
'
test_expect_success 'the machine dies under the job: the job ends, node idle' '
    begin=$(date +%s) &&
    test_must_fail job srun --vm-profile=$T/dying.xml sleep 80 2>err &&
    test $(($(date +%s) - begin)) -lt 40 && grep -q "lodge: .*VM" err && clean
'
test_expect_success 'suspend pauses the machine, resume resumes it' '
    rm -f $O && id=$(sbatch --parsable -N1 -w n1 -o $O --vm-profile=fake --wrap "for i in 1 2 3 4 5 6; do echo \$i; sleep 1; done") &&
    until_ok 20 grep -q 2 $O && scontrol suspend $id && sleep 3 && wc -l <$O >before && sleep 3 &&
    vm_states n1 >states && grep -q paused states &&
    wc -l <$O >after && test_cmp before after && scontrol resume $id && until_ok 30 grep -q 6 $O && clean
'
test_expect_success 'requeue: the machines go and come again' '
    rm -f $O && id=$(sbatch --parsable -N1 --requeue -o $O --open-mode=append --vm-profile=fake --wrap "echo run \$SLURM_RESTART_COUNT; test -n \"\$SLURM_RESTART_COUNT\" || sleep 100") &&
    until_ok 20 grep -q run $O && scontrol requeue $id && sleep 4 &&
    scontrol update JobId=$id StartTime=now && until_ok 40 grep -q "run 1" $O && clean 90
'
test_expect_success 'the agent is killed under a job: the job goes on, nothing is left' '
    rm -f $O && id=$(sbatch --parsable -N1 -w n1 -o $O --vm-profile=fake --wrap "echo on; sleep 4; echo done") &&
    until_ok 20 grep -q on $O && "$C" exec "$D" n1 sh -c "kill -9 \$(cat /run/lodge/agent.pid)" &&
    until_ok 40 grep -q done $O && clean
'
test_expect_success 'slurmd and slurmctld restart under a job' '
    rm -f $O && id=$(sbatch --parsable -N1 -w n1 -o $O --vm-profile=fake --wrap "echo on; sleep 4; echo done") &&
    until_ok 20 grep -q on $O && "$C" slurmd "$D" n1 && "$C" slurmctld "$D" &&
    until_ok 40 grep -q done $O && clean
'
# What a user puts into the environment himself gives no machine (forged, altered, foreign and
# replayed tickets themselves: test/unit/ticket.c).
test_expect_success 'a ticket of one'"'"'s own making gives nothing' '
    { as $USER2 env SLURM_SPANK_LODGE_JOB="{\"ticket\":\"lodge1.e30.AAAA\",\"profile\":\"x\",\"vms\":1,\"host_script\":false,\"keep\":false,\"array\":false}" \
        timeout 60 srun sh -c "echo vm \$LODGE_VM" >out 2>err || :; } &&
    ! grep -q "vm ." out && clean
'
test_expect_success 'two users on a node at once' '
    as $USER1 timeout 60 srun -w n1 --vm-profile=fake sh -c "sleep 1; id -u" >one & p=$! &&
    as $USER2 timeout 60 srun -w n1 --vm-profile=fake sh -c "sleep 1; id -u" >two &&
    wait $p && test "$(cat one two | tr "\n" " ")" = "$USER1 $USER2 " && clean
'
test_expect_success 'twice ten jobs: no residue' '
    for i in 1 2 3 4 5 6 7 8 9 10; do
        sbatch -o /dev/null --mem=100M --vm-profile=fake --wrap true >>ids &&
        sbatch -o /dev/null --mem=100M --vm-profile=fake --wrap true >>ids || return 1
    done && clean 120
'
test_expect_success 'a job without our options leaves no record and sees nothing of us' '
    job srun env >out && ! grep -q "^LODGE_VM\|^LODGE_PROFILE\|^SPANK_LODGE" out && clean
'
test_expect_success 'without lodged: signed with the key of who submits' '
    kill $slurm_lodged_pid && until_ok 20 sh -c "! kill -0 $slurm_lodged_pid 2>/dev/null" &&
    rm -f "$D/lodge/head/lodged.sock" &&
    LODGE_CONFIG_DIR=$D/lodge/config job srun --vm-profile=$P sh -c "echo \$LODGE_PROFILE" >out &&
    echo fake >want && test_cmp want out &&
    test_must_fail job srun --vm-profile=fakee true 2>err && grep -q "no profile .fakee." err && clean
'
test_expect_success 'the end leaves nothing on the machine' '
    slurm_down && test ! -e "$D"
'
test_done
