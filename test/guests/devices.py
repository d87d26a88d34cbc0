#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Try lodge-vmm's devices with a Debian kernel; runs in the lab. Prints TAP.

usage: devices.py LODGE-VMM KERNEL INITRD [NAME...]   (NAME: only these checks)
"""
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

import tap

VMM, KERNEL, INITRD = sys.argv[1:4]
DIR = tempfile.mkdtemp(prefix="vd")
os.chmod(DIR, 0o755)
SLOW = int(os.environ.get("LODGE_TEST_SLOW", 100))


class Guest:
    def __init__(self, name, devices, vcpus=1, memory=256, sandbox=True, page="4K", nodes=None,
                 fds=(), words=""):
        self.dir = tempfile.mkdtemp(prefix=name, dir=DIR)
        self.console = os.path.join(self.dir, "test")
        self.control = os.path.join(self.dir, "control")
        self.log = os.path.join(self.dir, "serial")
        config = {
            "name": name, "vcpus": vcpus, "memory": {"size_mib": memory, "page": page},
            "kernel": KERNEL, "initrd": INITRD,
            "cmdline": "console=ttyS0 panic=-1 mitigations=off " + words,
            "control": {"path": self.control},
            "devices": [{"type": "serial", "stdio": True},
                        {"type": "console", "id": "con", "ports": [
                            {"path": os.path.join(self.dir, "hvc0")},
                            {"name": "org.lodge.test", "path": self.console},
                            {"name": "org.lodge.bulk", "path": os.path.join(self.dir, "bulk")}]}]
            + devices}
        if nodes:
            config["memory"]["nodes"] = nodes
        path = os.path.join(self.dir, "config.json")
        with open(path, "w") as f:
            json.dump(config, f)
        self.out = open(self.log, "wb")
        args = [VMM, "--config", path] + ([] if sandbox else ["--no-sandbox"])
        self.p = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=self.out,
                                  stderr=subprocess.STDOUT, pass_fds=fds)
        self.sock = self.connect(self.console)
        self.buf, self.last = b"", "boot"
        self.expect(b"ready\n")

    def connect(self, path):
        end = time.time() + SLOW
        while True:
            s = socket.socket(socket.AF_UNIX)
            try:
                s.connect(path)
                s.settimeout(SLOW)
                return s
            except OSError:
                s.close()
                if time.time() > end or self.p.poll() is not None:
                    raise RuntimeError("no console: " + self.tail())
                time.sleep(0.05)

    def tail(self):
        with open(self.log, "rb") as f:
            return f.read()[-3000:].decode(errors="replace")

    def expect(self, what):
        while what not in self.buf:
            try:
                got = self.sock.recv(65536)
            except socket.timeout:
                raise RuntimeError("no answer to '%s': %s" % (self.last, self.tail()))
            if not got:
                raise RuntimeError("the guest hung up: " + self.tail())
            self.buf += got
        head, self.buf = self.buf.split(what, 1)
        return head

    def run(self, command):
        """(status, output)"""
        self.last = command
        self.sock.sendall(command.encode() + b"\n")
        head = b""
        while True:
            line = self.expect(b"\n")
            if line.startswith(b"= "):
                return int(line[2:]), head.decode(errors="replace").strip()
            head += line + b"\n"

    def ok(self, command):
        status, out = self.run(command)
        if status:
            raise RuntimeError("'%s' in the guest: %d: %s" % (command, status, out))
        return out

    def call(self, method, **params):
        s = socket.socket(socket.AF_UNIX)
        s.connect(self.control)
        s.settimeout(SLOW)
        f = s.makefile("rwb")
        hello = f.readline()
        assert hello, "no hello"
        f.write(json.dumps({"id": "1", "method": method, "params": params}).encode() + b"\n")
        f.flush()
        while True:
            a = json.loads(f.readline())
            if a.get("id") == "1":
                s.close()
                if "error" in a:
                    raise RuntimeError("%s: %s" % (method, a["error"]))
                return a.get("result")

    def end(self, how="poweroff", want=0):
        self.sock.sendall(b"sync; %s -f\n" % how.encode())
        self.ended(want)

    def ended(self, want):
        try:
            status = self.p.wait(SLOW)
        finally:
            self.p.kill()
        self.sock.close()
        assert status == want, "exit status %d, not %d: %s" % (status, want, self.tail())


def test_blk():
    disk, base = os.path.join(DIR, "disk"), os.path.join(DIR, "base")
    with open(disk, "wb") as f:
        f.truncate(64 << 20)
    data = os.urandom(4 << 20)
    with open(base, "wb") as f:
        f.write(data)
    rows = [{"type": "blk", "path": disk, "serial": "lodge-scratch", "queues": 2},
            {"type": "blk", "path": base, "readonly": True, "serial": "lodge-root"}]
    g = Guest("blk", rows, vcpus=2)
    assert g.ok("cat /sys/block/vda/serial") == "lodge-scratch"
    assert g.ok("cat /sys/block/vdb/serial") == "lodge-root"
    assert g.ok("cat /sys/block/vdb/ro") == "1"
    assert g.ok("ls /sys/block/vda/mq | wc -l") == "2"
    assert g.ok("sha256sum /dev/vdb").split()[0] == hashlib.sha256(data).hexdigest()
    g.ok("dd if=/dev/urandom of=/dev/vda bs=1M count=16 conv=fsync")
    first = g.ok("sha256sum /dev/vda").split()[0]
    g.ok("blkdiscard -o 33554432 -l 1048576 /dev/vda || true")
    status, _ = g.run("dd if=/dev/zero of=/dev/vdb bs=4k count=1 conv=fsync")
    assert status != 0, "a read-only disk was written"
    stats = g.call("stats")
    assert "con" in json.dumps(stats), stats
    g.end()
    g = Guest("blk2", rows)
    assert g.ok("sha256sum /dev/vda").split()[0] == first
    g.end()
    with open(disk, "rb") as f:
        assert hashlib.sha256(f.read()).hexdigest() == first
    with open(base, "rb") as f:
        assert f.read() == data


def test_console():
    g = Guest("con", [])
    bulk = g.connect(os.path.join(g.dir, "bulk"))
    hvc = g.connect(os.path.join(g.dir, "hvc0"))
    g.ok("for p in /sys/class/virtio-ports/*; do [ $(cat $p/name) = org.lodge.bulk ] && "
         "B=/dev/${p##*/}; done; echo $B")
    # Guest to host with a reader that stalls, then reads: nothing may be lost.
    g.sock.sendall(b"dd if=/dev/zero bs=64k count=64 2>/dev/null | tr '\\0' x >$B; echo done\n")
    time.sleep(3)
    got = 0
    while got < 4 << 20:
        n = len(bulk.recv(65536))
        assert n, "the bulk port ended"
        got += n
    assert "done" in g.expect(b"\n= 0\n").decode()
    # And to the guest.
    g.sock.sendall(b"head -c 2000000 $B | md5sum\n")
    data = bytes(range(250)) * 8000
    bulk.sendall(data)
    assert g.expect(b"\n= 0\n").decode().split()[0] == hashlib.md5(data).hexdigest()
    g.ok("stty -F /dev/hvc0 raw -echo; echo hello >/dev/hvc0")
    assert b"hello" in hvc.recv(100)
    g.sock.sendall(b"head -n 1 /dev/hvc0\n")
    time.sleep(1)
    hvc.sendall(b"line\n")
    assert g.expect(b"\n= 0\n").decode().strip() == "line"
    # A client that goes and comes back.
    bulk.close()
    time.sleep(1)
    bulk = g.connect(os.path.join(g.dir, "bulk"))
    time.sleep(1)
    g.ok("echo again >$B")
    assert bulk.recv(100) == b"again\n"
    g.end()


def test_rng():
    g = Guest("rng", [{"type": "rng"}])
    assert "virtio" in g.ok("cat /sys/class/misc/hw_random/rng_current")
    one = g.ok("head -c 4096 /dev/hwrng | md5sum")
    assert one != g.ok("head -c 4096 /dev/hwrng | md5sum")
    g.end()


def send_all(listener, data):
    s, _ = listener.accept()
    s.sendall(data)
    s.close()


def net(vhost):
    pid = os.getpid()
    tap, host, guest = "lt%d" % pid, "10.99.%d.1" % vhost, "10.99.%d.2" % vhost
    subprocess.check_call(["modprobe", "-a", "tun", "vhost_net"])
    subprocess.check_call(["ip", "tuntap", "add", tap, "mode", "tap", "vnet_hdr"])
    subprocess.check_call(["ip", "addr", "add", host + "/24", "dev", tap])
    subprocess.check_call(["ip", "link", "set", tap, "up"])
    try:
        g = Guest("net", [{"type": "net", "tap": tap, "mac": "52:54:00:12:34:56", "vhost": bool(vhost)}])
        assert g.ok("cat /sys/class/net/eth0/address") == "52:54:00:12:34:56"
        g.ok("ip link set eth0 up; ip addr add %s/24 dev eth0" % guest)
        g.ok("ping -c 3 -w 20 %s" % host)
        data = os.urandom(1 << 20) * 100  # MD5: the cheapest that busybox has
        for way in "to", "from":
            listener = socket.socket()
            listener.bind((host, 0))
            listener.listen(1)
            port = listener.getsockname()[1]
            start = time.time()
            if way == "to":
                t = threading.Thread(target=send_all, args=(listener, data))
                t.start()
                got = g.ok("nc %s %d | md5sum" % (host, port)).split()[0]
                t.join()
                want = hashlib.md5(data).hexdigest()
            else:
                g.sock.sendall(b"dd if=/dev/zero bs=1M count=100 2>/dev/null | tr '\\0' q | nc %s %d\n"
                               % (host.encode(), port))
                s, _ = listener.accept()
                h = hashlib.md5()
                while True:
                    part = s.recv(1 << 20)
                    if not part:
                        break
                    h.update(part)
                s.close()
                g.expect(b"\n= 0\n")
                got, want = h.hexdigest(), hashlib.md5(b"q" * (100 << 20)).hexdigest()
            print("# net vhost=%d %s guest: 100 MB in %.1f s" % (vhost, way, time.time() - start))
            assert got == want, "100 MB arrived changed"
        g.end()
    finally:
        subprocess.call(["ip", "link", "del", tap])


def test_net():
    net(0)


def test_vhost():
    net(1)


def test_fs():
    share = os.path.join(DIR, "share")
    os.mkdir(share)
    with open(os.path.join(share, "from-host"), "w") as f:
        f.write("written by the host")
    path = os.path.join(DIR, "fs.sock")
    for again in False, True:
        d = subprocess.Popen(["/usr/lib/qemu/virtiofsd", "--socket-path=" + path, "-o",
                              "source=" + share, "-o", "cache=auto", "-o", "sandbox=chroot"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.time() + SLOW
        while not os.path.exists(path) and time.time() < end:
            time.sleep(0.1)
        try:
            g = Guest("fs", [{"type": "fs", "tag": "share", "socket": path}])
            g.ok("mount -t virtiofs share /mnt")
            if again:
                assert g.ok("sha256sum /mnt/file").split()[0] == want
            else:
                assert g.ok("cat /mnt/from-host") == "written by the host"
                g.ok("dd if=/dev/urandom of=/mnt/file bs=64k count=32 conv=fsync")
                want = g.ok("sha256sum /mnt/file").split()[0]
                with open(os.path.join(share, "file"), "rb") as f:
                    assert hashlib.sha256(f.read()).hexdigest() == want
            g.ok("umount /mnt")
            g.end()
        finally:
            d.kill()
            d.wait()
        if os.path.exists(path):
            os.unlink(path)


def test_pmem():
    base = os.path.join(DIR, "pmem")
    data = os.urandom(3 << 20) + b"end of it"
    with open(base, "wb") as f:
        f.write(data)
    g = Guest("pmem", [{"type": "pmem", "path": base, "readonly": True}, {"type": "vmgenid"},
                       {"type": "balloon", "id": "bal"}])
    assert g.ok("cat /sys/block/pmem0/size") == str((4 << 20) // 512)
    got = g.ok("head -c %d /dev/pmem0 | sha256sum" % len(data)).split()[0]
    assert got == hashlib.sha256(data).hexdigest()
    free = "awk '/MemFree/ { print $2 }' /proc/meminfo"
    before = int(g.ok(free))
    g.call("set", device="bal", mib=64)
    for i in range(60):
        time.sleep(1)
        if before - int(g.ok(free)) > 60 << 10:
            break
    else:
        raise RuntimeError("the balloon gave nothing back")
    assert g.call("stats")["devices"]["bal"]["given"] > 10000
    g.call("set", device="bal", mib=0)
    for i in range(60):
        time.sleep(1)
        if before - int(g.ok(free)) < 20 << 10:
            break
    else:
        raise RuntimeError("the balloon took nothing again")
    g.end()


def main(tests):
    failed = tap.run(tests, sys.argv[4:])
    shutil.rmtree(DIR, ignore_errors=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(globals()))
