#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench/vmm/loads in guests against the machine they run on, which counts instructions instead of
time (test/lab/run --icount): ratios of speed, lateness of sleeps; and the time from starting the
VMM to init, which so is free of the noise of a shared machine. See bench/vmm/run.

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
BOOTS = [MACHINES[0], MACHINES[2], m.Machine("QEMU microvm", m.qemu(*m.MICROVM))]
BOOT_RUNS = 5
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
        g.until(b"\nend ", 600)
        return parse(g.seen.decode(errors="replace"))
    finally:
        g.end()


def boot(machine):
    g = m.Guest(machine, KERNEL, INITRD)
    try:
        return 1000 * g.until(b"at-init", 600)
    finally:
        g.end()


def boots():
    print("| VMM | counted ms from its start to init | of QEMU q35's |")
    print("|---|---|---|")
    took = {v.name: [m.tried(lambda: boot(v))[0] for _ in range(BOOT_RUNS)] for v in BOOTS}
    base = statistics.median(took["QEMU q35"])
    for name, ms in took.items():
        print("| %s | %s | %.2f |" % (name, m.spread(ms), statistics.median(ms) / base), flush=True)
    print()


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
    boots()
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
