#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='types kvm and hpc: devices of the host in the guest'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT LAB
. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"

profile() { # TYPE DEVICES [IMAGE]
    cat <<EOF2
<?xml version="1.0"?>
<profile>
  <name>pt-$1</name>
  <type>$1</type>
  <memory>192M</memory>
  <image>${3:-debian-fast}</image>
  <devices>$2</devices>
</profile>
EOF2
}
nvme='<device class="nvme"/>'
profile kvm "$nvme" >kvm.xml
profile hpc "$nvme" >hpc.xml
profile hpc "$nvme<device class=\"net\"/>" >both.xml
profile hpc '<device address="0000:01:00.0"/>' with-ahci >msi.xml
sed 's/<name>debian-fast/<name>with-ahci/; s/linux-image-cloud/linux-image/; /max-size/d
    s/<load>/&sd_mod /; s/<modules>/&ahci /' "$LODGE_TOP_SRCDIR/images/debian-fast.xml" >with-ahci.xml
# As the administrators' guide says it is done, with the address of the lab's disk.
sed -n '/^# modprobe vfio-pci$/,/^```$/s/^# //p' "$LODGE_TOP_SRCDIR/docs/administrators.md" >guide
cat >in-guest <<'EOF2'
grep -h . /sys/bus/pci/devices/*/class
EOF2
# A disk by its driver: what the host wrote, then 8 MiB there and back past the cache.
cat >disk <<'EOF2'
set -e
disk=/dev/$1
for i in $(seq 100); do test -b $disk && break; sleep 0.1; done
echo "holds $(dd if=$disk bs=10 count=1 2>/dev/null)"
dd if=/dev/urandom of=/tmp/r bs=1M count=8 2>/dev/null
dd if=/tmp/r of=$disk bs=1M seek=1 oflag=direct 2>/dev/null
dd if=$disk of=/tmp/s bs=1M skip=1 count=8 iflag=direct 2>/dev/null
cmp /tmp/r /tmp/s && echo "same again"
awk "/$2/"' { for (i = 2; $i ~ /^[0-9]+$/; i++) n += $i } END { print (n > 0 ? "interrupts" : "none") }' /proc/interrupts
EOF2
# As the plugin asks for a job: root, for a user, who has no rights and no locked memory.
cat >for-user.py <<'EOF2'
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
said = s.makefile("r")
said.readline()
profile = json.load(sys.stdin)["data"][0]["profile"]
params = {"profile": profile, "name": "his", "uid": 64001, "gid": 64001, "wait": True}
s.sendall(json.dumps({"id": "1", "method": "vm.deploy", "params": params}).encode() + b"\n")
while True:
    m = json.loads(said.readline())
    if "error" in m:
        sys.exit(m["error"]["text"])
    if "result" in m:
        break
EOF2
cat >first <<EOF2
LODGE_IMAGE_PATH=$LODGE_STATE_DIR/images
LODGE_STATE_DIR=/tmp/l/s LODGE_RUN_DIR=/run/l LODGE_CONFIG_DIR=/tmp/l/c LODGE_CACHE_DIR=/tmp/l/k
export LODGE_IMAGE_PATH LODGE_STATE_DIR LODGE_RUN_DIR LODGE_CONFIG_DIR LODGE_CACHE_DIR
mkdir -p /tmp/l
. "$LODGE_TOP_SRCDIR/test/lab/vfio.sh"
EOF2
cat first - >inside <<EOF2
give() {
    d=\$(dirname "\$(grep -lx 0x010802 /sys/bus/pci/devices/*/class)")
    sed "s/0000:03:00.0/\${d##*/}/g" "$PWD/guide" | sh
}
for t in hpc kvm; do
    test \$t = kvm || { lodge vm start "$PWD/\$t.xml" --name early; echo "\$t not given \$?"; give; }
    lodge vm start "$PWD/\$t.xml" --name one; echo "\$t given \$?"
    lodge vm exec one sh -s <"$PWD/in-guest" | sed "s/^/\$t class /"
    lodge vm exec one sh -s nvme0n1 'nvme0q[1-9]' <"$PWD/disk" | sed "s/^/\$t disk /"
    lodge vm start "$PWD/\$t.xml" --name two; echo "\$t taken \$?"
    lodge vm checkpoint one --to /tmp/l/ck; echo "\$t checkpoint \$?"
    lodge vm pause one && lodge vm resume one; echo "\$t pause \$?"
    lodge vm exec one sh -s nvme0n1 'nvme0q[1-9]' <"$PWD/disk" | sed "s/^/\$t after /"
    lodge vm destroy -f one
    lodge vm start "$PWD/\$t.xml" --name two; echo "\$t free \$?"
    lodge vm destroy -f two
done
vfio_class 0x020000
lodge vm start "$PWD/both.xml" --name both; echo "both \$?"
lodge vm exec both sh <"$PWD/in-guest" | sed "s/^/both class /"
lodge vm exec both sh -s nvme0n1 'nvme0q[1-9]' <"$PWD/disk" | sed "s/^/both disk /"
lodge vm destroy -f both
lodge profile add "$PWD/both.xml" && lodge profile show pt-hpc --json | python3 "$PWD/for-user.py" /run/l/agent.sock; echo "user \$?"
ps -o uid=,args= -C lodge-vmm | awk '{print "user uid", \$1}'
lodge vm exec his sh -c 'for i in \$(seq 100); do ls /dev/nvme0n1 2>/dev/null && break; sleep 0.1; done' | sed "s/^/user has /"
lodge vm destroy -f his; echo "user destroy \$?"
tail -n 30 /tmp/l/s/agent.log
echo end
EOF2
cat first - >inside-msi <<EOF2
vfio_bind 0000:01:00.0
lodge vm start "$PWD/msi.xml" --name one; echo "given \$?"
lodge vm exec one sh -s sda ahci <"$PWD/disk" | sed "s/^/disk /"
lodge vm pause one && lodge vm resume one; echo "pause \$?"
lodge vm exec one sh -s sda ahci <"$PWD/disk" | sed "s/^/after /"
lodge vm stats one --json
lodge vm destroy -f one
tail -n 30 /tmp/l/s/agent.log
echo end
EOF2
test_expect_success 'an image' 'vm_image'
test_expect_success 'the lab, with an IOMMU, an NVMe disk and a network card, runs it' '
    "$LODGE_TOP_SRCDIR"/test/lab/run --timeout 1200 --memory 2048 --iommu amd -- sh "$PWD/inside" >out 2>&1; cat out >&3
    grep -qx end out
'
test_expect_success 'one that the site has not given to vfio-pci is not taken' 'grep -qx "hpc not given 69" out'
for t in hpc kvm; do
    test_expect_success "$t: the guest has it, reads and writes it, and gets its interrupts" "
        grep -qx '$t given 0' out && grep -qx '$t class 0x010802' out && grep -qx '$t disk holds lodge-nvme' out &&
        grep -qx '$t disk same again' out && grep -qx '$t disk interrupts' out
    "
    test_expect_success "$t: it is one machine's only, and its machine is not checkpointed" "
        grep -qx '$t taken 75' out && grep 'is held by VM .one.' out && grep -qx '$t checkpoint 81' out
    "
    test_expect_success "$t: it goes on after a pause" "
        grep -qx '$t pause 0' out && grep -qx '$t after same again' out
    "
    test_expect_success "$t: and is free again when that ends" "grep -qx '$t free 0' out"
done
test_expect_success 'hpc: two devices of two groups' '
    grep -qx "both 0" out && grep -qx "both class 0x010802" out && grep -qx "both class 0x020000" out &&
    grep -qx "both disk same again" out
'
test_expect_success 'hpc: for a user, whose hypervisor has no rights' '
    grep -qx "user 0" out && grep -qx "user uid 64001" out && ! grep -qx "user uid 0" out &&
    grep -qx "user has /dev/nvme0n1" out && grep -qx "user destroy 0" out
'
test_expect_success 'hpc: a device that has MSI only, behind an IOMMU of Intel; an image with its driver' '
    lodge image build with-ahci.xml || return
    "$LODGE_TOP_SRCDIR"/test/lab/run --timeout 600 --memory 2048 --iommu intel -- sh "$PWD/inside-msi" >msi 2>&1; cat msi >&3
    grep -qx end msi && grep -qx "given 0" msi && grep -qx "disk holds lodge-sata" msi &&
    grep -qx "disk same again" msi && grep -qx "disk interrupts" msi &&
    grep -qx "pause 0" msi && grep -qx "after same again" msi
'
test_done
