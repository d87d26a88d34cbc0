# SPDX-License-Identifier: Apache-2.0
# forge.py MANIFEST JSON: changes the manifest of a checkpoint, and gives it the checksum that it
# must have then.
import json, sys
M = (1 << 64) - 1
P = (11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579, 2870177450012600261)


def rotl(x, r):
    return (x << r | x >> 64 - r) & M


def step(acc, word):
    return rotl((acc + word * P[1]) & M, 31) * P[0] & M


def xxh64(data):
    at, n = 0, len(data)
    if n >= 32:
        v = [(P[0] + P[1]) & M, P[1], 0, -P[0] & M]
        while at + 32 <= n:
            v = [step(v[i], int.from_bytes(data[at + 8 * i:at + 8 * i + 8], "little")) for i in range(4)]
            at += 32
        h = (rotl(v[0], 1) + rotl(v[1], 7) + rotl(v[2], 12) + rotl(v[3], 18)) & M
        for x in v:
            h = ((h ^ step(0, x)) * P[0] + P[3]) & M
    else:
        h = P[4]
    h = (h + n) & M
    while at + 8 <= n:
        h = (rotl(h ^ step(0, int.from_bytes(data[at:at + 8], "little")), 27) * P[0] + P[3]) & M
        at += 8
    if at + 4 <= n:
        h = (rotl(h ^ int.from_bytes(data[at:at + 4], "little") * P[0] & M, 23) * P[1] + P[2]) & M
        at += 4
    for b in data[at:]:
        h = rotl(h ^ b * P[4] & M, 11) * P[0] & M
    for shift, by in ((33, P[1]), (29, P[2])):
        h = (h ^ h >> shift) * by & M
    return h ^ h >> 32


path, change = sys.argv[1:]
with open(path) as f:
    m = json.load(f)
m.update(json.loads(change))
m.pop("checksum", None)
m["checksum"] = "%016x" % xxh64(json.dumps(m, sort_keys=True, separators=(",", ":")).encode())
with open(path, "w") as f:
    json.dump(m, f)
