#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='mpi-guest, the image with Open MPI, in machines of lodge-vmm on a real KVM'
image=mpi-guest
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/image/lab.sh"
