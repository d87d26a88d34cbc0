#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='lodge-vmm with a guest that is not Linux'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"

lodge_prereq NAMESPACES 'no user or pid namespaces here' unshare -Urp true
vmm=$LODGE_TOP_BUILDDIR/lodge-vmm
guest=$LODGE_TOP_BUILDDIR/test/guests/hello.elf

# run CMDLINE: boot the guest with it; its status becomes ours.
run() {
    printf '{"memory": {"size_mib": 16}, "cmdline": "%s", "kernel": "%s", "devices": [
        {"type": "serial", "stdio": true}]}' "$1" "$guest" >config.json
    timeout 60 "$vmm" --config config.json </dev/null >out 2>err
}

test_expect_success 'the help names devices and exit statuses' '
    "$vmm" --help >help && grep "serial" help && grep "triple fault" help
'
for c in 'o:0:power-off' 'r:10:reset register' 'k:10:keyboard reset' 'p:11:panic'; do
    letter=${c%%:*} rest=${c#*:}
    test_expect_success KVM,NAMESPACES "its own status: ${rest#*:}" "
        test_expect_code ${rest%%:*} run '$letter word' && grep '^$letter word' out
    "
done

lodge_prereq CONSOLE 'this lodge-vmm was built without its console device' \
    sh -c '"$LODGE_TOP_BUILDDIR/lodge-vmm" --help | grep -q "^  console "'
test_expect_success KVM,NAMESPACES,CONSOLE 'its sockets go with it' '
    mkdir -p s && printf "{\"memory\": {\"size_mib\": 16}, \"cmdline\": \"o\", \"kernel\": \"%s\",
        \"control\": {\"path\": \"s/c\"}, \"devices\": [{\"type\": \"serial\", \"path\": \"s/1\"},
        {\"type\": \"console\", \"ports\": [{\"path\": \"s/2\"}, {\"name\": \"a\", \"path\": \"s/3\"}]}]}" \
        "$guest" >sockets.json &&
    timeout 60 "$vmm" --config sockets.json && test -z "$(ls s)" &&
    timeout 60 "$vmm" --no-sandbox --config sockets.json && test -z "$(ls s)"
'

refuse() {
    printf '%s' "$1" | "$vmm" --check --config - 2>err
    test $? -eq 78 && grep -e "$2" err && test "$(wc -l <err)" -eq 1
}
test_expect_success 'wrong configurations are refused in one line' '
    refuse "{\"memory\": {\"size_mib\": 16}, \"kernel\": \"k\", \"oops\": 1}" oops &&
    refuse "{\"memory\": {\"size_mib\": 16}}" kernel &&
    refuse "{\"memory\": {\"size_mib\": 15, \"page\": \"2M\"}, \"kernel\": \"k\"}" "whole pages" &&
    refuse "{\"memory\": {\"size_mib\": 16}, \"kernel\": \"k\", \"vcpus\": 0}" vcpus &&
    refuse "{\"memory\": {\"size_mib\": 16}, \"kernel\": \"k\", \"devices\": [{\"type\": \"x\"}]}" "not in this build" &&
    refuse "[" "line 1"
'
test_expect_success KVM,NAMESPACES 'a kernel that is none, one that is broken' '
    cp "$guest" good && guest=$PWD/broken && head -c 100 good >broken &&
    test_expect_code 65 run o && grep "broken ELF" err &&
    echo text >broken && test_expect_code 65 run o && grep "neither an ELF" err
'
test_done
