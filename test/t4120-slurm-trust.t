#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='jobs without our options are untouched; forged, edited, foreign and reused tickets give nothing'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless SLURM ROOT PLUGIN
. "$LODGE_TOP_SRCDIR/test/slurm/lib.sh"
T=$LODGE_TEST_TMP
slurm_home $USER1
slurm_home $USER2
cd "$T"

# --- a job that is not ours --------------------------------------------------------------
# All a job can see of how it was started.
cat >look.sh <<\EOT
#!/bin/bash
#SBATCH -N1 -n2 -w n1
look() {
    echo "== $1"; pwd; umask; id; ulimit -a; ulimit -Ha; cat /proc/self/cgroup; echo "nice $(nice)"
    grep -E "Sig[BIC]|Cap|NoNewPrivs|Seccomp|Cpus_allowed_list" /proc/self/status
    ls /proc/self/fd; cat /proc/self/oom_score_adj /proc/self/mountinfo | grep -v ^[0-9][0-9]*$ | wc -l
    env | sort
}
export -f look
look batch
srun -l -n2 bash -c 'look step' | sort
scontrol show job "$SLURM_JOB_ID"
srun --input=/etc/hostname -n1 cat | wc -c
srun -n1 sh -c 'exit 3'; echo "status $?"
ls -A /run/lodge/slurm 2>/dev/null
echo "end" >&2
exit 7
EOT
chmod 755 look.sh
# What differs between any two jobs of any two clusters: times, ports, process numbers, the cluster's number;
# whether slurmctld heard of a step's end or of the job's first; and who told salloc first that it is over.
plain() {
    sed -E "s/(nice |SLURM_PRIO_PROCESS=)$slurm_nice\$/\1OURS/; s/(SLURM_WORKING_CLUSTER=[^:]*:[^:]*):[0-9]+/\1:PORT/; s/\b10\.$slurm_o1\.[0-9]+/NET/g; s/$slurm_number/NUMBER/g; s/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]+/TIME/g;
        s/(RunTime|AccrueTime|ElapsedRaw)=[^ ]*/\1=/g; s/(SLURM_(SRUN_COMM_PORT|TASK_PID|STEP_LAUNCHER_PORT|STEPMGR|JOB_START_TIME|JOB_END_TIME|SRUN_COMM_HOST|LAUNCH_NODE_IPADDR|TOPOLOGY_ADDR)|TMPDIR|PPID|SHLVL|_)=.*/\1=/;
        /has been revoked/d" "$1"
}
both() { # NAME: the same jobs, their traces as NAME.*
    . "$D/cluster"
    slurm_o1=$net slurm_number=$number slurm_nice=$(nice)
    as $USER1 timeout 60 sbatch -W -o "$T/home.$USER1/out" -e "$T/home.$USER1/err" "$T/look.sh"
    echo "sbatch -W: $?" >"$1.status"
    until_ok 60 slurm_quiet
    (cd / && timeout 60 salloc -N1 -w n1 sh -c 'env | grep -E "^(SLURM|LODGE|SPANK)" | sort; srun -n1 -l pwd' >"$T/$1.salloc" 2>&1)
    until_ok 60 slurm_quiet
    (cd / && echo in | timeout 60 srun -n1 -w n1 cat >"$T/$1.srun" 2>&1)
    timeout 60 sbatch --test-only -N2 --wrap true >"$1.test" 2>&1
    for both_f in "$T/home.$USER1/out" "$T/home.$USER1/err" "$1.salloc" "$1.srun" "$1.test"; do plain "$both_f"; done >"$1.all"
    cat "$1.status" >>"$1.all"
    plain "$D/log/jobcomp" | sed -E 's/(StartTime|EndTime|SubmitTime|EligibleTime|DerivedExitCode)=[^ ]*/\1=/g' >>"$1.all"
}
test_expect_success 'a cluster without the plugin runs some jobs' '
    "$C" start "$D" && eval "$("$C" env "$D")" && both without && grep -q "== batch" without.all && "$C" stop "$D"
'
test_expect_success 'a cluster with it' '
    slurm_up --conf "SchedulerParameters=batch_sched_delay=0,sched_min_interval=50000,nohold_on_prolog_fail"
'
slurm_or_end
test_expect_success 'the same jobs leave the same traces, to the letter' '
    both with && test_cmp without.all with.all && test "$(wc -l <with.all)" -gt 200 && clean
'

# --- tickets -----------------------------------------------------------------------------
# A user may have sbatch load what he likes, and so send any text to the nodes.
own_conf() { # UID: a configuration of his own, which has no plugin but the forger's
    mkdir -p "$T/home.$1/conf" &&
        sed "s|^PlugStackConfig=.*|PlugStackConfig=$T/home.$1/conf/plugstack.conf|" "$D/conf/slurm.conf" >"$T/home.$1/conf/slurm.conf" &&
        cp "$D/conf/cgroup.conf" "$T/home.$1/conf/" &&
        echo "required $B/test/slurm/.libs/forge.so" >"$T/home.$1/conf/plugstack.conf" && chmod -R a+rX "$T/home.$1/conf"
}
issue() { # UID: a ticket of lodged for this user
    as "$1" env LODGE_RUN_DIR="$D/lodge/head" "$B/lodge" ticket issue "{\"profile\": \"fake\", \"gid\": $1}" >issued.$1 &&
        sed -n 's/.*"ticket": *"\([^"]*\)".*/\1/p' issued.$1
}
# with UID TICKET [VMS]: a job of this user with that ticket; its output in out, err
with() {
    as "$1" env SLURM_CONF="$T/home.$1/conf/slurm.conf" \
        FORGED_JOB="{\"ticket\":\"$2\",\"profile\":\"fake\",\"vms\":${3:-1},\"host_script\":false,\"keep\":false,\"array\":false}" \
        timeout 60 srun -N1 -w ${with_node:-n1} sh -c 'echo "in ${LODGE_VM-no machine}"' >out 2>err
}
refused() { # WORDS: nothing ran, and this was said
    cat out err
    ! grep -q "^in" out && grep -q "lodge: .*$1" err && clean && test "$(node_reason n1)" = none
}
test_expect_success 'two users with tickets of their own, by a client of their own making' '
    fake_profile fake >fake.xml && head_lodge profile add fake.xml && own_conf $USER1 && own_conf $USER2 &&
    t1=$(issue $USER1) && t2=$(issue $USER2) && test -n "$t1" && test -n "$t2" &&
    with $USER1 "$t1" && grep -q "^in n1-" out && clean
'
test_expect_success 'used again, for another job: refused' '
    ! with $USER1 "$t1" && refused "was used before, for job"
'
test_expect_success 'of another user: refused' '
    ! with $USER1 "$t2" && refused "is for uid $USER2"
'
test_expect_success 'edited, one letter of what it says: refused' '
    edited=$(echo "$t2" | sed "s/^\\(lodge1\\.....................\\)./\\1_/") && test "$edited" != "$t2" &&
    ! with $USER2 "$edited" && refused "was altered"
'
test_expect_success 'edited, its signature: refused' '
    ! with $USER2 "${t2%????}AAAA" && refused "signature"
'
test_expect_success 'signed with a key of his own: refused' '
    mine=$(as $USER2 env LODGE_RUN_DIR=$T/home.$USER2/run LODGE_CONFIG_DIR=$T/home.$USER2/config LODGE_STATE_DIR=$T/home.$USER2/state \
        "$B/lodge" ticket issue "{\"document\": \"$(tr -d "\n" <fake.xml | sed "s/\"/\\\\\"/g")\", \"gid\": $USER2}" | sed -n "s/.*\"ticket\": *\"\\([^\"]*\\)\".*/\\1/p") &&
    test -n "$mine" && ! with $USER2 "$mine" && refused "key"
'
test_expect_success 'for more machines than it grants: refused' '
    ! with $USER2 "$t2" 2 && refused "for 1 machine a node"
'
test_expect_success 'not a ticket at all: refused' '
    ! with $USER2 "lodge1.e30.AAAA" && refused "ticket" && ! with $USER2 "" && refused "ticket" &&
    ! with $USER2 "$(head -c 3000 /dev/zero | tr "\\0" A)" && refused "ticket"
'
test_expect_success 'a text that is no JSON, has too much or too little in it: refused' '
    for text in "{" "[]" "{\"ticket\":1}" "{\"ticket\":\"x\",\"profile\":\"x\",\"vms\":99999,\"host_script\":false,\"keep\":false,\"array\":false}" \
        "{\"ticket\":\"x\",\"profile\":\"x\",\"vms\":1,\"host_script\":false,\"keep\":false,\"array\":false,\"uid\":0}"; do
        as $USER2 env SLURM_CONF="$T/home.$USER2/conf/slurm.conf" FORGED_JOB="$text" timeout 60 srun -N1 -w n1 echo in >out 2>err && return 1
        ! grep -q "^in" out && grep "lodge: " err || return 1
    done
    clean && test "$(node_reason n1)" = none
'
test_expect_success 'what was not refused still works' '
    t3=$(issue $USER2) && with $USER2 "$t3" && grep -q "^in n1-" out && clean
'
test_expect_success 'the end leaves nothing on the machine' '
    slurm_down && test ! -e "$D"
'
test_done
