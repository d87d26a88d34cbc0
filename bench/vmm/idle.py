#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What lodge-vmm's threads do while its guest idles for 10 s: how often each was scheduled
(undisturbed, from /proc), then every system call (strace). Runs in the lab (bench/vmm/run).

usage: idle.py LODGE-VMM KERNEL INITRD
"""
import collections
import os
import re
import signal
import subprocess
import sys
import time

import machines as m

VMM, KERNEL, INITRD = sys.argv[1:4]
SECONDS = 10


def threads(pid):
    for p in m.tree(pid):
        for t in os.listdir("/proc/%d/task" % p):
            with open("/proc/%d/task/%s/comm" % (p, t)) as f:
                name = f.read().strip()
            main_thread = "outside" if p == pid else "control"
            yield int(t), main_thread if int(t) == p else name


def switches(tid):
    with open("/proc/%d/status" % tid) as f:
        return sum(int(n) for n in re.findall(r"ctxt_switches:\t(\d+)", f.read()))


def traced(names):
    """System calls of 10 s by thread; what attaching itself interrupts comes before."""
    out = "/tmp/idle.strace"
    argv = ["strace", "-f", "-qq", "-ttt", "-o", out]
    for t in names:
        argv += ["-p", str(t)]
    p = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    time.sleep(5)
    start = time.time()
    time.sleep(SECONDS)
    end = time.time()
    p.send_signal(signal.SIGINT)
    p.wait()
    calls = collections.Counter()
    with open(out) as f:
        for line in f:
            tid, at, call = line.split(None, 2)
            if start <= float(at) < end:
                calls[names.get(int(tid), tid), call.split("(")[0].strip()] += 1
    return calls


def main():
    m.debugfs()
    guest = m.Guest(m.Machine("lodge-vmm", m.lodge(VMM)), KERNEL, INITRD)
    try:
        guest.until(b"at-init", 300)
        time.sleep(5)
        names = dict(threads(guest.process.pid))
        before = {t: switches(t) for t in names}
        exits = m.counter("exits")
        time.sleep(SECONDS)
        after = {t: switches(t) for t in names}
        exits = m.counter("exits") - exits
        calls = traced(names)
    finally:
        guest.end()
    print("| thread of lodge-vmm, guest idle | times scheduled in %d s | system calls in %d s |" %
          (SECONDS, SECONDS))
    print("|---|---|---|")
    for t, name in sorted(names.items()):
        mine = ["%s %d" % (c, n) for (who, c), n in calls.items() if who == name]
        print("| %s | %d | %s |" % (name, after[t] - before[t], ", ".join(mine) or "none"))
    print("\nThe guest's own timers made %d exits, all handled in the kernel." % exits)


main()
