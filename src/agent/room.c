/* SPDX-License-Identifier: Apache-2.0 */
/* Memory and devices of the node; see the header. Called by reserve.c. */
#include "agent/room.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

/* The file ROOT/DIR/A/B. */
static char *read_text(const char *root, const char *dir, const char *a, const char *b)
{
    char *text = NULL;
    AUTO_STR path = str_printf("%s%s/%s/%s", root, dir, a, b);
    return path && fd_read_file(path, 65536, &text, NULL, NULL) == 0 ? text : NULL;
}

static uint64_t number(const char *root, const char *dir, const char *a, const char *b)
{
    AUTO_STR text = read_text(root, dir, a, b);
    return text ? strtoull(text, NULL, 0) : 0;
}

/* "Node 0 MemTotal:  123 kB", "MemTotal: 123 kB" */
static uint64_t kib_of(const char *text, const char *key)
{
    char *at = text ? strstr(text, key) : NULL;
    unsigned long long kib = 0;
    return at && sscanf(at + strlen(key), ": %llu", &kib) == 1 ? kib << 10 : 0;
}

/* Ordinary memory: what huge pages have taken does not count. */
static struct place_numa ordinary(const char *text, unsigned id, uint64_t huge)
{
    uint64_t total = kib_of(text, "MemTotal");
    return (struct place_numa){
        .id = id, .total = total > huge ? total - huge : 0, .free = UINT64_MAX};
}

/* All huge pages below a directory like ".../hugepages". */
static uint64_t all_huge(const char *root, const char *dir)
{
    AUTO_STR path = str_printf("%s%s", root, dir);
    DIR *d = path ? opendir(path) : NULL;
    uint64_t sum = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        unsigned long long kib;
        if (sscanf(e->d_name, "hugepages-%llukB", &kib) == 1)
            sum += (kib << 10) * number(root, dir, e->d_name, "nr_hugepages");
    }
    if (d)
        closedir(d);
    return sum;
}

static struct place_numa pool(const char *root, const char *dir, unsigned id,
                              uint64_t page_bytes)
{
    char leaf[64];
    snprintf(leaf, sizeof leaf, "hugepages-%llukB",
             (unsigned long long)(page_bytes >> 10));
    return (struct place_numa){
        .id = id,
        .total = page_bytes * number(root, dir, leaf, "nr_hugepages"),
        .free = page_bytes * number(root, dir, leaf, "free_hugepages")};
}

static int by_id(const void *a, const void *b)
{
    const struct place_numa *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

size_t room_memory(const char *root, uint64_t page_bytes,
                   struct place_numa nodes[ROOM_NODES])
{
    static const char base[] = "/sys/devices/system/node";
    AUTO_STR path = str_printf("%s%s", root, base);
    DIR *d = path ? opendir(path) : NULL;
    size_t n = 0;
    for (struct dirent *e; d && (e = readdir(d)) && n < ROOM_NODES;) {
        unsigned id;
        int end = 0;
        char dir[300];
        if (sscanf(e->d_name, "node%u%n", &id, &end) != 1 || e->d_name[end])
            continue;
        snprintf(dir, sizeof dir, "%s/%s/hugepages", base, e->d_name);
        if (page_bytes > 4096) {
            nodes[n++] = pool(root, dir, id, page_bytes);
            continue;
        }
        AUTO_STR text = read_text(root, base, e->d_name, "meminfo");
        nodes[n++] = ordinary(text, id, all_huge(root, dir));
    }
    if (d)
        closedir(d);
    qsort(nodes, n, sizeof *nodes, by_id);
    if (n)
        return n;
    if (page_bytes > 4096) {
        nodes[0] = pool(root, "/sys/kernel/mm/hugepages", 0, page_bytes);
    } else {
        AUTO_STR text = read_text(root, "/proc", ".", "meminfo");
        nodes[0] = ordinary(text, 0, all_huge(root, "/sys/kernel/mm/hugepages"));
    }
    return 1;
}

void room_device_link(const char *root, const char *address, const char *link,
                      char name[64])
{
    AUTO_STR path = str_printf("%s/sys/bus/pci/devices/%s/%s", root, address, link);
    char to[256];
    ssize_t n = path ? readlink(path, to, sizeof to - 1) : -1;
    to[n < 0 ? 0 : n] = '\0';
    const char *slash = strrchr(to, '/');
    snprintf(name, 64, "%.63s", slash ? slash + 1 : "");
}

size_t room_devices(const char *root, struct place_device **out)
{
    static const char base[] = "/sys/bus/pci/devices";
    AUTO_STR path = str_printf("%s%s", root, base);
    DIR *d = path ? opendir(path) : NULL;
    size_t n = 0;
    *out = calloc(ROOM_DEVICES, sizeof **out);
    for (struct dirent *e; d && *out && (e = readdir(d)) && n < ROOM_DEVICES;) {
        if (!isxdigit((unsigned char)*e->d_name) || strlen(e->d_name) > 12)
            continue;
        struct place_device *p = &(*out)[n++];
        AUTO_STR numa = read_text(root, base, e->d_name, "numa_node");
        snprintf(p->address, sizeof p->address, "%.12s", e->d_name);
        p->class = number(root, base, e->d_name, "class");
        p->numa = numa ? (int)strtol(numa, NULL, 10) : -1;
        char driver[64], group[64];
        room_device_link(root, e->d_name, "driver", driver);
        room_device_link(root, e->d_name, "iommu_group", group);
        p->given = !strcmp(driver, "vfio-pci");
        p->group = *group ? (int)strtol(group, NULL, 10) : -1;
    }
    if (d)
        closedir(d);
    return n;
}
