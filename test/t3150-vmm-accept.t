#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='whole machines: the full kernel, a pause, kill -9, NUMA and 1G pages'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless LAB
. "$LODGE_TOP_SRCDIR/test/guests/lib.sh"

test_expect_success 'guests are made of the full and of the cloud kernel' guests_make

test_expect_success 'full kernel, 4 vCPUs, 2M: files on disk and share equal after a reboot; 100 MB; ends' '
    guests_try full --hugepages 2M=200 -- whole_4x2M ends
'

test_expect_success 'a pause of 10 s; kill -9 of an unprivileged machine' '
    guests_try cloud --hugepages 2M=100 -- pause kill_unprivileged
'

test_expect_success 'NUMA: a 1G page a node, one run each; one page short is refused; the guest sees it' '
    guests_try cloud --numa --memory 8192 --hugepages 1G=2 -- numa_1G numa_guest
'

test_done
