#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Boot to init under lodge-vmm, QEMU q35 and QEMU microvm: time, exits by reason from KVM's own
counters, NPT faults, memory beyond the guest's, size of the program. Runs in the lab (see
bench/vmm/run). Medians with their range.

usage: boot.py LODGE-VMM KERNEL INITRD [RUNS]
"""
import os
import shutil
import sys

import machines as m

VMM, KERNEL, INITRD = sys.argv[1:4]
RUNS = int(sys.argv[4]) if len(sys.argv) > 4 else 5
MACHINES = [m.Machine("lodge-vmm, 2M pages", m.lodge(VMM)),
            m.Machine("lodge-vmm, 4K pages", m.lodge(VMM, "4K")),
            m.Machine("lodge-vmm, 4K pages, thp", m.lodge(VMM, "4K", {"thp": True})),
            m.Machine("QEMU q35", m.qemu(*m.Q35)),
            m.Machine("QEMU microvm", m.qemu(*m.MICROVM))]
# Where KVM on AMD counts exits; what is none of these is "other".
REASONS = [("PIO", "io_exits"), ("MMIO", "mmio_exits"), ("NPT faults", "pf_taken"),
           ("interrupts", "irq_exits"), ("window", "irq_window_exits")]


def beyond(pid):
    """Resident KiB that are not the guest's memory: its mapping is the one of 256 MiB."""
    total = 0
    for p in m.tree(pid):
        size = 0
        with open("/proc/%d/smaps" % p) as f:
            for line in f:
                word = line.split()
                if word[0] == "Size:":
                    size = int(word[1])
                elif word[0] == "Rss:" and size < 200 << 10:
                    total += int(word[1])
    return total


def boot(machine):
    guest = m.Guest(machine, KERNEL, INITRD)
    try:
        took = guest.until(b"at-init", 300)
        reasons = [m.counter(c) for _, c in REASONS]
        return [took, m.counter("exits")] + reasons + [beyond(guest.process.pid)]
    finally:
        guest.end()


def binary(machine):
    """KiB of the program without symbols."""
    path = VMM if machine.name.startswith("lodge") else shutil.which("qemu-system-x86_64")
    copy = "/tmp/stripped"
    os.system("strip -o %s '%s'" % (copy, path))
    return os.path.getsize(copy) >> 10


def main():
    m.debugfs()
    try:  # what "thp" needs of the host
        with open("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "w") as f:
            f.write("advise")
    except OSError as e:
        print("thp: %s" % e)
    print("| VMM | boot s | exits | %s | RSS beyond guest KiB | program KiB |" %
          " | ".join(n for n, _ in REASONS))
    print("|" + "---|" * (len(REASONS) + 5), flush=True)
    lost = 0
    for machine in MACHINES:
        rows = []
        for _ in range(RUNS):
            row, n = m.tried(lambda: boot(machine))
            rows.append(row)
            lost += n
        cells = [m.spread(c, "%.1f" if i == 0 else "%d") for i, c in enumerate(zip(*rows))]
        print("| %s | %s | %d |" % (machine.name, " | ".join(cells), binary(machine)), flush=True)
    print("\nemulated machine: ratios only; medians of %d (range); guests lost by the lab: %d" %
          (RUNS, lost))


main()
