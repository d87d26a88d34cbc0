#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='debian-guest, the image with systemd and sshd, in machines of lodge-vmm on a real KVM'
image=debian-guest
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/image/lab.sh"
