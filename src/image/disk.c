/* SPDX-License-Identifier: Apache-2.0 */
/* Partition tables of disks that others made: nothing in them is trusted. */
#include "image/disk.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum { EXT4_MAGIC_AT = 1024 + 56, SECTOR = 512 };

static bool is_ext4(int fd, off_t at)
{
    unsigned char magic[2];
    return pread(fd, magic, 2, at + EXT4_MAGIC_AT) == 2 && magic[0] == 0x53 &&
           magic[1] == 0xef;
}

static uint64_t little(const unsigned char *p, int n)
{
    uint64_t v = 0;
    while (n--)
        v = v << 8 | p[n];
    return v;
}

struct best {
    uint64_t at, sectors;
};

/* Remember the partition if it has an ext4 and is larger than the best so far. */
static void consider(int fd, uint64_t start, uint64_t sectors, struct best *best)
{
    if (start && sectors > best->sectors &&
        start < (INT64_MAX - EXT4_MAGIC_AT - 2) / SECTOR &&
        is_ext4(fd, (off_t)(start * SECTOR))) {
        best->at = start * SECTOR;
        best->sectors = sectors;
    }
}

static void look_gpt(int fd, struct best *best)
{
    unsigned char head[92], entry[128];
    if (pread(fd, head, sizeof head, SECTOR) != sizeof head ||
        memcmp(head, "EFI PART", 8))
        return;
    uint64_t at = little(head + 72, 8), count = little(head + 80, 4),
             size = little(head + 84, 4);
    if (at > INT64_MAX / SECTOR / 2 || count > 1024 || size < sizeof entry ||
        size > 4096)
        return;
    for (uint64_t i = 0; i < count; i++) {
        off_t where = (off_t)(at * SECTOR + i * size);
        if (pread(fd, entry, sizeof entry, where) != sizeof entry)
            return;
        uint64_t first = little(entry + 32, 8), last = little(entry + 40, 8);
        if (last >= first)
            consider(fd, first, last - first + 1, best);
    }
}

/* The four primary partitions. */
static void look_mbr(int fd, struct best *best)
{
    unsigned char mbr[SECTOR];
    if (pread(fd, mbr, sizeof mbr, 0) != sizeof mbr || mbr[510] != 0x55 ||
        mbr[511] != 0xaa)
        return;
    for (int i = 0; i < 4; i++) {
        const unsigned char *e = mbr + 446 + 16 * i;
        if (e[4] != 0xee) /* of a GPT */
            consider(fd, little(e + 8, 4), little(e + 12, 4), best);
    }
}

int disk_find_ext4(int fd, off_t *at, struct err *err)
{
    struct best best = {0};
    *at = 0;
    if (is_ext4(fd, 0))
        return 0;
    look_gpt(fd, &best);
    look_mbr(fd, &best);
    *at = (off_t)best.at;
    return best.sectors
               ? 0
               : err_set(err, E_INPUT,
                         "neither the disk nor a partition of it is an ext4; --as-is "
                         "keeps it as it is, to boot by its own means");
}
