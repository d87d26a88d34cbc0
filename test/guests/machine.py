#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Boot a Debian kernel in lodge-vmm in every size of page; runs in the lab. Prints TAP.

usage: machine.py LODGE-VMM VMLINUX VMLINUZ INITRD [NAME...]   (NAME: only these checks)
"""
import json
import os
import re
import shutil
import socket
import sys
import tempfile
import time

import tap

VMM, VMLINUX, VMLINUZ, INITRD = sys.argv[1:5]
DIR = tempfile.mkdtemp(prefix="vm")
SLOW = int(os.environ.get("LODGE_TEST_SLOW", 150))
KIB = {"2M": 2 << 10, "1G": 1 << 20}


def pool(page, what="free"):
    path = "/sys/kernel/mm/hugepages/hugepages-%dkB/%s_hugepages" % (KIB[page], what)
    with open(path) as f:
        return int(f.read())


class Guest(tap.Machine):
    def __init__(self, act, vcpus=1, page="4K", memory=192, kernel=VMLINUX, words=""):
        self.dir = tempfile.mkdtemp(prefix=act, dir=DIR)
        config = {"vcpus": vcpus, "memory": {"size_mib": memory, "page": page},
                  "kernel": kernel, "initrd": INITRD,
                  "cmdline": "console=ttyS0 panic=-1 mitigations=off act=%s %s" % (act, words),
                  "control": {"path": os.path.join(self.dir, "control")},
                  "devices": [{"type": "serial", "stdio": True}]}
        super().__init__(VMM, config, self.dir, SLOW)

    def call(self, method):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(SLOW)
        s.connect(os.path.join(self.dir, "control"))
        f = s.makefile("rw")
        f.readline()
        f.write(json.dumps({"id": "1", "method": method}) + "\n")
        f.flush()
        answer = json.loads(f.readline())
        s.close()
        assert "result" in answer, answer
        return answer["result"]

    def kill(self):
        self.p.kill()
        self.p.wait()


def booted(act, **more):
    """A guest that reached its /init."""
    g = Guest(act, **more)
    try:
        g.expect("^act: " + act)
    except RuntimeError:
        g.kill()
        raise
    return g


def boots(act, status, vcpus=1, page="4K", **more):
    g = booted(act, vcpus=vcpus, page=page, **more)
    try:
        assert g.expect(r"^cpus: (\d+)$")[1][1] == str(vcpus)
        assert g.expect(r"^clocksource: (\S+)$")[1][1] in ("kvm-clock", "tsc")
        got = g.p.wait(SLOW)
        assert got == status, "status %d, not %d:\n%s" % (got, status, g.text()[-3000:])
    finally:
        g.kill()


def test_poweroff_1x4K():
    boots("off", 0)


def test_reboot_4x4K():
    boots("reboot", 10, vcpus=4)


def test_panic_1x2M():
    boots("panic", 11, page="2M")


def test_triple_fault_of_a_bzImage():
    boots("reboot", 12, kernel=VMLINUZ, words="reboot=t")


def test_poweroff_4x1G():
    boots("off", 0, vcpus=4, page="1G", memory=1024)


def test_short_pools_are_refused():
    for page, memory in ("2M", 4096), ("1G", 64 << 10):
        before = pool(page)
        g = Guest("off", page=page, memory=memory)
        assert g.p.wait(SLOW) == 75
        g.expect("pool|hugepages")
        assert len(g.lines) == 1 and pool(page) == before, g.text()


def test_pause_resume_and_kill_4x2M():
    before = pool("2M")
    g = booted("clock", vcpus=4, page="2M")
    try:
        n, _ = g.expect(r"^up: ")
        first = n
        assert pool("2M") == before - 96
        for _ in range(2):
            assert g.call("pause")["state"] == "paused"
            start = time.monotonic()
            time.sleep(0.5)  # what it had said is read
            n = len(g.lines)
            last = max(i for i, x in enumerate(g.lines) if x.startswith("up: "))
            time.sleep(3)
            assert len(g.lines) == n, "it runs while it is paused"
            paused = time.monotonic() - start
            assert g.call("resume")["state"] == "running"
            first_again, found = g.expect(r"^up: (\S+)", n)
            went = float(found[1]) - float(g.lines[last][4:])
            wall = g.times[first_again] - g.times[last]
            print("# paused %.1f s: guest's clock +%.2f s, ours +%.2f s" % (paused, went, wall))
            assert 0 <= went < wall - paused + 1
            # And its timers go on: ten rounds more.
            for _ in range(10):
                n, _ = g.expect(r"^up: ", n + 1)
        assert g.call("status")["state"] == "running"
        said = "\n".join(g.lines[first:])
        assert not re.search("stall|lockup|unstable|Call Trace", said), said
    finally:
        g.kill()  # with SIGKILL, and only the process that we started
    end = time.monotonic() + SLOW
    while pool("2M") != before and time.monotonic() < end:
        time.sleep(0.2)
    assert pool("2M") == before and pool("2M", "nr") == before, "huge pages stayed behind"


failed = tap.run(globals(), sys.argv[5:])
shutil.rmtree(DIR, ignore_errors=True)
sys.exit(failed)
