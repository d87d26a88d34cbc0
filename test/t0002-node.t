#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='lodge node check: a line a fact, the way out, never late'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_prereq SOFTKVM 'the KVM here is no software KVM' test -d /sys/module/kvm_pvm
lodge_prereq PYTHON 'python3 is missing' command -v python3

# 0 if nothing failed, 1 if something did; both are right, it depends on the machine.
check() {
    lodge node check "$@"
    test $? -le 1
}

test_expect_success 'every line has a fact, a grade and a text' '
    check >out 2>err &&
    test_must_be_empty err &&
    grep -Eq "^ok +machine +.* CPUs" out &&
    for fact in kvm numa-0 iommu vhost-net tun cgroup libvirt qemu slurm munge sshd types; do
        grep -Eq "^(ok|warn|fail) +$fact +." out || return 1
    done
'

test_expect_success 'what is not ok names a way out' '
    check -P >out &&
    grep -E "GRADE=\"(warn|fail)\"" out >bad &&
    ! grep "ADVICE=\"\"" bad
'

test_expect_success PYTHON '--json has the same facts' '
    check --json >out &&
    check -P >lines &&
    python3 -c "
import json
d = json.load(open(\"out\"))
assert d[\"schema\"] == 1 and not d[\"errors\"]
assert len(d[\"data\"]) == len(open(\"lines\").readlines())
assert all(set(r) == {\"fact\", \"grade\", \"text\", \"advice\"} for r in d[\"data\"])
"
'

test_expect_success 'the status says whether something failed' '
    lodge node check -P >out; status=$?
    if grep -q "GRADE=\"fail\"" out; then test $status = 1; else test $status = 0; fi
'

test_expect_success SOFTKVM,KVM 'a software KVM is told, with the reason, and not chosen' '
    check -P >out &&
    grep "FACT=\"kvm\" GRADE=\"warn\" TEXT=\"software" out >kvm &&
    grep -q "not chosen" kvm &&
    grep -q "ADVICE=\".*Linux dies" kvm &&
    ! grep "FACT=\"types\".* hpc" out
'

test_expect_success 'a program that hangs is told, and costs less than 3 s' '
    mkdir bin &&
    printf "#!/bin/sh\nexec sleep 1000\n" >bin/qemu-system-x86_64 &&
    chmod +x bin/qemu-system-x86_64 &&
    start=$(date +%s%N) &&
    { PATH=$PWD/bin:$PATH check -P >out; } &&
    took=$((($(date +%s%N) - start) / 1000000)) &&
    echo "took $took ms" &&
    test $took -lt 3000 &&
    grep "FACT=\"qemu\" GRADE=\"warn\" TEXT=\".*did not answer" out &&
    grep "FACT=\"machine\" GRADE=\"ok\"" out
'

test_expect_success 'no child is left behind' '
    ! lodge_leftovers "LODGE_TEST_ID=$LODGE_TEST_ID" | xargs -r ps -o args= -p | grep "[s]leep 1000"
'

test_done
