# SPDX-License-Identifier: Apache-2.0
"""What the programs that run in the lab have in common: checks by name, told in TAP."""
import time
import traceback


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
