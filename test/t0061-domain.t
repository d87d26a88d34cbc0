#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description="the domain XML of each libvirt type by libvirt's own schema; reservation on a made-up node"
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_prereq SCHEMA 'virt-xml-validate (libvirt-clients) or xmllint (libxml2-utils) is not installed' \
    sh -c 'command -v virt-xml-validate && command -v xmllint'
data=$LODGE_TOP_SRCDIR/test/data/domain

# test/unit/agent.tap holds what the agent writes to these very files.
for type in xen xenhvm kvm qemu lxc; do
    test_expect_success SCHEMA "type $type" '
        virt-xml-validate "$data/$type.xml" domain
    '
done
test_expect_success SCHEMA 'the schema refuses what is no domain of its' '
    sed "s/<memory /<memorie /; s,</memory>,</memorie>," "$data/xen.xml" >bad.xml &&
    test_must_fail virt-xml-validate bad.xml domain
'
test_done
