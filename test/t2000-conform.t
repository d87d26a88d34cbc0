#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='the same machine of each type this host has: boot, exec, console, shares, ends'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT
. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"
lodge_prereq LXC 'libvirt has no LXC driver' test -x /usr/lib/libvirt/libvirt_lxc

test_expect_success 'an image' 'vm_image'
test_expect_success 'type fake' '"$LODGE_TOP_SRCDIR"/test/vm/conform fake >&3'
test_expect_success LXC 'type lxc' '"$LODGE_TOP_SRCDIR"/test/vm/conform lxc >&3'
test_expect_success QEMU 'type qemu' '"$LODGE_TOP_SRCDIR"/test/vm/conform qemu >&3'
test_done
