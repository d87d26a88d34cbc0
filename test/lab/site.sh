#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# site.sh PACKAGES IMAGES: docs/administrators.md, done by hand on two bare lab machines with
# Debian's Slurm: n1 is head node, submit host and node, n2 a node. Runs on n1. Every command
# given to `guide` stands in the guide word for word, with n[01-16], n01 and n03 for our n[1-2],
# n1 and n2; what is not the guide's (Slurm itself, a user, what systemd would do) is ours.
# PACKAGES: a directory with the .deb files; IMAGES: a store with debian-fast, since nothing
# can be downloaded here. Ends at the first thing that is wrong.
set -eu
packages=$(readlink -f "$1") images=$2 S=$LODGE_TOP_SRCDIR
text=$S/docs/administrators.md
lab_names='s/n\[01-16\]/n[1-2]/g; s/n01/n1/g; s/n03/n2/g'
sed "$lab_names" "$text" >/tmp/guide
unset LODGE_STATE_DIR LODGE_RUN_DIR LODGE_CONFIG_DIR LODGE_CACHE_DIR LODGE_DATA_DIR LODGE_LIBEXEC_DIR \
    LODGE_IMAGE_PATH || true
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive
say() { echo "== $* ($SECONDS s)"; }
wait_for() { # SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { echo "waited in vain: $*"; show_logs; exit 1; }
        sleep 1
    done
}
show_logs() {
    tail -n 15 /root/log/*
    ssh n2 'tail -n 15 /root/log/*' </dev/null
}
trap '[ $? = 0 ] || show_logs' EXIT
# guide COMMAND [NODE...]: it is in the guide; do it (there)
guide() {
    local n command=$1
    shift
    grep -qxF -e "# $command" -e "\$ $command" /tmp/guide ||
        grep -qE "^[#\$] $(sed 's/[][\.*^$+?(){}|]/\\&/g' <<<"$command") +# " /tmp/guide ||
        { echo "not in the guide: $command"; exit 1; }
    echo "${*:-here}: $command"
    [ $# -gt 0 ] || { eval "$command"; return; }
    local pids=''
    for n; do # all at once
        ssh "$n" "cd /root/debs && $command" </dev/null &
        pids="$pids $!"
    done
    for n in $pids; do wait "$n"; done
}
block() { # N: the guide's Nth block of lines for Slurm's files
    awk -v want="$1" '/^One line in .*plugstack.conf/ {on = 1} on && /^```$/ {n++; next}
        n == 2 * want - 1' /tmp/guide
}

say 'what is not the guide: systemctl without systemd, a user, Slurm'
cat >/tmp/systemctl <<'SHIM'
#!/bin/sh
# enable --now UNIT: start what the installed unit starts
for unit; do :; done
exec_start=$(sed -n 's/^ExecStart=//p' "/lib/systemd/system/$unit.service") && [ -n "$exec_start" ] || exit 1
setsid $exec_start >>"/root/log/$unit" 2>&1 </dev/null &
SHIM
cat >/tmp/slurm.conf <<CONF
ClusterName=lab
SlurmctldHost=n1
SlurmUser=root
AuthType=auth/munge
MpiDefault=none
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldLogFile=/root/log/slurmctld
SlurmdLogFile=/root/log/slurmd
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerNode=640
MessageTimeout=100
SlurmdTimeout=300
ReturnToService=2
NodeName=n[1-2] CPUs=1 RealMemory=1400
PartitionName=main Nodes=n[1-2] Default=YES
CONF
# For a machine without systemd only.
printf 'CgroupPlugin=cgroup/v2\nCgroupAutomount=yes\nIgnoreSystemd=yes\nConstrainRAMSpace=yes\n' >/tmp/cgroup.conf
head -c 128 /dev/urandom >/tmp/munge.key
for n in n1 n2; do
    ssh $n 'mkdir -p /root/debs /root/log /var/spool/slurmctld /var/spool/slurmd /etc/slurm /run/munge &&
        useradd -m -u 42001 -s /bin/sh alice && groupadd -g 42100 physics && usermod -aG physics alice &&
        useradd -m -u 42002 -s /bin/sh bob && umask 077 && cat >/etc/munge/munge.key' </tmp/munge.key
    ssh $n "cp $packages/*.deb /root/debs/ && cat >/usr/bin/systemctl && chmod 755 /usr/bin/systemctl" </tmp/systemctl
    ssh $n 'cat >/etc/slurm/slurm.conf' </tmp/slurm.conf
    ssh $n 'cat >/etc/slurm/cgroup.conf' </tmp/cgroup.conf
    ssh $n 'set -e
        chown -R munge: /etc/munge /run/munge /var/lib/munge /var/log/munge 
        chmod 755 /run/munge
        setpriv --reuid=munge --regid=munge --init-groups munged
        rm -rf /var/lib/apt/lists/* # nothing can be downloaded here
        rm -f /var/lib/man-db/auto-update # nor is anything looked up in manuals
        echo "APT::Get::Assume-Yes \"true\";" >/etc/apt/apt.conf.d/99lab
        # Where systemd would have slurmd, and the groups it would have made.
        mkdir -p /sys/fs/cgroup/system.slice/slurmd.service
        for d in /sys/fs/cgroup /sys/fs/cgroup/system.slice; do
            echo "+cpuset +cpu +memory +pids" >$d/cgroup.subtree_control
        done' </dev/null
done
slurm_up() {
    slurmctld </dev/null >/dev/null 2>&1
    for n in n1 n2; do
        ssh $n 'echo $$ >/sys/fs/cgroup/system.slice/slurmd.service/cgroup.procs && exec slurmd' </dev/null >/dev/null 2>&1
    done
}
idle() { [ "$(sinfo -h -N -o '%N %t')" = "$(printf 'n1 idle\nn2 idle')" ]; }
as() { # USER COMMAND...
    local user=$1
    shift
    (cd "/home/$user" && exec setpriv --reuid="$user" --regid="$user" --init-groups env HOME="/home/$user" "$@")
}
slurm_up
wait_for 120 idle
[ "$(as alice srun -N2 hostname | sort | tr '\n' ' ')" = 'n1 n2 ' ]

say 1. packages
cd /root/debs
guide 'apt install ./lodge_*.deb ./lodge-guest_*.deb ./lodge-slurm_*.deb ./lodge-agent_*.deb' n1 n2

say 2. nodes
guide 'lodge node check' n1 n2 || true
guide 'systemctl enable --now lodge-agent' n1 n2

say 3. the head node
guide 'lodge site init'
guide 'systemctl enable --now lodged'
wait_for 60 test -S /run/lodge/lodged.sock
guide 'cat /etc/lodge/node-setup.txt'
for n in n1 n2; do # what node-setup.txt says
    grep ^restrict /etc/lodge/node-setup.txt | ssh $n 'cat >>/root/.ssh/authorized_keys'
    [ $n = n1 ] || { ssh $n 'mkdir -p /etc/lodge/keys' && scp -q /etc/lodge/keys/*.pub $n:/etc/lodge/keys/; }
done
printf 'n1\nn2\n' >nodes
guide 'ssh-keyscan -T 30 -t ed25519 -f nodes >hostkeys'
guide 'lodge node add n[1-2] --host-key hostkeys'
wait_for 120 lodge site verify
guide 'lodge node list'
guide 'lodge node check n1' || true
guide 'lodge site verify'

say 4. images
mkdir -p /var/lib/lodge/images && cp -a "$images/." /var/lib/lodge/images/ # for: lodge image build debian-fast
guide 'lodge image push debian-fast n[1-2]'
guide 'lodge image list'

say 5. profiles
mkdir -p site
cat >site/big.xml <<XML
<profile><name>big</name><type>hpc</type><image>debian-fast</image><memory>512M</memory></profile>
XML
guide 'lodge profile add site/big.xml'
guide 'lodge profile allow big --group physics'

say 6. Slurm
block 1 >/tmp/plugstack.conf
block 2 >/tmp/lines
cat /tmp/plugstack.conf /tmp/lines
[ -s /tmp/plugstack.conf ] && [ -s /tmp/lines ]
for n in n1 n2; do
    ssh $n 'cat >/etc/slurm/plugstack.conf' </tmp/plugstack.conf
    ssh $n 'cat >>/etc/slurm/slurm.conf' </tmp/lines
done
pkill slurmctld
for n in n1 n2; do ssh $n 'pkill -x slurmd' </dev/null; done
gone() { ! pgrep -x slurmctld && ! ssh n1 pgrep -x slurmd && ! ssh n2 pgrep -x slurmd; }
wait_for 60 gone
slurm_up
wait_for 120 idle
nothing_left() {
    [ -z "$(lodge vm list -a --noheader)" ] && idle
}

say 'a user'
guide_job='srun -N1 --vm-profile=debian-fast uname -r'
grep -qxF "\$ $guide_job" /tmp/guide
time as alice $guide_job | tee /tmp/said
grep -q cloud-amd64 /tmp/said
wait_for 60 nothing_left
say 'two guests of type hpc'
time as alice srun -N2 -l --vm-profile=big sh -c 'hostname; uname -r; id -u' | sort | tee /tmp/said
[ "$(grep -c cloud-amd64 /tmp/said)" = 2 ] && [ "$(grep -c ': 42001$' /tmp/said)" = 2 ]
[ "$(sed -n 's/^[01]: \(n[12]\)-.*/\1/p' /tmp/said | tr '\n' ' ')" = 'n1 n2 ' ]
wait_for 60 nothing_left
say 'a batch job: output, status, the machine of type hpc, memory'
cat >/home/alice/job.sh <<'JOB'
#!/bin/sh
#SBATCH -N1 -n1 -w n2 --vm-profile=big
echo "on $(hostname) as $(id -u)"; awk '/MemTotal/ {print "memory", int($2 / 1024)}' /proc/meminfo
while [ ! -e /tmp/go ]; do sleep 1; done
exit 3
JOB
ssh n2 lodge image rm -f debian-fast # it asks the controller for it
id=$(as alice sbatch --parsable job.sh)
started() { grep -q ^memory "/home/alice/slurm-$id.out" || ssh n2 grep -q ^memory "/home/alice/slurm-$id.out"; }
wait_for 300 started
lodge vm list -a
[ "$(lodge vm list -a -o node,type,state --noheader | tr -s ' ' | sed 's/ *$//')" = 'n2 hpc running' ]
ssh n2 "setpriv --reuid=alice --regid=alice --init-groups lodge vm exec -j $id -- touch /tmp/go" </dev/null
wait_for 60 nothing_left
ssh n2 cat "/home/alice/slurm-$id.out"
ssh n2 lodge image verify debian-fast
[ "$(scontrol -o show job $id | grep -o 'ExitCode=[0-9:]*' | head -n 1)" = ExitCode=3:0 ]
say 'who is not of the group gets a clear no'
if as bob srun -N1 --vm-profile=big true 2>/tmp/err; then exit 1; fi
cat /tmp/err
grep -q 'may not' /tmp/err

say '7. day by day'
guide 'lodge node drain n2 --reason "memory errors"'
lodge node list
guide 'lodge node resume n2'
guide 'lodge op list'
guide 'lodge vm list --all-nodes'
say done
