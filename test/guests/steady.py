#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How steady is a machine that runs guests? Boot a Debian kernel N times under lodge-vmm and, as the
control, under QEMU with the same KVM; count the boots that do not reach /init and power-off. Runs
in the lab. Whoever doubts a failure of a guest asks here whether it is ours or the emulator's.

usage: steady.py LODGE-VMM KERNEL INITRD RUNS [VCPUS] [MACHINE...]    (lodge-4K lodge-2M q35 microvm)
"""
import json
import os
import subprocess
import sys
import tempfile
import time

VMM, KERNEL, INITRD = sys.argv[1:4]
RUNS = int(sys.argv[4])
VCPUS = int(sys.argv[5]) if len(sys.argv) > 5 else 1
LIMIT = int(os.environ.get("LODGE_TEST_SLOW", 120))
CMDLINE = "console=ttyS0 panic=-1 mitigations=off act=off " + os.environ.get("LODGE_GUEST_WORDS", "")
QEMU = ["qemu-system-x86_64", "-accel", "kvm,kernel-irqchip=split", "-cpu", "host", "-m", "192",
        "-smp", str(VCPUS), "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot",
        "-kernel", KERNEL, "-initrd", INITRD, "-append", CMDLINE]


def lodge(directory, page):
    path = os.path.join(directory, "config.json")
    with open(path, "w") as f:
        json.dump({"vcpus": VCPUS, "memory": {"size_mib": 192, "page": page}, "kernel": KERNEL,
                   "initrd": INITRD, "cmdline": CMDLINE,
                   "devices": [{"type": "serial", "stdio": True}]}, f)
    return [VMM, "--config", path]


MACHINES = {"lodge-4K": lambda d: lodge(d, "4K"), "lodge-2M": lambda d: lodge(d, "2M"),
            "q35": lambda d: QEMU + ["-M", "q35"],
            "microvm": lambda d: QEMU + ["-M", "microvm,isa-serial=on"]}


def tree(pid):
    """The process and its children (the sandbox makes one)."""
    found = [pid]
    for p in found:
        for t in os.listdir("/proc/%d/task" % p):
            with open("/proc/%d/task/%s/children" % (p, t)) as f:
                found += [int(c) for c in f.read().split()]
    return found


def read(path):
    try:
        with open(path) as f:
            return f.read().strip()
    except OSError as e:
        return str(e)


def examine(pid):
    """Where a machine that does not move stands."""
    for i in range(2):
        print("# exits %s, irq_window %s, npt faults %s" % tuple(
            read("/sys/kernel/debug/kvm/" + n) for n in ("exits", "irq_window_exits", "pf_taken")))
        time.sleep(1)
    for p in tree(pid):
        for t in sorted(os.listdir("/proc/%d/task" % p)):
            d = "/proc/%d/task/%s/" % (p, t)
            stat = read(d + "stat").rsplit(")", 1)[-1].split()
            print("#   %s %s: state %s, user %s, system %s, cpu %s, syscall %s" % (
                t, read(d + "comm"), stat[0], stat[11], stat[12], stat[36], read(d + "syscall")))
            print("\n".join("#      " + x for x in read(d + "stack").splitlines()), flush=True)
    print("\n".join("#   " + x for x in read("/proc/interrupts").splitlines()
                    if x.split()[0] in ("LOC:", "RES:", "CAL:", "TLB:", "NMI:")))


def boot(make):
    """(seconds, what went wrong or None, output)"""
    with tempfile.TemporaryDirectory() as d:
        start = time.monotonic()
        p = subprocess.Popen(make(d), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT)
        try:
            out = p.communicate(timeout=LIMIT)[0].decode(errors="replace")
            bad = None if p.returncode == 0 else "status %d" % p.returncode
        except subprocess.TimeoutExpired:
            examine(p.pid)
            p.kill()
            out, bad = p.communicate()[0].decode(errors="replace"), "time is over"
        if bad is None and "act: off" not in out:
            bad = "no /init"
        return time.monotonic() - start, bad, out


def main():
    names = sys.argv[6:] or list(MACHINES)
    count = {n: [0, 0, 0.0] for n in names}
    for i in range(RUNS):
        for n in names:
            seconds, bad, out = boot(MACHINES[n])
            c = count[n]
            c[0], c[1], c[2] = c[0] + 1, c[1] + bool(bad), c[2] + seconds
            if bad:
                print("# %s, boot %d: %s after %.0f s" % (n, i + 1, bad, seconds))
                print("\n".join("#   " + line for line in out.splitlines()[-40:]))
            for line in sorted(set(out.splitlines())) if i == 0 else []:
                if any(w in line for w in ("XSAVE", "xstate", "unsynchron", "unstable", "WARNING")):
                    print("# %s says: %s" % (n, line), flush=True)
            print("# %s %d: %.0f s %s" % (n, i + 1, seconds, bad or "well"), flush=True)
    print("%-10s %6s %7s %8s" % ("machine", "boots", "failed", "mean s"))
    for n in names:
        boots, failed, seconds = count[n]
        print("%-10s %6d %7d %8.1f" % (n, boots, failed, seconds / boots), flush=True)
    return any(failed for _, failed, _ in count.values())


sys.exit(main())
