#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='the KVM, the IOMMU and the network of the lab are real'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless LAB
lab=$LODGE_TOP_SRCDIR/test/lab/run
TMPDIR=$LODGE_TEST_TMP
export TMPDIR

# One boot each; what follows looks at its output.
test_expect_success 'a machine with huge pages runs the tiny guests' '
    "$lab" --memory 2800 --hugepages 2M=32,1G=1 sh -c "
        \"$LODGE_TOP_BUILDDIR/test/lab/selftest\"; status=\$?
        lodge node check -P
        exit \$status" >kvm
'

for check in api pio mmio hlt hlt-irqchip smp dirty-log userfaultfd 2m-pages 1g-pages; do
    test_expect_success "KVM in the lab: $check" "
        grep '^ok [0-9]* - $check\$' kvm || { grep -B 1 ' - $check\$' kvm; false; }
    "
done

test_expect_success 'lodge node check says real, AMD-V, NPT' '
    grep "FACT=\"kvm\" GRADE=\"ok\" TEXT=\"real" kvm &&
    grep "FACT=\"extensions\" GRADE=\"ok\" TEXT=\"AMD-V" kvm &&
    grep "FACT=\"nested-paging\" GRADE=\"ok\" TEXT=\"NPT is on" kvm &&
    grep "FACT=\"types\" GRADE=\"ok\" TEXT=\".* hpc" kvm
'

test_expect_success 'NUMA nodes, an IOMMU, a disk bound to vfio-pci' '
    "$lab" --iommu intel --numa --hugepages 2M=8 sh -c "
        . \"$LODGE_TOP_SRCDIR/test/lab/vfio.sh\"
        address=\$(vfio_nvme) &&
        \"$LODGE_TOP_BUILDDIR/test/lab/selftest\" vfio \$address &&
        lodge node check -P" >iommu &&
    grep "^ok 1 - vfio" iommu &&
    grep "FACT=\"numa-0\" .*2M pages: 4, 4 free" iommu &&
    grep "FACT=\"numa-1\" .*2M pages: 4, 4 free" iommu &&
    grep "FACT=\"iommu\" GRADE=\"ok\"" iommu
'

test_expect_success 'two nodes ping and ssh; the status comes from the first' '
    test_expect_code 3 "$lab" --nodes 2 sh -c "
        ping -c 1 -W 20 n2 >/dev/null && echo ping-ok
        ssh n2 hostname
        ssh n2 ssh n1 hostname
        exit 3" >nodes &&
    printf "ping-ok\nn2\nn1\n" >want &&
    test_cmp want nodes
'

test_done
