#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Save the tiny guest that counts (count.S) and let it come back; on any KVM. Prints TAP.

usage: count.py LODGE-VMM COUNT.ELF OLD [NAME...]   (OLD: a checkpoint of an earlier version)
"""
import json
import os
import re
import shutil
import sys
import time

OLD = sys.argv[3]
sys.argv[3] = ""  # no initrd
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ckpt  # noqa: E402

ckpt.CMDLINE = "slow"
SHAPE = dict(memory=16)


class Counter(ckpt.Guest):
    def said(self, start=0):
        return [int(x, 16) for x in self.lines[start:] if re.match("^[0-9a-f]{8}$", x)]

    def rounds(self, count, start=None):
        at = len(self.lines) if start is None else start
        for _ in range(count):
            at = self.expect("^[0-9a-f]{8}$", at)[0] + 1
        return at

    def sane(self, before=None):
        said = self.said()
        assert "bad" not in self.lines and said, self.text()
        if before is not None:
            assert said[0] == before + 1, (before, said[0])
        assert said == list(range(said[0], said[0] + len(said))), said


def counting(**more):
    g = Counter(**dict(SHAPE, **more))
    g.rounds(5, 0)
    return g


def last(g):
    """What a machine that stands still said last: all of it has come after a while."""
    n = None
    while n != len(g.lines):
        n = len(g.lines)
        time.sleep(2)
    return g.said()[-1]


def comes_back(d, before, modes=("read", "map", "uffd"), **more):
    for mode in modes:
        b = Counter(restore={"path": d, "mode": mode}, **dict(SHAPE, **more))
        try:
            b.rounds(20, 0)
            b.sane(before)
        finally:
            b.kill()


def refused(d, reason, mode="read"):
    b = Counter(restore={"path": d, "mode": mode}, **SHAPE)
    assert b.p.wait(ckpt.SLOW) not in (0, None), b.text()
    b.expect(reason)
    assert len(b.lines) == 1, b.text()


def test_stop_and_go_on():
    g = counting()
    try:
        d, _ = ckpt.save(g, "stop")
        before = last(g)
        # It may go on all the same, as if nothing had been.
        assert "result" in g.call("resume")
        g.rounds(5)
        g.sane()
        comes_back(d, before)
    finally:
        g.kill()


def test_continue():
    g = counting()
    try:
        for zstd in False, True:
            d, _ = ckpt.save(g, "continue", zstd=zstd)
            g.rounds(5)
            g.sane()
            comes_back(d, None, ("read", "uffd"))
    finally:
        g.kill()


def test_without_faults():
    """Whose memory cannot be protected: mapped from a file, or a user without userfaultfd."""
    g = counting()
    try:
        d, _ = ckpt.save(g, "stop")
    finally:
        g.kill()
    g = Counter(restore={"path": d, "mode": "map"}, **SHAPE)
    try:
        g.rounds(5, 0)
        for zstd in False, True:
            d, _ = ckpt.save(g, "continue", zstd=zstd, hook=lambda: time.sleep(0.5))
            g.rounds(5)
            g.sane()
            comes_back(d, None, ("read", "uffd") if zstd else ("read", "map", "uffd"))
        # Its child, while it stands still; and it goes on.
        d, r = ckpt.save(g, "continue", track=True)
        g.rounds(5)
        d, r = ckpt.save(g, "stop",
                         parent={"id": r["manifest"]["id"], "name": os.path.basename(d)})
        comes_back(d, last(g), ("read",))
        g.call("resume")
        g.rounds(5)
        g.sane()
    finally:
        g.kill()


def test_child_of_a_child():
    g = counting()
    try:
        d, r = ckpt.save(g, "continue", track=True)
        g.rounds(5)
        for mode in "continue", "stop":
            parent = {"id": r["manifest"]["id"], "name": os.path.basename(d)}
            d, r = ckpt.save(g, mode, track=True, parent=parent)
            if mode == "continue":
                g.rounds(5)
        comes_back(d, last(g), ("read", "uffd"))
        refused(d, "parent", "map")
        # Nobody knows what was written since then.
        parent["id"] = "f" * 32
        try:
            ckpt.save(g, "stop", parent=parent)
            raise AssertionError("it knew")
        except RuntimeError as e:
            assert "not known" in str(e), e
    finally:
        g.kill()


def test_wrong_requests():
    g = counting()
    try:
        fds = [os.open(os.path.join(g.dir, "f"), os.O_RDWR | os.O_CREAT)] * 3
        rom = [os.open(os.path.join(g.dir, "f"), os.O_RDONLY)] * 3
        good = {"id": "0" * 32}
        for params, files, reason in (({}, fds, "id"), (good, [], "descriptors"),
                                      (good, fds[:2], "descriptors"), (good, rom, "writing"),
                                      (dict(good, id="../x"), fds, "hex"),
                                      (dict(good, mode="fast"), fds, "mode"),
                                      (dict(good, parent={"id": "0" * 32, "name": "../x"}), fds,
                                       "parent"),
                                      (dict(good, other=1), fds, "other")):
            a = g.call("checkpoint", params, files)
            assert reason in a["error"]["text"], a
        assert "error" in g.call("checkpoint.cut", {"ok": True})
        assert "error" in g.call("checkpoint.cancel")
        g.rounds(3)
        g.sane()
        assert len(os.listdir("/proc/%d/fd" % g.p.pid)) < 40  # nothing of it stays open
    finally:
        g.kill()


def test_damage():
    """Each part flipped and cut here and there: refused, one line, before the guest runs."""
    g = counting()
    try:
        d, _ = ckpt.save(g, "stop")
        before = last(g)
    finally:
        g.kill()
    for name in "manifest.json", "state", "index", "memory":
        path = os.path.join(d, name)
        with open(path, "rb") as f:
            good = f.read()
        used = [i for i in range(len(good)) if good[i]] if name == "memory" else None
        for k in range(4):
            at = used[len(used) * k // 4] if used else len(good) * k // 4
            for bad in good[:at] + bytes([good[at] ^ 1]) + good[at + 1:], good[:at]:
                with open(path, "wb") as f:
                    f.write(bad)
                refused(d, "restore: ", "map" if k % 2 else "read")
        with open(path, "wb") as f:
            f.write(good)
    comes_back(d, before)
    os.unlink(os.path.join(d, "manifest.json"))
    refused(d, "no checkpoint")


def test_ends_by_kill():
    """kill -9 while it saves: no manifest; and nothing that hangs."""
    g = counting()
    d = os.path.join(ckpt.DIR, "killed")
    os.mkdir(d)

    def kill():
        g.p.kill()
    try:
        ckpt.save(g, "stop", directory=d, hook=kill)
        raise AssertionError("it was saved")
    except (OSError, ValueError, AssertionError, RuntimeError):
        pass
    g.kill()
    assert "manifest.json" not in os.listdir(d)
    refused(d, "no checkpoint")


def test_an_earlier_version():
    """What an earlier version wrote must come back for ever."""
    with open(os.path.join(OLD, "last")) as f:
        before = int(f.read(), 16)
    if os.environ.get("LODGE_TEST_ANY_CPU"):
        b = Counter(restore={"path": OLD}, **SHAPE)
        try:
            b.rounds(1, 0)
        except RuntimeError as e:
            if "it ran on a CPU" not in str(e) and "time stamp counter" not in str(e):
                raise
            print("# skipped: this host's CPU is another than the lab's, where it was made")
            return
        finally:
            b.kill()
    comes_back(OLD, before, ("read", "uffd"))


def make_old():
    """Write a checkpoint for test/data, in the lab: count.py VMM ELF DIR make."""
    g = counting()
    d, _ = ckpt.save(g, "stop", zstd=True)
    before = last(g)
    g.kill()
    shutil.copytree(d, OLD)
    with open(os.path.join(OLD, "last"), "w") as f:
        f.write("%08x\n" % before)


if __name__ == "__main__":
    if sys.argv[4:] == ["make"]:
        sys.exit(make_old())
    sys.exit(ckpt.main(globals()))
