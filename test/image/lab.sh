# SPDX-License-Identifier: Apache-2.0
# The image named $image in machines of lodge-vmm on a real KVM (t3020, t3022, t3023). A real
# systemd in a machine in an emulated machine takes minutes: one image a test, one machine
# at a time, and one lab for each.
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT
lodge_skip_all_unless LAB
. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"

cat >inside <<EOF
LODGE_IMAGE_PATH=$LODGE_STATE_DIR/images
LODGE_STATE_DIR=/tmp/l/s LODGE_RUN_DIR=/run/l LODGE_CONFIG_DIR=/tmp/l/c LODGE_CACHE_DIR=/tmp/l/k
export LODGE_IMAGE_PATH LODGE_STATE_DIR LODGE_RUN_DIR LODGE_CONFIG_DIR LODGE_CACHE_DIR
mkdir -p /tmp/l # the run directory is on tmpfs, as everywhere
EOF
cat inside - >marker <<EOF
lodge image boot --vmm \$1 --timeout 1000 --memory 512M
EOF
cat inside - >clones <<EOF
CLONES_IN_TURN=1 "$LODGE_TOP_SRCDIR"/test/vm/clones hpc \$1; status=\$?
test \$status = 0 || tail -n 60 /tmp/l/s/agent.log
exit \$status
EOF
lab() { # SCRIPT IMAGE
    "$LODGE_TOP_SRCDIR"/test/lab/run --timeout 1100 --memory 2048 -- sh "$PWD/$1" $2 >out 2>&1
    lab_status=$?
    cat out >&3
    return $lab_status
}
test_expect_success "image $image" "vm_image $image"
test_expect_success "$image boots to its marker" "lab marker $image"
test_expect_success "two clones of $image run a command and share no identity" "lab clones $image"
test_done
