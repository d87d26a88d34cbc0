#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='each image we ship: two machines of it run a command and share no identity'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT
. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"
lodge_skip_all_unless QEMU

for image in debian-fast debian-guest mpi-guest; do
    test_expect_success "image $image" "vm_image $image"
    test_expect_success "clones of $image" '
        "$LODGE_TOP_SRCDIR"/test/vm/clones qemu '$image' >out 2>&1; status=$?; cat out >&3; test $status = 0
    '
done
test_done
