#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='whole machines in all sizes: both kernels, 1 and 4 vCPUs, pages of 4K, 2M, 1G'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless LAB
. "$LODGE_TOP_SRCDIR/test/guests/lib.sh"

test_expect_success 'guests are made of the full and of the cloud kernel' guests_make

for kernel in cloud full; do
    test_expect_success "$kernel kernel, 4K and 2M; each end has its own status" "
        guests_try $kernel --hugepages 2M=200 -- whole_1x4K whole_4x4K whole_1x2M whole_4x2M ends
    "
    test_expect_success "$kernel kernel, 1G" "
        guests_try $kernel --memory 2800 --hugepages 1G=1 -- whole_1x1G whole_4x1G
    "
done

test_done
