#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='what must not grow unnoticed: exits, wake-ups, memory, libraries'
# Counts, not times, with about twice the room of what docs/performance.md tells.
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"

lodge_prereq NAMESPACES 'no user or pid namespaces here' unshare -Urp true
lodge_prereq VMM 'built without lodge-vmm' test -x "$LODGE_TOP_BUILDDIR/lodge-vmm"
lodge_prereq PLAIN 'built with sanitizers, which take memory of their own' \
    test -z "${LODGE_TEST_SANITIZERS:-}"
lodge_prereq READELF 'readelf is not installed' command -v readelf

# A guest that writes "h cost" and a line feed to its serial port and then halts for ever.
cat >cost.py <<'PY'
import json, os, socket, subprocess, sys, time
vmm, guest = sys.argv[1:]
with open("cost.json", "w") as f:
    json.dump({"memory": {"size_mib": 64}, "cmdline": "h cost", "kernel": guest,
               "control": {"path": "cost.sock"}, "devices": [{"type": "serial", "path": "cost.serial"}]}, f)
outside = subprocess.Popen([vmm, "--config", "cost.json"])


def tree(pid):
    found = [pid]
    for p in found:
        for t in os.listdir("/proc/%d/task" % p):
            found += map(int, open("/proc/%d/task/%s/children" % (p, t)).read().split())
    return found


def until(test):
    for _ in range(6000):
        try:
            got = test()
        except OSError:
            got = None
        if got:
            return got
        if outside.poll() is not None:
            sys.exit("lodge-vmm ended")
        time.sleep(0.01)
    sys.exit("waited in vain")


def connect():
    s = socket.socket(socket.AF_UNIX)
    s.connect("cost.sock")
    return s.makefile("rw")


control = until(connect)
control.readline()


def exits():
    control.write(json.dumps({"id": "1", "method": "stats"}) + "\n")
    control.flush()
    while True:
        m = json.loads(control.readline())
        if m.get("id") == "1":
            return m["result"]["vcpus"][0]["exits"]


def sum_of(e):
    return sum(v if isinstance(v, int) else v["count"] for v in e.values())


def beyond():
    """Resident KiB besides the guest's memory."""
    total = 0
    for p in tree(outside.pid):
        for line in open("/proc/%d/smaps" % p):
            word = line.split()
            if word[0] == "Size:":
                size = int(word[1])
            elif word[0] == "Rss:" and size < 60 << 10:
                total += int(word[1])
    return total


def switches():
    """How often threads besides the guest's went to sleep."""
    total = 0
    for p in tree(outside.pid):
        for t in os.listdir("/proc/%d/task" % p):
            d = "/proc/%d/task/%s/" % (p, t)
            if "vcpu" not in open(d + "comm").read():
                total += int(next(x for x in open(d + "status") if x.startswith("voluntary")).split()[1])
    return total


try:
    until(lambda: sum_of(exits()) >= 7)
    time.sleep(0.5)
    before, slept = exits(), switches()
    time.sleep(2)
    woken = switches() - slept
    after = exits()
    print("exits", sum_of(after), after)
    print("idle", sum_of(after) - sum_of(before))
    print("woken", woken)
    print("beyond", beyond())
finally:
    outside.terminate()
    outside.wait()
PY
within() { # WORD LIMIT: of what cost.py said
    got=$(sed -n "s/^$1 \([0-9]*\).*/\1/p" cost) && echo "$1: $got, at most $2" && test "$got" -le "$2"
}

test_expect_success KVM,NAMESPACES,VMM 'a tiny guest runs and halts' '
    timeout 120 python3 cost.py "$LODGE_TOP_BUILDDIR/lodge-vmm" "$LODGE_TOP_BUILDDIR/test/guests/hello.elf" >cost &&
    cat cost
'
test_expect_success KVM,NAMESPACES,VMM 'it leaves for the VMM once a letter and not for much else' 'within exits 14'
test_expect_success KVM,NAMESPACES,VMM 'an idle guest does not leave for the VMM' 'within idle 4'
test_expect_success KVM,NAMESPACES,VMM 'no thread of ours wakes up meanwhile' 'within woken 4'
test_expect_success KVM,NAMESPACES,VMM,PLAIN 'the VMM has little memory besides the guest' 'within beyond 5000'

rss() { # PID
    awk '/^VmRSS/ { print $2 }' "/proc/$1/status"
}
test_expect_success PLAIN 'lodge-agent with 100 machines' '
    echo "<profile><name>f</name><type>fake</type><image>none</image><memory>64M</memory></profile>" >f.xml &&
    mkdir -p "$LODGE_STATE_DIR" && lodge vm start f.xml &&
    for i in $(seq 100); do lodge vm start --name f$i f.xml >/dev/null || return 1; done &&
    rss $(cat "$LODGE_STATE_DIR/agent.lock") >got && echo "$(cat got) KiB, at most 16000" &&
    test $(cat got) -le 16000
'
test_expect_success PLAIN 'a command line that lists them' '
    lodge vm list --noheader >list && test $(wc -l <list) = 101 &&
    python3 -c "
import resource, subprocess
subprocess.run([\"lodge\", \"vm\", \"list\"], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)" >got &&
    echo "$(cat got) KiB, at most 24000" && test $(cat got) -le 24000
'
test_expect_success READELF 'what sbatch and the tasks load for us' '
    plugin=$LODGE_TOP_BUILDDIR/plugins/slurm/.libs/lodge.so &&
    { test ! -e "$plugin" || readelf -dW "$plugin" | grep NEEDED >needed; } &&
    readelf -dW "$LODGE_TOP_BUILDDIR/lodge-exec" | grep NEEDED >>needed && cat needed &&
    ! grep -vE "libjansson|libc\.so|libsystemd|libasan|libubsan|libclang" needed
'

# --- bench/run --------------------------------------------------------------------------
run=$LODGE_TOP_SRCDIR/bench/run page=$LODGE_TOP_SRCDIR/docs/performance.md
test_expect_success 'each bench has its place in docs/performance.md, each table there its bench' '
    "$run" --list >list && sed "s/ .*//" list | sort >benches && test $(wc -l <benches) -ge 8 &&
    sed -n "s/^<!-- bench\/run \(.*\) -->/\1/p" "$page" | sort >places && test_cmp benches places &&
    sed -n "s/^<!-- end \(.*\) -->/\1/p" "$page" | sort >ends && test_cmp benches ends &&
    awk "/^<!-- bench/ { in_bench = 1 } /^<!-- end/ { in_bench = 0 } /^\|/ && !in_bench" "$page" >loose &&
    test_must_be_empty loose
'
test_expect_success 'what is there to be run is there' '
    awk "{ for (i = 1; i <= NF; i++) if (\$i ~ /^bench\//) print \$i }" list | sort -u |
        while read -r f; do test -x "$LODGE_TOP_SRCDIR/$f" || { echo "$f" && return 1; }; done
'
test_expect_success 'a bench that cannot run says why; an unknown one is refused' '
    "$run" --build /nowhere vmm-idle >out && grep "not measured: no build in" out &&
    test_expect_code 64 "$run" no-such-bench 2>err && grep "no bench .no-such-bench." err &&
    test_expect_code 64 "$run" --runs none cli 2>err
'
test_done
