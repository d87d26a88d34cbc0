#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# More of them: LODGE_CKPT_MOMENTS=100. t3310 does the same with type hpc.
test_description='type qemu: a working machine comes back from checkpoints at random moments'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT
. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"
lodge_skip_all_unless QEMU
moments=${LODGE_CKPT_MOMENTS:-5}

test_expect_success 'an image' 'vm_image'
test_expect_success "memory, file, disk and connection of $moments moments" '
    mkdir -p "$LODGE_RUN_DIR" && "$LODGE_TOP_SRCDIR"/test/vm/moments qemu $moments "$LODGE_TEST_TMP" >out 2>&1
    cat out >&3; grep -qx "moments: $moments, violations: 0" out || { tail -n 40 "$LODGE_STATE_DIR/agent.log"; false; }
'
test_done
