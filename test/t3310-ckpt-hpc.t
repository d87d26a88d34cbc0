#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='types hpc and kvm on a real KVM: all ways to keep a machine, clones of a frozen image, random moments'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT LAB
. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"
moments=${LODGE_CKPT_MOMENTS:-100}
clones=${LODGE_CLONES:-8}
others=${LODGE_CKPT_KVM:-5} # type kvm, whose QEMU is saved by libvirt

cat >inside <<EOF
LODGE_IMAGE_PATH=$LODGE_STATE_DIR/images
LODGE_STATE_DIR=/tmp/l/s LODGE_RUN_DIR=/run/l LODGE_CONFIG_DIR=/tmp/l/c LODGE_CACHE_DIR=/tmp/l/k
export LODGE_IMAGE_PATH LODGE_STATE_DIR LODGE_RUN_DIR LODGE_CONFIG_DIR LODGE_CACHE_DIR
mkdir -p /tmp/l
"$LODGE_TOP_SRCDIR"/test/vm/keeps /tmp/l; echo "keeps \$?"
"$LODGE_TOP_SRCDIR"/test/vm/thaws hpc $clones /tmp/l; echo "thaws \$?"
"$LODGE_TOP_SRCDIR"/test/vm/moments hpc $moments /tmp/l; echo "moments \$?"
"$LODGE_TOP_SRCDIR"/test/vm/moments kvm $others /tmp/l; echo "kvm moments \$?"
tail -n 60 /tmp/l/s/agent.log
EOF
test_expect_success 'an image' 'vm_image'
# One boot of the lab for all.
test_expect_success 'the lab runs it' '
    "$LODGE_TOP_SRCDIR"/test/lab/run --timeout $((900 + 30 * moments)) --memory 3072 -- sh "$PWD/inside" >out 2>&1
    cat out >&3; grep -q "^kvm moments " out
'
test_expect_success 'children, compressed, read, mapped, by faults; shares mounted again' '
    grep -qx "keeps 0" out
'
test_expect_success "$clones machines thawed at once: each somebody else, memory shared" '
    grep -qx "thaws 0" out
'
test_expect_success "memory, file, disk and connection of $moments moments" '
    grep -qx "moments: $moments, violations: 0" out
'
test_expect_success "type kvm: the same of $others moments" '
    grep -qx "kvm moments 0" out && grep -qx "moments: $others, violations: 0" out
'
test_done
