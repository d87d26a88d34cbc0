#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Saving and coming back, lodge-vmm beside QEMU; runs in the lab and prints a table.

usage: ckpt.py LODGE-VMM VMLINUX INITRD [RUNS]
"""
import ctypes
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

VMM, VMLINUX, INITRD = sys.argv[1:4]
RUNS = int(sys.argv[4]) if len(sys.argv) > 4 else 3
DIR = tempfile.mkdtemp(prefix="ckpt")
CMDLINE = "console=ttyS0 quiet panic=-1 mitigations=off"
LIMIT = 200


class Machine:
    """A process whose serial port is its standard input and output."""

    def __init__(self, argv):
        self.start = time.monotonic()
        self.p = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)
        self.seen, self.change, self.first = b"", threading.Condition(), None
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            part = os.read(self.p.stdout.fileno(), 65536)
            with self.change:
                if not part:
                    self.seen += b"<end>"
                elif self.first is None:
                    self.first = time.monotonic() - self.start
                self.seen += part
                self.change.notify_all()
            if not part:
                return

    def until(self, word, count=1):
        end = time.monotonic() + LIMIT
        with self.change:
            while self.seen.count(word) < count:
                left = end - time.monotonic()
                if left <= 0 or b"<end>" in self.seen:
                    raise RuntimeError("no %s: %s" % (word, self.seen[-500:]))
                self.change.wait(left)

    def dirty(self, mib):
        n = self.seen.count(b"dirtied") + 1
        self.p.stdin.write(b"dirty %d\n" % mib)
        self.p.stdin.flush()
        self.until(b"dirtied", n)

    def end(self):
        self.p.kill()
        self.p.wait()


class Lodge(Machine):
    def __init__(self, mib, restore=None, page="4K"):
        self.directory = tempfile.mkdtemp(dir=DIR)
        self.control = os.path.join(self.directory, "control")
        config = {"memory": {"size_mib": mib, "page": page}, "control": {"path": self.control},
                  "devices": [{"type": "serial", "stdio": True}, {"type": "rng"}]}
        if restore:
            config["restore"] = restore
        else:
            config.update(kernel=VMLINUX, initrd=INITRD, cmdline=CMDLINE)
        path = os.path.join(self.directory, "config")
        with open(path, "w") as f:
            json.dump(config, f)
        super().__init__([VMM, "--config", path])

    def call(self, method, params=None, fds=()):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(LIMIT)
            s.connect(self.control)
            f = s.makefile("r")
            f.readline()
            line = (json.dumps({"id": "1", "method": method, "params": params or {}}) + "\n").encode()
            socket.send_fds(s, [line], list(fds)) if fds else s.sendall(line)
            answer = {"progress": 1}
            while "progress" in answer:
                answer = json.loads(f.readline())
        if "result" not in answer:
            raise RuntimeError(answer["error"]["text"])
        return answer["result"]

    def save(self, name, **params):
        d = os.path.join(DIR, name)
        shutil.rmtree(d, ignore_errors=True)
        os.mkdir(d)
        fds = [os.open(os.path.join(d, n), os.O_RDWR | os.O_CREAT, 0o600)
               for n in ("state", "index", "memory")]
        start = time.monotonic()
        r = self.call("checkpoint", dict(params, id="%032x" % (abs(hash(name)) % 10**9)), fds)
        took = time.monotonic() - start
        for fd in fds:
            os.close(fd)
        m = r["manifest"]
        lib = ctypes.CDLL("libxxhash.so.0")
        lib.XXH64.restype = ctypes.c_uint64
        lib.XXH64.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
        text = json.dumps(m, sort_keys=True, separators=(",", ":")).encode()
        m["checksum"] = "%016x" % lib.XXH64(text, len(text), 0)
        with open(os.path.join(d, "manifest.json"), "w") as f:
            json.dump(m, f)
        return d, took, r


class Qemu(Machine):
    def __init__(self, mib, incoming=None):
        self.qmp_path = os.path.join(tempfile.mkdtemp(dir=DIR), "qmp")
        more = ["-incoming", "exec:cat " + incoming] if incoming else []
        super().__init__(["qemu-system-x86_64", "-M", "q35", "-accel", "kvm,kernel-irqchip=split",
                          "-cpu", "host", "-m", str(mib), "-nodefaults", "-display", "none",
                          "-serial", "stdio", "-no-reboot", "-kernel", VMLINUX, "-initrd", INITRD,
                          "-append", CMDLINE, "-device", "virtio-rng-pci",
                          "-qmp", "unix:%s,server=on,wait=off" % self.qmp_path] + more)
        self.qmp = None

    def ask(self, command, **arguments):
        if self.qmp is None:
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(LIMIT)
            s.connect(self.qmp_path)
            self.qmp = s.makefile("rw")
            self.qmp.readline()
            self.ask("qmp_capabilities")
        self.qmp.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.qmp.flush()
        while True:
            answer = json.loads(self.qmp.readline())
            if "error" in answer:
                raise RuntimeError(answer)
            if "return" in answer:
                return answer["return"]

    def save(self, path, stop=True):
        """Saved while it stands, it comes back standing; saved while it runs, running."""
        start = time.monotonic()
        if stop:
            self.ask("stop")
        self.ask("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self.ask("migrate", uri="exec:cat >" + path)
        while self.ask("query-migrate")["status"] != "completed":
            time.sleep(0.02)
        took = time.monotonic() - start
        self.ask("cont")
        return took


def booted(make):
    """The emulated CPU loses a boot now and then."""
    for _ in range(3):
        g = make()
        try:
            g.until(b"ready")
            g.until(b"tick", 5)
            return g
        except RuntimeError as e:
            print("# lost a boot: %s" % str(e)[-200:], flush=True)
            g.end()
    raise SystemExit("no boot in three")


def come_back(make):
    """Seconds from its start to the first byte that its guest says, every 20 ms. Nothing asks
    meanwhile: there is one CPU."""
    g = make()
    try:
        g.until(b"tick")
        return g.first
    finally:
        g.end()


ROWS = []


def row(name, values, form="%.0f ms", scale=1000):
    text = form % (scale * statistics.median(values))
    if len(values) > 1:
        text += " (" + form % (scale * min(values)) + " to " + form % (scale * max(values)) + ")"
    ROWS.append((name, text))
    print("# %s: %s" % (name, text), flush=True)
    return statistics.median(values)


def empty_process():
    start = time.monotonic()
    subprocess.run(["/bin/true"], check=True)
    return time.monotonic() - start


def main():
    row("any program: from start to its end", [empty_process() for _ in range(9)])
    g = booted(lambda: Qemu(256))
    path = os.path.join(DIR, "qemu")
    q_save = row("QEMU q35: stop, migrate to a file", [g.save(path) for _ in range(RUNS)])
    g.save(path, stop=False)
    size = os.path.getsize(path)
    g.end()
    q_back = row("QEMU q35: from start to the guest's first word",
                 [come_back(lambda: Qemu(256, path)) for _ in range(RUNS)])
    os.unlink(path)

    g = booted(lambda: Lodge(256))
    stops = []
    for i in range(RUNS):
        d, took, r = g.save("stop", mode="stop")
        stops.append((took, r["downtime_us"] / 1e6))
        g.call("resume")
    l_save = row("lodge-vmm: checkpoint, stop (flushed to the disk)", [a for a, _ in stops])
    goes = []
    for i in range(RUNS):
        d, took, r = g.save("go", mode="continue")
        goes.append((took, r["downtime_us"] / 1e6))
    row("lodge-vmm: checkpoint, continue, in all", [a for a, _ in goes])
    stop_down = row("lodge-vmm: stop: guest stands still", [b for _, b in stops])
    go_down = row("lodge-vmm: continue: guest stands still", [b for _, b in goes], "%.1f ms")
    d1, _, r1 = g.save("first", mode="continue", track=True)
    g.dirty(16)
    d2, _, r2 = g.save("second", mode="continue", track=True,
                       parent={"id": r1["manifest"]["id"], "name": "first"})
    child, dirty = r2["written_bytes"] / 2**20, r2["dirty_bytes"] / 2**20
    ROWS.append(("lodge-vmm: child after a program wrote 16 MiB", "%.1f MiB" % child))
    ROWS.append(("written by all of the guest by then, as KVM logs it", "%.1f MiB" % dirty))
    ROWS.append(("its first, whole one", "%.1f MiB (QEMU's file: %.1f MiB)" % (
        r1["written_bytes"] / 2**20, size / 2**20)))
    d, _, _ = g.save("last", mode="stop")
    g.end()
    def back(mib, mode, path):
        restore = {"path": path, "mode": mode, "verify": False}
        return [come_back(lambda: Lodge(mib, restore)) for _ in range(RUNS)]

    said = "lodge-vmm: %s: from start to the guest's first word"
    row(said % "read", back(256, "read", d))
    row(said % "uffd", back(256, "uffd", d))
    l_back = row(said % "map", back(256, "map", d))
    g = booted(lambda: Lodge(1024))
    d, _, _ = g.save("large", mode="stop")
    g.end()
    large = row(said % "map, 1 GiB", back(1024, "map", d))
    print("\n| 256 MiB, 1 vCPU, 4K pages, 96 MiB filled | |\n|---|---|")
    for name, text in ROWS:
        print("| %s | %s |" % (name, text))
    print("\nSaving: %.2f times QEMU's speed. Back at work: 1/%.1f of QEMU's time; 1 GiB takes %.2f "
          "times as long as 256 MiB.\nStill for the cut: 1/%.1f of stop's. A child: %.2f times what "
          "the guest wrote." % (q_save / l_save, q_back / l_back, large / l_back,
                                stop_down / go_down, child / dirty))
    shutil.rmtree(DIR, ignore_errors=True)


main()
