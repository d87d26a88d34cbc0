#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Save a guest of lodge-vmm and let it come back; runs in the lab. Prints TAP.

usage: ckpt.py LODGE-VMM VMLINUX INITRD [NAME...]   (NAME: only these checks)
"""
import ctypes
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import tap

VMM, VMLINUX, INITRD = sys.argv[1:4]
DIR = tempfile.mkdtemp(prefix="ckpt")
CMDLINE = "console=ttyS0 panic=-1 mitigations=off"
SLOW = int(os.environ.get("LODGE_TEST_SLOW", 150))


def xxh64(data):
    lib = ctypes.CDLL("libxxhash.so.0")
    lib.XXH64.restype = ctypes.c_uint64
    lib.XXH64.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
    return "%016x" % lib.XXH64(data, len(data), 0)


class Guest(tap.Machine):
    """A lodge-vmm; with restore, one that comes back."""

    def __init__(self, vcpus=1, page="4K", memory=192, devices=(), restore=None):
        self.shape = dict(vcpus=vcpus, page=page, memory=memory)
        self.dir = tempfile.mkdtemp(prefix="vm", dir=DIR)
        self.control = os.path.join(self.dir, "control")
        config = {"vcpus": vcpus, "memory": {"size_mib": memory, "page": page},
                  "control": {"path": self.control},
                  "devices": [{"type": "serial", "stdio": True}, {"type": "vmgenid"}]
                  + list(devices)}
        if restore:
            config["restore"] = restore
        else:
            config.update(kernel=VMLINUX, cmdline=CMDLINE)
            if INITRD:
                config["initrd"] = INITRD
        super().__init__(VMM, config, self.dir, SLOW)

    def call(self, method, params=None, fds=(), progress=None):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(SLOW)
            s.connect(self.control)
            f = s.makefile("r")
            f.readline()
            line = json.dumps({"id": "1", "method": method, "params": params or {}}) + "\n"
            if fds:
                socket.send_fds(s, [line.encode()], list(fds))
            else:
                s.sendall(line.encode())
            while True:
                answer = json.loads(f.readline())
                if "progress" not in answer:
                    return answer
                if progress:
                    progress(answer["progress"])

    def kill(self):
        self.p.kill()
        self.p.wait()

    # What it says, as numbers.

    def said(self, start=0):
        """[(n, up, [cpu counters])] of its lines from number `start` on."""
        out = []
        for line in self.lines[start:]:
            m = re.search(r"^n: (\d+) up: (\S+) cpus: ([\d ]+)", line)
            if m:
                out.append((int(m[1]), float(m[2]), [int(x) for x in m[3].split()]))
        return out

    def rounds(self, count, start=None):
        """Wait for that many more lines."""
        at = len(self.lines) if start is None else start
        for _ in range(count):
            at = self.expect(r"^n: \d+ up: .*", at)[0] + 1
        return at

    def sane(self, first=None):
        """Every round follows the one before, clocks and CPUs go forward, nobody complains."""
        bad = re.search("bad:|stall|lockup|unstable|Call Trace|BUG|Oops",
                        self.text().split("act: count")[-1])
        assert not bad, self.text()[-3000:]
        said = self.said()
        assert said, self.text()
        if first:
            said = [first] + said
        for a, b in zip(said, said[1:]):
            assert b[0] == a[0] + 1, (a, b)
            assert a[1] <= b[1] < a[1] + 30, (a, b)
            assert len(b[2]) == self.shape["vcpus"], b
        assert all(x < y for x, y in zip(said[0][2], said[-1][2])), (said[0], said[-1])


def booted(**more):
    """A boot may fail in the emulated CPU (see machine.py): tried again twice, and told."""
    for attempt in range(3):
        g = Guest(**more)
        try:
            g.expect("^act: count")
            g.rounds(3, 0)
            return g
        except RuntimeError as e:
            g.kill()
            print("# attempt %d did not reach /init: status %s" % (attempt + 1, g.p.poll()))
            last = e
    raise last


NUMBER = [0]


def save(g, mode, directory=None, hook=None, **more):
    """(directory, answer's result); the manifest is there only when it went well."""
    NUMBER[0] += 1
    d = directory or os.path.join(DIR, "c%d" % NUMBER[0])
    os.makedirs(d, exist_ok=True)
    fds = [os.open(os.path.join(d, n), os.O_RDWR | os.O_CREAT, 0o600)
           for n in ("state", "index", "memory")]

    def progress(what):
        if what["phase"] == "cut":
            try:
                hook()
                params = {"ok": True}
            except Exception as e:
                params = {"ok": False, "reason": str(e)}
            answer = g.call("checkpoint.cut", params)
            assert "result" in answer, answer

    params = dict(id="%032x" % NUMBER[0], mode=mode, hook=hook is not None, **more)
    answer = g.call("checkpoint", params, fds, progress)
    for fd in fds:
        os.close(fd)
    if "error" in answer:
        raise RuntimeError(answer["error"]["text"])
    m = answer["result"]["manifest"]
    m["checksum"] = xxh64(json.dumps(m, sort_keys=True, separators=(",", ":")).encode())
    with open(os.path.join(d, "manifest.json"), "w") as f:
        json.dump(m, f)
    print("# %s, %s: still for %.1f ms, %d KiB stored" % (
        g.shape, mode, answer["result"]["downtime_us"] / 1000,
        answer["result"]["written_bytes"] >> 10), flush=True)
    return d, answer["result"]


def back(g, d, mode="read", devices=(), page=None, last=None):
    """Come back from d and go on: the guest, after some rounds."""
    start = time.monotonic()
    shape = dict(g.shape, page=page or g.shape["page"])
    b = Guest(devices=devices, restore={"path": d, "mode": mode}, **shape)
    try:
        b.expect(r"^n: \d+")
        took = time.monotonic() - start
        b.rounds(6, 0)
        b.sane(last)
        gap = b.said()[0][1] - last[1] if last else 0
        print("# %s %s: first word after %.2f s, guest's clock +%.2f s" % (shape, mode, took, gap),
              flush=True)
        assert gap < 10, "its clock jumped"
    except Exception:
        b.kill()
        raise
    return b


def comes_back(g, d, last, modes, **more):
    for mode in modes:
        back(g, d, mode, last=last, **more).kill()


def last_of(g, before):
    """The last round said before the cut, by what the saved machine goes on with."""
    said = [x for x in g.said() if x[0] <= before]
    return said[-1] if said else None


def both_ways(vcpus, page, modes, memory=192):
    g = booted(vcpus=vcpus, page=page, memory=memory)
    try:
        at = len(g.lines)
        running, r1 = save(g, "continue")
        g.rounds(4, at)
        g.sane()  # it never noticed
        still, r2 = save(g, "stop")
        time.sleep(1)
        said = g.said()
        last = said[-1]
        time.sleep(2)
        assert g.said()[-1] == last, "it runs while it is paused"
        g.sane()
        g.kill()
        comes_back(g, still, last, modes)
        shutil.rmtree(still)
        # The earlier one: goes on from a round that this guest had said, too.
        b = back(g, running, "read")
        b.kill()
        first = b.said()[0]
        one_before = [x for x in said if x[0] == first[0] - 1]
        assert one_before and first[1] >= one_before[0][1], (first, said)
        return r1, r2
    finally:
        g.kill()


def test_1x4K():
    both_ways(1, "4K", ["read", "map", "uffd"])


def test_4x2M():
    both_ways(4, "2M", ["read", "uffd"])


def test_4x4K():
    both_ways(4, "4K", ["read", "map", "uffd"])


def test_1x1G():
    both_ways(1, "1G", ["read"], memory=1024)


def test_again_and_again():
    """A child of a child, saved from one that came back; and twice by the same parent's files."""
    g = booted(vcpus=2)
    try:
        d, _ = save(g, "stop")
        last = g.said()[-1]
        g.kill()
        for mode in "uffd", "read", "read":
            g = back(g, d, mode, last=last)
            # Wait until all of it is there: one that is still coming back says so.
            for _ in range(100):
                try:
                    d, _ = save(g, "stop")
                    break
                except RuntimeError as e:
                    assert "coming back" in str(e), e
                    time.sleep(1)
            time.sleep(1)
            last = g.said()[-1]
            g.kill()
    finally:
        g.kill()


def test_incremental():
    g = booted(vcpus=2)
    try:
        d, full = save(g, "continue", track=True)
        g.rounds(3)
        for mode in "continue", "stop":
            params = {"parent": {"id": full["manifest"]["id"], "name": os.path.basename(d)}}
            d, small = save(g, mode, track=True, **params)
            assert small["written_bytes"] < full["written_bytes"] / 2, (small, full)
            full = dict(full, manifest=small["manifest"])
            if mode == "continue":
                g.rounds(3)
        time.sleep(1)
        last = g.said()[-1]
        g.sane()
        g.kill()
        comes_back(g, d, last, ["read", "uffd"])
    finally:
        g.kill()


def test_zstd():
    g = booted()
    try:
        d, r = save(g, "continue", zstd=True)
        g.rounds(3)
        g.sane()
        g.kill()
        back(g, d, "read").kill()
    finally:
        g.kill()


def test_disk_net_rng():
    subprocess.run(["ip", "tuntap", "add", "ckpt0", "mode", "tap"], check=True)
    subprocess.run(["ip", "addr", "add", "10.99.7.1/24", "dev", "ckpt0"], check=True)
    subprocess.run(["ip", "link", "set", "ckpt0", "up"], check=True)

    def devices(disk, vhost=False):
        return [{"type": "blk", "id": "disk", "path": disk, "queues": 2},
                {"type": "net", "id": "net", "tap": "ckpt0", "mac": "52:54:00:07:07:07"},
                {"type": "rng", "id": "rng"}]

    def ping():
        subprocess.run(["ping", "-c", "3", "-i", "0.2", "-W", "20", "10.99.7.2"], check=True,
                       stdout=subprocess.DEVNULL)

    def newest(disk):
        n = 0
        with open(disk, "rb") as f:
            for i in range(1, 4000):
                f.seek(512 * i)
                head = f.read(16).split(b"\n")[0]
                n = i if head == str(i).encode() else n
        return n

    disk, cut = os.path.join(DIR, "disk"), os.path.join(DIR, "cut")
    with open(disk, "wb") as f:
        f.truncate(4 << 20)
    g = booted(vcpus=2, devices=devices(disk))
    try:
        g.expect(r"disk: \d+ rng: ok")
        ping()
        for mode in "continue", "stop":
            at = len(g.lines)
            d, _ = save(g, mode, hook=lambda: shutil.copyfile(disk, cut + mode))
            if mode == "continue":
                g.rounds(3, at)
                ping()
                first = d
        g.sane()
        g.kill()
        for mode, directory in ("continue", first), ("stop", d):
            n = newest(cut + mode)
            b = back(g, directory, "read", devices=devices(cut + mode))
            ping()
            b.kill()
            assert b.said()[0][0] in (n, n + 1), (b.said()[0], n)
            assert newest(cut + mode) >= b.said()[-1][0]
    finally:
        g.kill()
        subprocess.run(["ip", "link", "del", "ckpt0"], check=True)


def test_full_disk_and_giving_up():
    small = os.path.join(DIR, "small")
    os.mkdir(small)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "small", small], check=True)
    g = booted()
    try:
        for mode in "continue", "stop":
            try:
                save(g, mode, directory=small)
                raise AssertionError("4 MiB were enough")
            except RuntimeError as e:
                assert "No space left" in str(e), e
            for n in os.listdir(small):
                os.unlink(os.path.join(small, n))
            g.rounds(3)  # it goes on, also after "stop"

        def refuse():
            raise OSError("the layer cannot be made")
        try:
            save(g, "stop", hook=refuse)
            raise AssertionError("it did not mind")
        except RuntimeError as e:
            assert "the layer cannot be made" in str(e), e
        g.rounds(3)
        d, _ = save(g, "continue")
        g.rounds(2)
        g.sane()
        g.kill()
        # Another machine than the one that was saved: refused, with the reason.
        for wrong, reason in ((dict(vcpus=2), "no section 'vcpu1'"), (dict(memory=128), "MiB"),
                              (dict(devices=[{"type": "rng"}]), "rng")):
            b = Guest(restore={"path": d, "mode": "read"}, **dict(g.shape, **wrong))
            assert b.p.wait(SLOW) != 0
            b.expect(reason)
            assert len(b.lines) == 1, b.text()
    finally:
        g.kill()
        subprocess.run(["umount", small], check=True)


def clear():
    """The lab's files are in its memory."""
    for name in os.listdir(DIR):
        path = os.path.join(DIR, name)
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


def main(tests=None):
    failed = tap.run(tests or globals(), sys.argv[4:], clear)
    shutil.rmtree(DIR, ignore_errors=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
