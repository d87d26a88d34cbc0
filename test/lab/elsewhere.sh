#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# elsewhere.sh IMAGES [SHAPE...]: runs on n1 of two lab machines. A machine of type hpc works on n1,
# is checkpointed while it goes on, ends; the checkpoint is carried to n2 and comes back there, with
# n2's directory as its share. IMAGES is a store; a SHAPE is VCPUS:PAGE:MEMORY:IMAGE.
# Prints a line a shape; the status is the number of failures.
B=$LODGE_TOP_BUILDDIR S=$LODGE_TOP_SRCDIR
PATH=$B:$PATH
LODGE_IMAGE_PATH=$1
shift
[ $# -gt 0 ] || set -- 1:4K:192M:debian-fast 4:4K:192M:debian-fast 4:2M:256M:debian-fast 1:1G:1024M:debian-fast
unset LODGE_CACHE_DIR || :
export LODGE_IMAGE_PATH LODGE_LIBEXEC_DIR=$B LODGE_DATA_DIR=$S LODGE_STATE_DIR=/tmp/l/s LODGE_RUN_DIR=/run/l LODGE_CONFIG_DIR=/tmp/l/c
envs="LODGE_IMAGE_PATH=$LODGE_IMAGE_PATH LODGE_LIBEXEC_DIR=$B LODGE_DATA_DIR=$S LODGE_STATE_DIR=/tmp/l/s LODGE_RUN_DIR=/run/l LODGE_CONFIG_DIR=/tmp/l/c"
failed=0
mkdir -p /tmp/l
there() { ssh n2 "export $envs PATH=$B:/usr/sbin:/usr/bin:/sbin:/bin; $*"; }
mkdir -p /tmp/l/share && echo n1 >/tmp/l/share/where
there "mkdir -p /tmp/l/share && echo n2 >/tmp/l/share/where" </dev/null

# A number in memory, appended to a file and put on a bare disk at each step.
cat >/tmp/l/count <<'EOF'
n=0
while :; do
    n=$((n + 1))
    echo $n >>/root/numbers
    printf '%08d' $n | dd of=$(ls /dev/vd? | tail -n 1) conv=notrunc,fsync status=none
    sleep 0.2
done
EOF
cat >/tmp/l/look <<'EOF'
kill -STOP $(cat /run/count.pid)
sleep 0.3
n=$(tail -n 1 /root/numbers) k=$(wc -l </root/numbers)
echo 3 >/proc/sys/vm/drop_caches
d=$(head -c 8 $(ls /dev/vd? | tail -n 1))
kill -CONT $(cat /run/count.pid)
case $((10#$d - n)) in 0 | -1) ;; *) echo "disk $d, file $n"; exit 1 ;; esac
[ "$n" = "$k" ] || { echo "last $n, of $k lines"; exit 1; }
[ $(grep -c ^processor /proc/cpuinfo) = "$1" ] || { echo "CPUs"; exit 1; }
[ $(ls -d /sys/block/vda/mq/[0-9]* | wc -l) = "$1" ] || { echo "queues of a disk"; exit 1; }
[ $(ls -d /sys/class/net/eth0/queues/rx-* | wc -l) = "$1" ] || { echo "queues of the network card"; exit 1; }
grep -q ' /run/lodge/scratch ext4 ' /proc/mounts || { echo "no scratch disk"; exit 1; }
dd if=/dev/hwrng bs=16 count=1 status=none 2>/dev/null | grep -q . || [ ! -e /dev/hwrng ] || { echo "rng"; exit 1; }
echo $n
EOF
# On the other node: VCPUS RECORDS-BEFORE MACHINE-ID
cat >/tmp/l/back <<'EOF'
look() { lodge vm exec far bash /run/look "$1"; }
lodge vm restore /tmp/l/ck && n=$(look $1) && echo "$n records there, $2 before" && [ "$n" -ge "$2" ] &&
    [ "$(lodge vm exec far cat /etc/machine-id)" = "$3" ] &&
    [ "$(lodge vm exec far cat /mnt/share/where)" = n2 ] && sleep 2 && [ "$(look $1)" -gt "$n" ]
r=$?
lodge vm list
lodge vm destroy -f far
rm -rf /tmp/l/ck
exit $r
EOF
profile() { # VCPUS PAGE MEMORY IMAGE
    cat <<EOF
<?xml version="1.0"?>
<profile>
  <name>far</name>
  <type>hpc</type>
  <memory page="$2">$3</memory>
  <cpu count="$1"/>
  <image>$4</image>
  <limits scratch="32M"/>
  <disks><disk id="raw" size="1M"/></disks>
  <nics><nic type="isolated" network="inside" queues="$1"/></nics>
  <shares><share source="/tmp/l/share" target="/mnt/share"/></shares>
  <checkpoint policy="manual" shares="remount"/>
</profile>
EOF
}
one() { # VCPUS PAGE MEMORY IMAGE
    profile "$@" >/tmp/l/p.xml && lodge vm start /tmp/l/p.xml &&
        test "$(lodge vm exec far cat /mnt/share/where)" = n1 && lodge vm cp /tmp/l/count far:/run/count && lodge vm cp /tmp/l/look far:/run/look &&
        lodge vm exec far sh -c 'setsid bash /run/count >/dev/null 2>&1 </dev/null & echo $! >/run/count.pid; sleep 2' &&
        before=$(lodge vm exec far bash /run/look $1) && rm -rf /tmp/l/ck &&
        lodge vm checkpoint far --continue --to /tmp/l/ck && lodge ckpt verify /tmp/l/ck &&
        lodge vm exec far bash /run/look $1 && who=$(lodge vm exec far cat /etc/machine-id) &&
        lodge vm destroy -f far || return 1
    # One login a shape: each costs seconds here.
    tar -C /tmp/l -S -cf - ck back | there "tar -C /tmp/l -S -xf - && sh /tmp/l/back $1 $before $who </dev/null"
}
for shape; do
    if one $(echo $shape | tr : ' '); then
        echo "ok $shape comes back on another node"
    else
        echo "not ok $shape comes back on another node"
        failed=$((failed + 1))
        lodge vm destroy -f far 2>/dev/null
    fi
done
tail -n 20 /tmp/l/s/agent.log
there tail -n 20 /tmp/l/s/agent.log
echo "elsewhere $failed"
exit $failed
