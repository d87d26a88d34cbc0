# SPDX-License-Identifier: Apache-2.0
"""What the programs that run in the lab have in common: checks by name, told in TAP; a machine and
what it says."""
import json
import os
import re
import subprocess
import threading
import time
import traceback


class Machine:
    """A lodge-vmm with that configuration, and the lines of its serial console."""

    def __init__(self, vmm, config, directory, slow):
        path = os.path.join(directory, "config.json")
        with open(path, "w") as f:
            json.dump(config, f)
        self.slow = slow
        self.p = subprocess.Popen([vmm, "--config", path], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.lines, self.times = [], []
        self.change, self.ended = threading.Condition(), False
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.p.stdout:
            with self.change:
                self.times.append(time.monotonic())
                self.lines.append(line.decode(errors="replace").strip())
                self.change.notify_all()
        with self.change:
            self.ended = True
            self.change.notify_all()

    def text(self):
        return "\n".join(self.lines)

    def expect(self, pattern, start=0):
        """The first line from number `start` on that matches: its number, and the match."""
        end = time.monotonic() + self.slow
        with self.change:
            while True:
                while start < len(self.lines):
                    found = re.search(pattern, self.lines[start])
                    if found:
                        return start, found
                    start += 1
                left = end - time.monotonic()
                if self.ended or left <= 0:
                    time.sleep(1)
                    raise RuntimeError("no '%s' from the guest (status %s):\n%s" % (
                        pattern, self.p.poll(), self.text()[-3000:]))
                self.change.wait(left)


def run(tests, names, after=None):
    """The functions test_NAME among tests, or only those named; after is called behind each. Were
    there failures?"""
    names = names or [n[5:] for n in tests if n.startswith("test_")]
    print("1..%d" % len(names), flush=True)
    failed = 0
    for i, n in enumerate(names, 1):
        start = time.time()
        try:
            tests["test_" + n]()
            print("ok %d - %s # %.0f s" % (i, n, time.time() - start), flush=True)
        except Exception:
            failed += 1
            print("not ok %d - %s" % (i, n))
            print("\n".join("# " + l for l in traceback.format_exc().splitlines()), flush=True)
        if after:
            after()
    return failed != 0
