#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='type kvm: a device of the host in the guest'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT LAB
. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"

cat >pt.xml <<'EOF2'
<?xml version="1.0"?>
<profile>
  <name>pt</name>
  <type>kvm</type>
  <memory>192M</memory>
  <image>debian-fast</image>
  <devices><device class="nvme"/></devices>
</profile>
EOF2
cat >inside <<EOF2
LODGE_IMAGE_PATH=$LODGE_STATE_DIR/images
LODGE_STATE_DIR=/tmp/l/s LODGE_RUN_DIR=/run/l LODGE_CONFIG_DIR=/tmp/l/c LODGE_CACHE_DIR=/tmp/l/k
export LODGE_IMAGE_PATH LODGE_STATE_DIR LODGE_RUN_DIR LODGE_CONFIG_DIR LODGE_CACHE_DIR
mkdir -p /tmp/l
. "$LODGE_TOP_SRCDIR/test/lab/vfio.sh"
lodge vm start "$PWD/pt.xml" --name early; echo "not given \$?"
vfio_nvme
lodge vm start "$PWD/pt.xml" --name one; echo "given \$?"
lodge vm exec one sh -c 'grep -h . /sys/bus/pci/devices/*/class' | grep -x 0x010802
lodge vm start "$PWD/pt.xml" --name two; echo "taken \$?"
lodge vm checkpoint one --to /tmp/l/ck; echo "checkpoint \$?"
lodge vm destroy -f one
lodge vm start "$PWD/pt.xml" --name two; echo "free \$?"
lodge vm destroy -f two
tail -n 30 /tmp/l/s/agent.log
echo end
EOF2
test_expect_success 'an image' 'vm_image'
test_expect_success 'the lab, with an IOMMU and an NVMe disk, runs it' '
    "$LODGE_TOP_SRCDIR"/test/lab/run --timeout 900 --memory 2048 --iommu amd -- sh "$PWD/inside" >out 2>&1; cat out >&3
    grep -qx end out
'
test_expect_success 'one that the site has not given to vfio-pci is not taken' 'grep -qx "not given 69" out'
test_expect_success 'the guest has it' 'grep -qx "given 0" out && grep -qx 0x010802 out'
test_expect_success 'it is one machine'"'"'s only, and its machine is not checkpointed' '
    grep -qx "taken 75" out && grep "is held by VM .one." out && grep -qx "checkpoint 81" out
'
test_expect_success 'and free again when that ends' 'grep -qx "free 0" out'
test_done
