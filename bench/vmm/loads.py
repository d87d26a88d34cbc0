#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench/vmm/loads in guests against the machine they run on, which counts instructions instead of
time (test/lab/run --icount): ratios of speed, lateness of sleeps. See bench/vmm/run.

usage: loads.py LODGE-VMM KERNEL INITRD LOADS
"""
import statistics
import subprocess
import sys

import machines as m

VMM, KERNEL, INITRD, LOADS = sys.argv[1:5]
MACHINES = [m.Machine("lodge-vmm", m.lodge(VMM)),
            m.Machine("lodge-vmm, HLT does not exit", m.lodge(VMM, cpu={"disable_exits": ["hlt"]})),
            m.Machine("QEMU q35", m.qemu(*m.Q35)),
            m.Machine("QEMU q35, cpu-pm=on", m.qemu("-overcommit", "cpu-pm=on", *m.Q35))]
NAMES = ["triad", "gups", "alu"]


def parse(text):
    got = {}
    for line in text.replace("\r", "").splitlines():
        word = line.split()
        if word and word[0] in NAMES + ["timer"] and all(w.isdigit() for w in word[1:]):
            got.setdefault(word[0], []).append([int(w) for w in word[1:]])
    if any(len(got.get(n, [])) != 5 for n in NAMES + ["timer"]):
        raise m.Failed("incomplete: " + text[-300:])
    return got


def guest(machine):
    g = m.Guest(machine, KERNEL, INITRD)
    try:
        g.until(b"\nend ", 100000)
        return parse(g.seen.decode(errors="replace"))
    finally:
        g.end()


def warm():
    """Read what will be started: counted time leaps ahead while the lab waits for its host's files,
    so that a deadline would pass at once."""
    for path in (VMM, KERNEL, INITRD):
        with open(path, "rb") as f:
            while f.read(1 << 20):
                pass
    for program in (VMM, "qemu-system-x86_64"):
        subprocess.run([program, "--version"], stdout=subprocess.DEVNULL, check=True)


def row(name, got, native):
    cells = []
    for n in NAMES:
        base = statistics.median(v[0] for v in native[n])
        cells.append(m.spread([base / v[0] for v in got[n]], "%.4f"))
    for i in range(2):
        cells.append(m.spread([v[i] / 1000 for v in got["timer"]], "%.1f"))
    print("| %s | %s |" % (name, " | ".join(cells)), flush=True)


def main():
    m.debugfs()
    warm()
    native = parse(subprocess.check_output([LOADS], text=True))
    print("| machine | triad | GUPS | ALU | 1 ms sleep ends late, p50 µs | p99 µs |")
    print("|---|---|---|---|---|---|")
    row("native", native, native)
    lost = 0
    for machine in MACHINES:
        got, n = m.tried(lambda: guest(machine))
        lost += n
        row(machine.name, got, native)
    print("\nemulated machine: ratios only; speed against native, medians of 5 (range); "
          "guests lost by the lab: %d" % lost)


main()
