#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='random kill -9 with lodge-vmm among the victims, in huge pages, on a real KVM'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT LAB
. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"
kills=${LODGE_TEST_KILLS:-20}

cat >inside <<EOF
LODGE_IMAGE_PATH=\${LODGE_IMAGE_PATH:-$LODGE_STATE_DIR/images}
LODGE_STATE_DIR=/tmp/l/s LODGE_RUN_DIR=/run/l LODGE_CONFIG_DIR=/tmp/l/c LODGE_CACHE_DIR=/tmp/l/k
export LODGE_IMAGE_PATH LODGE_STATE_DIR LODGE_RUN_DIR LODGE_CONFIG_DIR LODGE_CACHE_DIR
mkdir -p /tmp/l
KILL_PAGES=2M "$LODGE_TOP_SRCDIR"/test/vm/kills $kills hpc; echo "kills \$?"
EOF
test_expect_success 'an image' 'vm_image'
test_expect_success "$kills kills under a mixed load, type hpc" '
    "$LODGE_TOP_SRCDIR"/test/lab/run --timeout 1500 --memory 3072 --hugepages 2M=320 -- sh "$PWD/inside" >out 2>&1
    cat out >&3
    grep -qx "kills 0" out
'
test_done
