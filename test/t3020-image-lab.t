#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='each image we ship, in machines of lodge-vmm on a real KVM'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT
lodge_skip_all_unless LAB
. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"

cat >inside <<EOF
LODGE_IMAGE_PATH=$LODGE_STATE_DIR/images
LODGE_STATE_DIR=/tmp/l/s LODGE_RUN_DIR=/run/l LODGE_CONFIG_DIR=/tmp/l/c LODGE_CACHE_DIR=/tmp/l/k
export LODGE_IMAGE_PATH LODGE_STATE_DIR LODGE_RUN_DIR LODGE_CONFIG_DIR LODGE_CACHE_DIR
mkdir -p /tmp/l # the run directory is on tmpfs, as everywhere
lodge image boot --vmm \$1 --timeout 600 --memory 512M && echo "booted \$1" || exit 1
"$LODGE_TOP_SRCDIR"/test/vm/clones hpc \$1; status=\$?
test \$status = 0 || tail -n 60 /tmp/l/s/agent.log
exit \$status
EOF
for image in debian-fast debian-guest mpi-guest; do
    test_expect_success "image $image" "vm_image $image"
    test_expect_success "clones of $image" '
        "$LODGE_TOP_SRCDIR"/test/lab/run --timeout 900 --memory 3072 -- sh "$PWD/inside" '$image' >out 2>&1
        status=$?; cat out >&3; test $status = 0
    '
done
test_done
