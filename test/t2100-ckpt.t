#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='checkpoints of type qemu: memory, file and disk of one instant; damage, kills, a full disk'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT
. "$LODGE_TOP_SRCDIR/test/agent.sh"
. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"
lodge_skip_all_unless QEMU
moments=${LODGE_CKPT_MOMENTS:-3}

cat >m.xml <<E2
<?xml version="1.0"?>
<profile>
  <name>m</name>
  <type>qemu</type>
  <memory>192M</memory>
  <image>debian-fast</image>
  <limits scratch="128M"/>
  <disks><disk id="raw" size="8M"/></disks>
  <nics><nic type="isolated" network="inside"/></nics>
</profile>
E2
# Appends numbered records with fsync, to a file and to the bare disk; the last number is
# in its memory only, and file and disk must always be just as long as that says.
cat >writer <<'E2'
use IO::Handle; use Fcntl;
open F, ">>", "/records" or die; sysopen D, "/dev/vdc", O_RDWR or die;
for ($n = 1;; $n++) {
    $line = sprintf "%08d %08x\n", $n, ($n * 2654435761) & 0xffffffff;
    syswrite F, $line; F->sync;
    sysseek D, 0, 0; syswrite D, $line; D->sync;
    if (-s F != 18 * $n) { open B, ">", "/bad"; print B "$n\n"; close B; }
    select undef, undef, undef, 0.02;
}
E2
# In the guest: are all records there, each once, and does the disk have the last?
cat >reader <<'E2'
$pid = `cat /run/writer` + 0;
END { kill "CONT", $pid }
kill "STOP", $pid;
open F, "<", "/records" or die;
while (<F>) {
    $n++;
    die "record $n: $_" if $_ ne sprintf "%08d %08x\n", $n, ($n * 2654435761) & 0xffffffff;
}
die "the writer found the file of another length" if -e "/bad";
open D, "<", "/dev/vdc"; read D, $line, 18;
die "disk has $line, file $n" if abs($n - substr($line, 0, 8)) > 1;
print "$n\n";
E2
count() { # NAME
    lodge vm exec "$1" perl /run/reader
}

agent --verbose
test_expect_success 'a machine with a writer' '
    vm_image && lodge vm start m.xml --name m && lodge vm cp writer m:/run/writer.pl &&
    lodge vm cp reader m:/run/reader &&
    lodge vm exec m sh -c "setsid perl /run/writer.pl >/dev/null 2>&1 </dev/null & echo \$! >/run/writer" &&
    for i in $(seq 200); do n=$(count m) && test "$n" -gt 3 && return; sleep 0.5; done; false
'
test_expect_success "it goes on, and each of $moments checkpoints is whole" '
    for i in $(seq $moments); do
        sleep 0.$(shuf -i 0-9 -n 1) && before=$(count m) &&
        lodge vm checkpoint m --continue --to c$i && lodge ckpt verify c$i &&
        echo $before >before$i && test "$(count m)" -ge $before || return 1
    done
'
test_expect_success 'each comes back: memory, file and disk agree, it goes on, the file system is clean' '
    for i in $(seq $moments); do
        lodge vm restore c$i --name r$i && n=$(count r$i) && test $n -ge $(cat before$i) &&
        for k in $(seq 100); do test "$(count r$i)" -gt $n && break; sleep 0.3; done &&
        test "$(count r$i)" -gt $n &&
        lodge vm exec r$i sh -c "kill \$(cat /run/writer); sync; fsfreeze -f /run/lodge/scratch" &&
        id=$(lodge vm list --noheader --raw -o name,id | awk -v n=r$i "\$1 == n { print \$2 }") &&
        e2fsck -fn "$LODGE_STATE_DIR/scratch/$id.raw" && lodge vm destroy -f r$i || return 1
    done
'
test_expect_success 'a clone is somebody else, and has the right time' '
    who() { lodge vm exec $1 sh -c "hostname; cat /etc/machine-id /sys/class/net/eth0/address"; } &&
    lodge vm restore c1 --name clone && who m >one && who clone >two && test "$(wc -l <two)" = 3 &&
    test "$(cat one two | sort -u | wc -l)" = 6 &&
    off=$(($(lodge vm exec clone date +%s) - $(date +%s))) && test $off -ge -5 && test $off -le 5 &&
    test "$(lodge vm exec clone od -An -tx8 -N16 /dev/urandom)" != "$(lodge vm exec m od -An -tx8 -N16 /dev/urandom)" &&
    lodge vm destroy -f clone
'
test_expect_success 'bytes flipped, files cut: refused with the reason, never half a machine' '
    for file in qemu disks/lodge-scratch disks/raw; do
        size=$(stat -c %s c1/$file) &&
        for at in 0 100 $((size / 3)) $((size - 1)); do
            rm -rf bad && cp -r --sparse=always c1 bad &&
            byte=$(od -An -tu1 -j$at -N1 c1/$file | tr -d " ") &&
            printf "\\$(printf %03o $((byte ^ 16)))" |
                dd of=bad/$file bs=1 seek=$at conv=notrunc status=none &&
            test_must_fail lodge ckpt verify bad 2>said && grep -q "$file.*between" said &&
            test_must_fail lodge vm restore bad --name bad 2>said && grep -q "$file.*damaged" said &&
            lodge vm destroy -f bad || { cat said; return 1; }
        done
        truncate -s $((size / 2)) bad/$file && test_must_fail lodge vm restore bad --name bad &&
        lodge vm destroy -f bad || return 1
    done &&
    ! lodge vm list --noheader | grep -q "^bad"
'
test_expect_success 'the disk is full: it goes on, nothing is left' '
    mkdir full && mount -t tmpfs -o size=12M,mode=755 full full && test_when_finished "umount full" &&
    test_must_fail lodge vm checkpoint m --to full/x 2>said && cat said && test "$(wc -l <said)" = 1 &&
    ! test -e full/x && test "$(state m)" = running && count m
'
test_expect_success 'the worker is killed: it goes on, nothing is left' '
    for wait in 0.1 0.4 0.8; do
        { lodge vm checkpoint m --to k 2>said & } && asked=$! && until_state m checkpointing &&
        sleep $wait && kill -9 $(pgrep -P $agent_pid); wait $asked; until_state m running &&
        n=$(count m) && { test -e k/manifest.json || ! test -e k; } && rm -rf k || return 1
    done
'
test_expect_success 'the agent is killed: the next one lets it go on and cleans' '
    { lodge vm checkpoint m --to k 2>said & } && until_state m checkpointing && kill -9 $agent_pid &&
    wait $agent_pid; agent --verbose && until_state m running && count m && { test -e k/manifest.json || ! test -e k; }
'
test_expect_success 'stopped and restored it is the same machine' '
    n=$(count m) && who m >one && lodge vm checkpoint m --stop --to s && test "$(state m)" = gone &&
    lodge vm restore s && who m >two && test_cmp one two && test "$(count m)" -ge $n
'
test_expect_success 'a share of the host is no part of a checkpoint: refused' '
    sed "s#<nics>#<shares><share source=\"$PWD\" target=\"/mnt/x\"/></shares><nics>#; s#<nics>.*</nics>##" m.xml |
        sed "s#<shares>#<shares>#" >share.xml && grep -q shares share.xml &&
    lodge vm start share.xml --name sh && test_must_fail lodge vm checkpoint sh --to sh1 2>said &&
    grep -q "host.s directory" said && lodge vm destroy -f sh
'
lodge vm destroy -f m >/dev/null 2>&1
kill $agent_pid
test_done
