# SPDX-License-Identifier: Apache-2.0
"""The machines that bench/vmm compares, and what its parts share. Everything runs in the lab."""
import json
import os
import signal
import statistics
import subprocess
import tempfile
import time

MIB = 256
DEBUG = "/sys/kernel/debug/kvm/"
CMDLINE = "console=ttyS0 quiet panic=-1 mitigations=off"


class Failed(Exception):
    pass


class Machine:
    """A way to boot KERNEL and INITRD: name, and make(directory, kernel, initrd) -> argv."""

    def __init__(self, name, make):
        self.name, self.make = name, make


def lodge(vmm, page="2M", memory=None, cpu=None):
    def make(directory, kernel, initrd):
        config = {"memory": dict({"size_mib": MIB, "page": page}, **(memory or {})),
                  "kernel": kernel, "initrd": initrd, "cmdline": CMDLINE,
                  "devices": [{"type": "serial", "stdio": True}, {"type": "rng"}]}
        if cpu:
            config["cpu"] = cpu
        path = os.path.join(directory, "config.json")
        with open(path, "w") as f:
            json.dump(config, f)
        return [vmm, "--config", path]
    return make


def qemu(*machine):
    def make(directory, kernel, initrd):
        return ["qemu-system-x86_64", "-accel", "kvm,kernel-irqchip=split", "-cpu", "host",
                "-m", str(MIB), "-nodefaults", "-display", "none", "-serial", "stdio",
                "-no-reboot", "-kernel", kernel, "-initrd", initrd, "-append", CMDLINE,
                *machine]
    return make


Q35 = ("-M", "q35", "-device", "virtio-rng-pci")
MICROVM = ("-M", "microvm,isa-serial=on")


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


class Guest:
    """One run: its output is read until a word comes."""

    def __init__(self, machine, kernel, initrd):
        self.directory = tempfile.TemporaryDirectory()
        self.start = time.monotonic()
        self.process = subprocess.Popen(machine.make(self.directory.name, kernel, initrd),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)
        self.seen = b""

    def until(self, word, seconds):
        def late(*_):
            raise Failed("%s did not come in %d s, but: %s" %
                         (word, seconds, self.seen.decode(errors="replace")[-300:]))
        signal.signal(signal.SIGALRM, late)
        signal.alarm(seconds)
        try:
            while word not in self.seen:
                part = os.read(self.process.stdout.fileno(), 65536)
                if not part:
                    raise Failed("it ended: " + self.seen.decode(errors="replace")[-300:])
                self.seen += part
        finally:
            signal.alarm(0)
        return time.monotonic() - self.start

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.directory.cleanup()


def tried(what, times=3):
    """what() again when the emulated machine lost a guest; gives (result, how many were lost)."""
    for lost in range(times):
        try:
            return what(), lost
        except Failed as e:
            print("lost a guest: %s" % e, flush=True)
    raise SystemExit("lost %d guests in a row" % times)


def spread(values, form="%d"):
    """Median and range, for a cell of the table."""
    low, high = min(values), max(values)
    text = form % statistics.median(values)
    return text if low == high else text + " (" + form % low + "-" + form % high + ")"


def debugfs():
    subprocess.call(["mount", "-t", "debugfs", "debugfs", "/sys/kernel/debug"],
                    stderr=subprocess.DEVNULL)
