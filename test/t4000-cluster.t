#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='the private Slurm of the tests starts, runs jobs and leaves nothing'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless SLURM

C=$LODGE_TOP_SRCDIR/test/slurm/cluster
D=$LODGE_TEST_TMP/c
lodge_take_away() {
    for c in "$D" "$LODGE_TEST_TMP/u/c"; do
        test ! -f "$c/cluster" || "$C" stop "$c"
    done
}

residue() { # names of what cluster number $1 left on this machine
    ip -o link | grep -oE "l[bvp]$1(n[0-9]+)?" | sort -u
    find /sys/fs/cgroup -maxdepth 2 -name "lodge$1-*" 2>/dev/null
}

test_expect_success ROOT 'two nodes of namespaces become idle' '
    "$C" start "$D" && . "$D/cluster" && eval "$("$C" env "$D")" && echo $number >number
'
test_expect_success ROOT 'srun runs on both, each with its own name and process 1' '
    srun -N2 sh -c "hostname; tr \"\\0\" \" \" </proc/1/cmdline | grep -c node-init" | sort >out &&
    printf "1\n1\nn1\nn2\n" >want && test_cmp want out
'
test_expect_success ROOT 'sbatch -W gives output and exit status' '
    test_expect_code 3 sbatch -W -N2 -o "$PWD/batch" --wrap "srun -l hostname; exit 3" &&
    sort batch >out && printf "0: n1\n1: n2\n" >want && test_cmp want out
'
test_expect_success ROOT 'another user runs a job too' '
    srun --uid=65534 --gid=65534 --chdir=/ id -u >out && echo 65534 >want && test_cmp want out
'
test_expect_success ROOT 'restarted daemons and a crashed node come back' '
    "$C" slurmd "$D" n1 && "$C" slurmctld "$D" && "$C" crash "$D" n2 && "$C" up "$D" n2 &&
    timeout 60 srun -N2 -t1 hostname | sort >out && printf "n1\nn2\n" >want && test_cmp want out
'
test_expect_success ROOT 'stop leaves nothing' '
    "$C" stop "$D" && test ! -e "$D" && residue $(cat number) >left && test_must_be_empty left
'

cat >unprivileged <<EOS
cd "$LODGE_TEST_TMP/u" && "$C" start c && eval "\$("$C" env c)" &&
srun -N2 sh -c 'echo \$SLURMD_NODENAME' | sort && "$C" stop c && ls
EOS
test_expect_success ROOT 'the same without root: two slurmd on their ports' '
    mkdir "$LODGE_TEST_TMP/u" && chown nobody "$LODGE_TEST_TMP/u" && chmod 755 . &&
    setpriv --reuid=65534 --regid=65534 --clear-groups bash "$PWD/unprivileged" >out &&
    printf "n1\nn2\n" >want && test_cmp want out
'
test_done
