#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Boot to init under lodge-vmm, QEMU q35 and QEMU microvm: exits, NPT faults, RSS beyond the
guest's memory. Runs in the lab (see bench/vmm/run). Prints a table of medians; the emulated
machine's clock is good for ratios only.

usage: boot.py LODGE-VMM KERNEL INITRD [RUNS]
"""
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

VMM, KERNEL, INITRD = sys.argv[1:4]
RUNS = int(sys.argv[4]) if len(sys.argv) > 4 else 5
CMDLINE = "console=ttyS0 quiet panic=-1 mitigations=off"
DEBUG = "/sys/kernel/debug/kvm/"
QEMU = ["qemu-system-x86_64", "-accel", "kvm,kernel-irqchip=split", "-cpu", "host", "-m", "256",
        "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot",
        "-kernel", KERNEL, "-initrd", INITRD, "-append", CMDLINE]


def lodge(directory, page):
    path = os.path.join(directory, "config.json")
    with open(path, "w") as f:
        json.dump({"memory": {"size_mib": 256, "page": page}, "kernel": KERNEL, "initrd": INITRD,
                   "cmdline": CMDLINE, "devices": [{"type": "serial", "stdio": True},
                                                   {"type": "rng"}]}, f)
    return [VMM, "--config", path]


MACHINES = [("lodge-vmm, 2M pages", lambda d: lodge(d, "2M")),
            ("lodge-vmm, 4K pages", lambda d: lodge(d, "4K")),
            ("QEMU q35", lambda d: QEMU + ["-M", "q35", "-device", "virtio-rng-pci"]),
            ("QEMU microvm", lambda d: QEMU + ["-M", "microvm,isa-serial=on"])]


def counter(name):
    with open(DEBUG + name) as f:
        return int(f.read())


def tree(pid):
    """The process and its children (the sandbox makes one)."""
    found = [pid]
    for p in found:
        for t in os.listdir("/proc/%d/task" % p):
            with open("/proc/%d/task/%s/children" % (p, t)) as f:
                found += [int(c) for c in f.read().split()]
    return found


def beyond(pid):
    """Resident KiB that are not the guest's memory: its mapping is the one of 256 MiB."""
    total = 0
    for p in tree(pid):
        size = rss = 0
        with open("/proc/%d/smaps" % p) as f:
            for line in f:
                word = line.split()
                if word[0] == "Size:":
                    size = int(word[1])
                elif word[0] == "Rss:" and size < 200 << 10:
                    total += int(word[1])
    return total


def boot(make):
    with tempfile.TemporaryDirectory() as d:
        start = time.monotonic()
        p = subprocess.Popen(make(d), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT)
        seen = b""
        while b"at-init" not in seen:
            part = os.read(p.stdout.fileno(), 4096)
            if not part:
                raise SystemExit("it ended: " + seen.decode(errors="replace")[-500:])
            seen += part
        took = time.monotonic() - start
        r = (took, counter("exits"), counter("io_exits"), counter("mmio_exits"),
             counter("pf_fixed"), beyond(p.pid))
        p.send_signal(signal.SIGKILL)
        p.wait()
        return r


def main():
    subprocess.call(["mount", "-t", "debugfs", "debugfs", "/sys/kernel/debug"],
                    stderr=subprocess.DEVNULL)
    print("| VMM | boot s | exits | PIO | MMIO | NPT faults | RSS beyond guest KiB |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name, make in MACHINES:
        rows = [boot(make) for _ in range(RUNS)]
        m = [statistics.median(c) for c in zip(*rows)]
        print("| %s | %.1f | %d | %d | %d | %d | %d |" % ((name,) + tuple(m)), flush=True)
    print("\nemulated machine: ratios only; medians of %d" % RUNS)


main()
