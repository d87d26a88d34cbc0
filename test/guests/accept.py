#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Try whole machines of lodge-vmm: what is written survives a reboot, a pause is not seen, NUMA and
huge pages are what was asked for, kill -9 leaves nothing. Runs in the lab. Prints TAP.

usage: accept.py LODGE-VMM KERNEL INITRD NAME...
"""
import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import devices
from devices import DIR, KERNEL, SLOW, VMM, Guest, main, send_all

TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 2, 0x1000, 0x4000
NOBODY = 65534


def until(what, true):
    end = time.monotonic() + SLOW
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def pool(page, node=None, what="free"):
    kib = {"2M": 2 << 10, "1G": 1 << 20}[page]
    where = "/sys/kernel/mm" if node is None else "/sys/devices/system/node/node%d" % node
    with open("%s/hugepages/hugepages-%dkB/%s_hugepages" % (where, kib, what)) as f:
        return int(f.read())


class Tap:
    """A tap of ours that is there until it is closed."""

    def __init__(self, net):
        self.name, self.host, self.guest = "la%d" % os.getpid(), "10.98.%d.1" % net, "10.98.%d.2" % net
        self.fd = os.open("/dev/net/tun", os.O_RDWR)
        flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
        fcntl.ioctl(self.fd, TUNSETIFF, struct.pack("16sH22x", self.name.encode(), flags))
        subprocess.check_call(["ip", "addr", "add", self.host + "/24", "dev", self.name])
        subprocess.check_call(["ip", "link", "set", self.name, "up"])

    def close(self):
        os.close(self.fd)

    def there(self):
        return os.path.exists("/sys/class/net/" + self.name)


class Share:
    """virtiofsd on a directory."""

    def __init__(self, name):
        self.dir = os.path.join(DIR, name)
        self.path = self.dir + ".sock"
        os.makedirs(self.dir, exist_ok=True)

    def __enter__(self):
        self.p = subprocess.Popen(["/usr/lib/qemu/virtiofsd", "--socket-path=" + self.path, "-o",
                                   "source=" + self.dir, "-o", "sandbox=chroot"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until("virtiofsd", lambda: os.path.exists(self.path))
        return self

    def __exit__(self, *_):
        self.p.kill()
        self.p.wait()
        if os.path.exists(self.path):
            os.unlink(self.path)


def network(tap, g):
    g.ok("ip link set eth0 up; ip addr add %s/24 dev eth0" % tap.guest)
    g.ok("ping -c 2 -w 20 %s" % tap.host)


def hundred(tap, g):
    """100 MB over the net, equal."""
    data = os.urandom(1 << 20) * 100
    listener = socket.socket()
    listener.bind((tap.host, 0))
    listener.listen(1)
    t = threading.Thread(target=send_all, args=(listener, data))
    t.start()
    got = g.ok("nc %s %d | md5sum" % (tap.host, listener.getsockname()[1])).split()[0]
    t.join()
    assert got == devices.hashlib.md5(data).hexdigest(), "100 MB arrived changed"


def whole(vcpus, page, memory=384):
    """All devices at once; files on the disk and the share, equal after a reboot; ping, 100 MB."""
    name = "w%dx%s" % (vcpus, page)
    disk = os.path.join(DIR, name)
    with open(disk, "wb") as f:
        f.truncate(48 << 20)
    tap, share, sums = Tap(1), Share(name + ".d"), None
    try:
        for again in False, True:
            with share:
                g = Guest(name, [{"type": "blk", "path": disk, "queues": min(vcpus, 2)},
                                 {"type": "net", "fd": tap.fd, "mac": "52:54:00:12:34:57"},
                                 {"type": "rng"}, {"type": "fs", "tag": "share", "socket": share.path}],
                          vcpus=vcpus, page=page, memory=memory, fds=[tap.fd])
                assert g.ok("nproc") == str(vcpus)
                assert len(g.ok("head -c 32 /dev/hwrng | md5sum")) > 32
                if not again:
                    g.ok("mke2fs /dev/vda")
                g.ok("mkdir /mnt/d /mnt/s; mount -t ext4 /dev/vda /mnt/d && mount -t virtiofs share /mnt/s")
                if not again:
                    g.ok("dd if=/dev/urandom of=/mnt/d/file bs=1M count=8 && cp /mnt/d/file /mnt/s/file; sync")
                got = g.ok("cat /mnt/d/file | md5sum; cat /mnt/s/file | md5sum").split("\n")
                assert got[0] == got[1] and (not again or got == sums), (got, sums)
                sums = got
                network(tap, g)
                if again:
                    hundred(tap, g)
                g.ok("umount /mnt/d; umount /mnt/s")
                g.end(*(("poweroff", 0) if again else ("reboot", 10)))
    finally:
        tap.close()


def test_whole_1x4K():
    whole(1, "4K")


def test_whole_4x4K():
    whole(4, "4K")


def test_whole_1x2M():
    whole(1, "2M")


def test_whole_4x2M():
    whole(4, "2M")


def test_whole_1x1G():
    whole(1, "1G", 1024)


def test_whole_4x1G():
    whole(4, "1G", 1024)


def test_ends():
    """Each end has a status of its own; power-off and reboot are in whole()."""
    g = Guest("panic", [])
    g.sock.sendall(b"echo c >/proc/sysrq-trigger\n")
    g.ended(11)
    g = Guest("triple", [], words="reboot=t")
    g.end("reboot", 12)


def still(near, far, pause, resume):
    """How far the guest's clock went on while it was paused, in seconds, and how long its standing still
    is not told by the pause. A reading is (host's time when it came, number, guest's time); what
    was quickest on its way, before the pause and after it, tells best how the clocks differ."""
    moved = min(h - g for h, _, g in far) - min(h - g for h, _, g in near)
    return resume[0] - pause[1] - moved, moved - (resume[1] - pause[0])


def test_pause():
    """A guest tells its monotonic clock over TCP without a rest; it is paused for 10 s, three times.
    Its clock stands still meanwhile and never goes back, and no line is lost."""
    tap, listener, seen = Tap(2), socket.socket(), []
    try:
        g = Guest("pause", [{"type": "net", "fd": tap.fd}], vcpus=2, fds=[tap.fd])
        network(tap, g)
        listener.bind((tap.host, 0))
        listener.listen(1)
        g.ok("(n=0; while read up rest </proc/uptime; do n=$((n + 1)); echo $n $up; done | nc %s %d) &" %
             (tap.host, listener.getsockname()[1]))
        s, _ = listener.accept()
        f = s.makefile()

        def read():
            for line in f:
                seen.append((time.monotonic(), *map(float, line.split())))
        threading.Thread(target=read, daemon=True).start()
        until("no clock from the guest", lambda: len(seen) > 500)
        print("# the guest's clock is " +
              g.ok("cat /sys/devices/system/clocksource/clocksource0/current_clocksource"))

        def timed(what):
            start = time.monotonic()
            g.call(what)
            return start, time.monotonic()
        for _ in range(3):
            pause = timed("pause")
            time.sleep(2)  # what it had said is read
            before = len(seen)
            time.sleep(8)
            assert len(seen) == before, "it talks while it is paused"
            resume = timed("resume")
            until("the connection is dead", lambda: len(seen) > before + 500)
            on, more = still(seen[before - 400:before], seen[before:before + 400], pause, resume)
            steps = [b[2] - a[2] for a, b in zip(seen[before - 2:], seen[before - 1:before + 2])]
            print("# paused %.2f s: the guest's clock went on by %.0f ms meanwhile; readings around it: +%s ms" %
                  (resume[0] - pause[1], max(0, 1000 * on), ", +".join("%.0f" % (1000 * x) for x in steps)),
                  flush=True)
            assert resume[0] - pause[1] > 9.9 and on < 0.05 and more < 0.05, (on, more)
        times = [x[2] for x in seen]
        assert times == sorted(times), "the clock went back"
        assert [int(x[1]) for x in seen] == list(range(1, len(seen) + 1)), "lines were lost"
        s.close()
        g.end()
    finally:
        tap.close()


def test_kill_unprivileged():
    """kill -9 at any time of a machine of an unprivileged user: no tap, huge page, process stays."""
    free = pool("2M")
    path = os.path.join(DIR, "kill.json")
    # Open already: where they lie is not for everybody.
    kernel, initrd = (os.open(p, os.O_RDONLY) for p in (KERNEL, devices.INITRD))
    for i in range(12):
        tap = Tap(3)
        with open(path, "w") as f:
            json.dump({"name": "kill", "vcpus": 2, "memory": {"size_mib": 192, "page": "2M"},
                       "kernel": {"fd": kernel}, "initrd": {"fd": initrd}, "cmdline": "console=ttyS0",
                       "devices": [{"type": "serial", "stdio": True}, {"type": "rng"},
                                   {"type": "net", "fd": tap.fd}]}, f)
        p = subprocess.Popen(["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups",
                              VMM, "--config", path], stdin=subprocess.DEVNULL, pass_fds=[tap.fd, kernel, initrd],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        tap.close()
        if i >= 6:  # it runs for certain
            line = p.stdout.readline()
            assert b"Linux version" in line, line
            assert pool("2M") == free - 96
        time.sleep(0.08 * i)
        assert p.poll() is None, p.stdout.read()
        p.send_signal(signal.SIGKILL)
        p.wait()
        until("the tap stays", lambda: not tap.there())
        until("huge pages stay", lambda: pool("2M") == free)
        until("a process stays", lambda: subprocess.run(
            ["pgrep", "-x", "lodge-vmm"], stdout=subprocess.DEVNULL).returncode == 1)
    print("# killed 12 times, from 0 to 0.9 s after the start, 6 times while it ran")


def numa_config(pages):
    return {"vcpus": 4, "memory": {"size_mib": sum(pages) << 10, "page": "1G", "nodes": [
        {"size_mib": n << 10, "host_node": i, "vcpus": [2 * i, 2 * i + 1]} for i, n in enumerate(pages)]},
        "kernel": KERNEL}


def report(pages):
    path = os.path.join(DIR, "numa.json")
    with open(path, "w") as f:
        json.dump(numa_config(pages), f)
    return subprocess.run([VMM, "--config", path, "--report-memory"], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_numa_1G():
    """Each node's page is one run on that node; one page more than a node has is refused in a line."""
    assert [pool("1G", 0), pool("1G", 1)] == [1, 1], "the lab's own pages: %s" % [pool("1G", 0), pool("1G", 1)]
    done = report([1, 1])
    assert done.returncode == 0, done.stderr
    regions = json.loads(done.stdout)
    print("# " + json.dumps(regions))
    assert len(regions) == 2
    for i, r in enumerate(regions):
        assert r["page_bytes"] == r["bytes"] == 1 << 30 and r["pages"] == 1, r
        assert r["bound_to_node"] == i and r["pages_on_node_sampled"] == {str(i): 1}, r
        assert r["contiguous_runs"] == 1 and r["longest_run_bytes"] == 1 << 30, r
    done = report([2, 1])
    print("# refused: " + done.stderr.strip())
    assert done.returncode == 75 and len(done.stderr.splitlines()) == 1, done
    assert re.search("2 pages of 1.* on node 0, 1 free", done.stderr), done.stderr
    assert [pool("1G", 0), pool("1G", 1)] == [1, 1]


def test_numa_guest():
    g = Guest("numa", [], vcpus=4, memory=2048, page="1G", nodes=numa_config([1, 1])["memory"]["nodes"])
    node = "/sys/devices/system/node/node%d/%s"
    assert g.ok("cat /sys/devices/system/node/online") == "0-1"
    for i, cpus in enumerate(("0-1", "2-3")):
        assert g.ok("cat " + node % (i, "cpulist")) == cpus
        assert g.ok("cat " + node % (i, "distance")).split() == [["10", "20"], ["20", "10"]][i]
        kib = int(re.search(r"MemTotal:\s+(\d+)", g.ok("cat " + node % (i, "meminfo")))[1])
        assert 800 << 10 < kib <= 1 << 20, kib
    regions = g.call("report-memory")
    assert [r["pages_on_node_sampled"] for r in regions] == [{"0": 1}, {"1": 1}], regions
    g.end()
    until("huge pages stay", lambda: [pool("1G", 0), pool("1G", 1)] == [1, 1])


if __name__ == "__main__":
    subprocess.call(["modprobe", "-a", "tun"])
    sys.exit(main(globals()))
