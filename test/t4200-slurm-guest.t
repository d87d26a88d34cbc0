#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='the demonstration: srun and sbatch in real guests on a private Slurm'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless SLURM ROOT PLUGIN LIBVIRT QEMU

. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"
PATH=$LODGE_TOP_BUILDDIR:$PATH
mkdir -p "$LODGE_TEST_TMP/demo" && chmod 755 "$LODGE_TEST_TMP/demo"
images() { vm_image && vm_image mpi-guest; }
lodge_prereq MPICC 'mpicc is missing: apt-get install libopenmpi-dev' command -v mpicc
lodge_skip_all_unless MPICC
lodge_prereq IMAGE 'images cannot be built: no mmdebstrap, erofs-utils or package mirror' images
lodge_skip_all_unless IMAGE

# By its number: another run on this machine has clusters, too.
LODGE_CLUSTER_NUMBER=$$
export LODGE_CLUSTER_NUMBER
left() { # what the private cluster of this test made on this machine
    ip -o link | grep -oE " l[bvp]$$(n[0-9]+)?\b" | sort -u
    find /sys/fs/cgroup -maxdepth 2 -name "lodge$$-n[0-9]" 2>/dev/null | sort
    findmnt -rno TARGET | grep "^$LODGE_TEST_TMP" || :
}
left >before

test_expect_success 'srun -N2 in machines of their own, an MPI program in one, and their time lines' '
    LODGE_DEMO_DIR=$LODGE_TEST_TMP/demo timeout 600 "$LODGE_TOP_SRCDIR/test/slurm/demo" >out 2>&1 ||
        { cat out; false; }
'
test_expect_success 'each node had its own host name, and the kernel of the image' '
    grep -c "^uid=0(root)" out >n && echo 2 >want && test_cmp want n &&
    grep -q "pi is about 3.141592654" out && grep -q "^rank 0 of 2 on n1-2" out && grep -q "^rank 1 of 2 on n1-2" out
'
test_expect_success 'the time until each machine was ready is told' '
    grep -q "ms    machine on n1: ready" out
'
test_expect_success 'nothing is left: no link, cgroup or mount' '
    left >after && comm -13 before after >new && test_must_be_empty new
'
test_done
