#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='the demonstration: srun and sbatch in real guests on a private Slurm'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless SLURM
lodge_skip_all_unless ROOT
lodge_prereq PLUGIN 'built without Slurm' test -f "$LODGE_TOP_BUILDDIR/plugins/slurm/.libs/lodge.so"
lodge_skip_all_unless PLUGIN
lodge_skip_all_unless LIBVIRT
lodge_prereq QEMU 'qemu-system-x86_64 is missing' command -v qemu-system-x86_64
lodge_skip_all_unless QEMU

# Packages that t1010 fetched serve here, too.
keep=${LODGE_TEST_IMAGE_CACHE:-$lodge_home/.cache/lodge/test-images}
mkdir -p "$keep/debs" "$LODGE_CACHE_DIR/images" "$LODGE_TEST_TMP/demo"
ln -s "$keep/debs" "$LODGE_CACHE_DIR/images/debs"
chmod 755 "$LODGE_TEST_TMP/demo"
lodge_prereq IMAGE 'debian-fast cannot be built: no mmdebstrap, erofs-utils or package mirror' \
    "$LODGE_TOP_BUILDDIR/lodge" image build "$LODGE_TOP_SRCDIR/images/debian-fast.xml"
lodge_skip_all_unless IMAGE

left() { # what the private clusters of this test made on this machine
    ip -o link | grep -oE ' l[bvp][0-9]+(n[0-9]+)?\b' | sort -u
    find /sys/fs/cgroup -maxdepth 2 -name 'lodge[0-9]*-n[0-9]' 2>/dev/null | sort
    findmnt -rno TARGET | grep "^$LODGE_TEST_TMP" || :
}
left >before

test_expect_success 'srun -N2 and sbatch -N2 in machines of their own, and their time lines' '
    LODGE_DEMO_DIR=$LODGE_TEST_TMP/demo timeout 600 "$LODGE_TOP_SRCDIR/test/slurm/demo" >out 2>&1 ||
        { cat out; false; }
'
test_expect_success 'each node had its own host name, and the kernel of the image' '
    grep -c "^uid=0(root)" out >n && echo 2 >want && test_cmp want n &&
    grep -q "pi is about 3.141592654" out
'
test_expect_success 'the time until each machine was ready is told' '
    grep -q "ms    machine on n1: ready" out && grep -q "ms    machine on n2: ready" out
'
test_expect_success 'nothing is left: no link, cgroup or mount' '
    left >after && comm -13 before after >new && test_must_be_empty new
'
test_done
