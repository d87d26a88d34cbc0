#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='profiles and clusters from the command line, as issue 3 promises'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"

data=$LODGE_TOP_SRCDIR/test/data/profile
schema=$LODGE_TOP_SRCDIR/schema
lodge_prereq XMLLINT 'xmllint is missing: apt-get install libxml2-utils' xmllint --version

test_expect_success "V3M's example, back ends and NIC types: import, show, export" '
    for file in "$data"/pass-v3m-*.xml; do
        name=$(sed -n "s|.*<name>\(.*\)</name>.*|\1|p" "$file") &&
        lodge profile add "$file" 2>warnings &&
        lodge profile show "$name" >out && grep -q "^type " out &&
        lodge profile export "$name" >out && test_cmp "$file" out &&
        lodge profile export --v3m "$name" >v3m.xml || return 1
    done
'

test_expect_success XMLLINT 'every export of a V3M profile is valid against the V3M DTD' '
    lodge profile list --raw --noheader -o name,origin | while read -r name origin; do
        test "$origin" = own || continue
        for v3m in "" --v3m; do
            lodge profile export $v3m "$name" >"$name.xml" &&
            xmllint --nonet --noout --dtdvalid "$schema/v3m_profile.dtd" "$name.xml" \
                2>err || return 1
        done
    done
'

test_expect_success XMLLINT 'what passes is valid against the schema by another tool too' '
    for file in "$data"/pass-*.xml "$LODGE_TOP_SRCDIR"/profiles/*.xml; do
        xmllint --nonet --noout --schema "$schema/profile.xsd" "$file" 2>>err || return 1
    done
'

test_expect_success 'VMWare is refused with a way out' '
    test_expect_code 65 lodge profile add "$data/fail-type-vmware.xml" 2>err &&
    grep -q "VMware is not supported; use kvm" err
'

test_expect_success 'all errors are told, with file and line, and an exit status' '
    (cd "$data" && test_expect_code 65 lodge profile check --offline fail-many.xml) 2>err &&
    cat "$data/fail-many.ok" >expected &&
    echo "lodge: 5 errors; see lodge-profile(5)" >>expected &&
    test_cmp expected err
'

test_expect_success '100 MB, a pipe that never ends and a missing file are refused quickly' '
    truncate -s 100M big.xml &&
    test_must_fail timeout 5 lodge profile check big.xml 2>err &&
    yes "<a>" | test_must_fail timeout 5 lodge profile check - 2>>err &&
    test_expect_code 66 lodge profile check ./none.xml 2>>err
'

test_expect_success 'the shipped profiles and clusters are all fine and keep their names' '
    for file in "$LODGE_TOP_SRCDIR"/profiles/*.xml; do
        kind=profile && ! grep -q "<cluster>" "$file" || kind=cluster
        lodge $kind check --offline "$file" &&
        lodge $kind show "$(basename "$file" .xml)" >out || return 1
    done
'

test_expect_success 'list: columns, JSON, -P, --noheader' '
    lodge profile list debian-kvm debian-qemu --noheader --raw -o name,type >out &&
    printf "debian-kvm kvm\ndebian-qemu qemu\n" >expected && test_cmp expected out &&
    lodge profile list tiny -P -o name >out && echo "NAME=\"tiny\"" >expected &&
    test_cmp expected out &&
    lodge profile list tiny --json >out && grep -q "\"schema\": 1" out &&
    grep -q "\"memory_bytes\": 134217728" out &&
    lodge profile list -o +description tiny | grep -q DESCRIPTION
'

test_expect_success 'resolved shows every field with its default' '
    lodge profile show --resolved tiny --raw --noheader >out &&
    grep -q "^ready_ms 2m 2m" out && grep -q "^memory_bytes 128M 512M" out
'

test_expect_success 'unknown names suggest the nearest' '
    test_expect_code 66 lodge profile show tinny 2>err && grep -q "did you mean .tiny" err &&
    test_expect_code 64 lodge profile lsit 2>err && grep -q "did you mean .list" err &&
    test_expect_code 64 lodge profile list --nohead3r 2>err &&
    grep -q "did you mean .--noheader" err &&
    test_expect_code 64 lodge profile list -o nam 2>err && grep -q "did you mean .name" err &&
    test_expect_code 66 lodge profile history tinny 2>err && grep -q "did you mean .tiny" err
'

test_expect_success 'what is asked for in vain is named' '
    test_expect_code 66 lodge profile list nosuch 2>err && grep -q "no profile .nosuch." err &&
    test_expect_code 66 lodge profile list tiny --type xen 2>err && grep -q "of type .xen." err &&
    test_expect_code 64 lodge profile list --type bogus 2>err && ! grep -q "did you mean" err &&
    test_expect_code 66 lodge profile history tiny 2>err && grep -q "comes with Lodge" err &&
    mkdir a-folder.xml && test_expect_code 65 lodge profile check ./a-folder.xml 2>err &&
    grep -q "a-folder.xml.: Is a directory" err
'

test_expect_success 'a document that is wrong is told of in one line by explain' '
    : >none.xml && test_expect_code 65 lodge explain none.xml >out 2>err &&
    echo "lodge: none.xml: is empty" >expected && test_cmp expected err
'

test_expect_success 'what cannot be written is an error, also where the two differ' '
    test_expect_code 74 lodge profile diff tiny debian-fast >/dev/full 2>err &&
    grep -q "standard output" err
'

test_expect_success 'copy, edit, diff, history, remove' '
    lodge profile copy tiny mine 2>/dev/null &&
    test_expect_code 73 lodge profile copy tiny mine 2>err &&
    EDITOR="sed -i s/128M/256M/" lodge profile edit mine 2>/dev/null &&
    test_expect_code 1 lodge profile diff mine --raw --noheader >out &&
    echo "memory_bytes 128M 256M" >expected && test_cmp expected out &&
    lodge profile history mine --raw --noheader -o version,action >out &&
    printf "2 change\n1 add\n" >expected && test_cmp expected out &&
    lodge profile show mine@1 --raw --noheader -o field,value >out &&
    grep -q "memory_bytes 128M" out &&
    lodge profile remove mine && test_must_fail lodge profile show mine 2>err &&
    lodge profile show mine@1 >out
'

test_expect_success 'a wrong edit saves nothing and keeps what was written' '
    lodge profile copy tiny mine2 2>/dev/null &&
    test_expect_code 65 env EDITOR="sed -i s/128M/lots/" lodge profile edit mine2 2>err \
        </dev/null &&
    grep -q "nothing is saved" err && kept=$(sed -n "s/.*is in \([^,]*\),.*/\1/p" err) &&
    grep -q lots "$kept" && rm -f "$kept" &&
    lodge profile history mine2 --raw --noheader -o version >out && echo 1 >expected &&
    test_cmp expected out
'

test_expect_success 'an edit that changes nothing makes no version' '
    EDITOR=true lodge profile edit mine2 >out && grep -q "nothing is changed" out
'

test_expect_success '--dry-run changes nothing' '
    lodge profile remove --dry-run mine2 && lodge profile show mine2 >out &&
    lodge profile copy --dry-run tiny never 2>/dev/null &&
    test_must_fail lodge profile show never 2>err
'

test_expect_success 'shipped ones are not removed' '
    test_expect_code 77 lodge profile remove tiny 2>err
'

test_expect_success 'hostlists name many at once' '
    for i in 01 02 03 12; do lodge profile copy tiny "p$i" 2>/dev/null || return 1; done &&
    lodge profile list "p[01-03,12]" --raw --noheader -o name >out &&
    test $(wc -l <out) = 4 &&
    lodge profile remove -f "p[01-02],p12" && test_must_fail lodge profile show p02 2>err &&
    test_expect_code 66 lodge profile remove "p[02-03]" 2>err && grep -q "p02" err &&
    test_must_fail lodge profile show p03 2>err
'

test_expect_success 'clusters: add, show, networks, overrides' '
    lodge cluster add "$data/pass-cluster.xml" 2>/dev/null &&
    lodge cluster list cluster --raw --noheader -o name,members,vms >out &&
    echo "cluster 2 7" >expected && test_cmp expected out &&
    lodge cluster show cluster --json >out && grep -q "\"type\": \"kvm\"" out &&
    lodge cluster remove cluster && test_must_fail lodge cluster show cluster 2>err
'

test_expect_success 'explain: changing the type is one word' '
    lodge explain tiny --type qemu --json >qemu.json &&
    lodge explain tiny --type fake --json >fake.json &&
    test_expect_code 1 diff qemu.json fake.json >diff &&
    grep "^[<>]" diff | test_must_fail grep -v "\"type\"" &&
    lodge explain tiny --nodes "n[1-4]" >out && grep -q "n\[1-4\]" out &&
    grep -Eq "^  node_memory_bytes +[0-9]+M$" out
'

test_expect_success 'operations tell who changed what' '
    lodge op list --raw --noheader -o method,target,state >out &&
    grep -q "^profile.remove mine done" out &&
    lodge op show 1 | grep -q "^method *profile.add"
'

test_done
