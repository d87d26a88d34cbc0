#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='types hpc and kvm on a real KVM: the same machine, only the word changed'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT LAB
. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"

cat >inside <<EOF
LODGE_IMAGE_PATH=\${LODGE_IMAGE_PATH:-$LODGE_STATE_DIR/images}
LODGE_STATE_DIR=/tmp/l/s LODGE_RUN_DIR=/run/l LODGE_CONFIG_DIR=/tmp/l/c LODGE_CACHE_DIR=/tmp/l/k
export LODGE_IMAGE_PATH LODGE_STATE_DIR LODGE_RUN_DIR LODGE_CONFIG_DIR LODGE_CACHE_DIR
mkdir -p /tmp/l # the run directory is on tmpfs, as everywhere
time lodge run --timings debian-fast -- sh -c 'uname -r; id; cat /etc/hostname; exit 3'; echo "status \$?"
"$LODGE_TOP_SRCDIR"/test/vm/conform hpc; echo "hpc \$?"
"$LODGE_TOP_SRCDIR"/test/vm/conform kvm; echo "kvm \$?"
tail -n 60 /tmp/l/s/agent.log
EOF
test_expect_success 'an image' 'vm_image'
test_expect_success 'the lab runs it' '
    "$LODGE_TOP_SRCDIR"/test/lab/run --timeout 1500 --memory 3072 -- sh "$PWD/inside" >out 2>&1; cat out >&3
    grep -q "^kvm " out
'
test_expect_success 'lodge run: auto is hpc, the status is the command'"'"'s' '
    grep -qx "status 3" out && grep -q "cloud-amd64" out
'
test_expect_success 'all of hpc' 'grep -qx "hpc 0" out'
test_expect_success 'all of kvm' 'grep -qx "kvm 0" out'
test_done
