#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='debian-fast, the quick image, in machines of lodge-vmm on a real KVM'
image=debian-fast
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/image/lab.sh"
