/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel tells about the machine: CPUs, memory by NUMA node with its pools of
 * huge pages, devices, control groups. Only reads /proc, /sys and opens devices. */
#include "node/probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

enum { FILE_MAX_BYTES = 1 << 20 };

/* The first line of a file, "" if it cannot be read. */
static void read_line(const char *path, char *line, size_t size)
{
    AUTO_STR text = NULL;
    *line = '\0';
    if (fd_read_file(path, FILE_MAX_BYTES, &text, NULL, NULL) < 0)
        return;
    text[strcspn(text, "\n")] = '\0';
    snprintf(line, size, "%s", text);
}

static uint64_t read_number(const char *path)
{
    char line[32];
    uint64_t n = 0;
    read_line(path, line, sizeof line);
    return str_to_u64(line, &n) ? n : 0;
}

/* The value of "key: value" in a file of such lines, blanks around it dropped. */
static void find_value(const char *text, const char *key, char *value, size_t size)
{
    *value = '\0';
    for (const char *p = text; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : p) {
        size_t len = strlen(key);
        if (strncmp(p, key, len))
            continue;
        p += len + strspn(p + len, " \t");
        if (*p != ':')
            continue;
        p += 1 + strspn(p + 1, " \t");
        snprintf(value, size, "%.*s", (int)strcspn(p, "\n"), p);
        return;
    }
}

/* Bytes of "key: 123 kB"; 0 if there is no such line. */
static uint64_t find_kib(const char *text, const char *key)
{
    char value[48];
    find_value(text, key, value, sizeof value);
    return strtoull(value, NULL, 10) * 1024;
}

void node_machine_probe(struct node_machine *m)
{
    gethostname(m->hostname, sizeof m->hostname - 1);
    struct utsname u;
    if (uname(&u) == 0)
        snprintf(m->kernel, sizeof m->kernel, "%s", u.release);
    m->cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
    m->root = geteuid() == 0;
    AUTO_STR cpuinfo = NULL;
    if (fd_read_file("/proc/cpuinfo", 64 << 20, &cpuinfo, NULL, NULL) == 0) {
        find_value(cpuinfo, "vendor_id", m->cpu_vendor, sizeof m->cpu_vendor);
        find_value(cpuinfo, "model name", m->cpu_model, sizeof m->cpu_model);
    }
    AUTO_STR meminfo = NULL;
    if (fd_read_file("/proc/meminfo", FILE_MAX_BYTES, &meminfo, NULL, NULL) == 0) {
        m->memory_bytes = find_kib(meminfo, "MemTotal");
        m->available_bytes = find_kib(meminfo, "MemAvailable");
    }
}

/* dir holds hugepages-NkB/{nr,free}_hugepages. */
static void read_pools(const char *dir, struct node_numa *n)
{
    DIR *d = opendir(dir);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d)) && n->npools < NODE_POOLS_MAX;) {
        unsigned long long kib;
        char path[512];
        if (sscanf(e->d_name, "hugepages-%llukB", &kib) != 1)
            continue;
        struct node_pool *p = &n->pools[n->npools++];
        p->page_bytes = kib * 1024;
        snprintf(path, sizeof path, "%s/%s/nr_hugepages", dir, e->d_name);
        p->total = read_number(path);
        snprintf(path, sizeof path, "%s/%s/free_hugepages", dir, e->d_name);
        p->free = read_number(path);
    }
    closedir(d);
    /* Smallest first, whatever order the directory has. */
    for (int i = 1; i < n->npools; i++)
        for (int j = i; j > 0 && n->pools[j].page_bytes < n->pools[j - 1].page_bytes;
             j--) {
            struct node_pool t = n->pools[j];
            n->pools[j] = n->pools[j - 1];
            n->pools[j - 1] = t;
        }
}

static void read_numa_node(int id, struct node_numa *n)
{
    char path[128], key[48];
    n->id = id;
    snprintf(path, sizeof path, "/sys/devices/system/node/node%d/cpulist", id);
    read_line(path, n->cpus, sizeof n->cpus);
    snprintf(path, sizeof path, "/sys/devices/system/node/node%d/meminfo", id);
    AUTO_STR text = NULL;
    if (fd_read_file(path, FILE_MAX_BYTES, &text, NULL, NULL) == 0) {
        snprintf(key, sizeof key, "Node %d MemTotal", id);
        n->memory_bytes = find_kib(text, key);
        snprintf(key, sizeof key, "Node %d MemFree", id);
        n->free_bytes = find_kib(text, key);
    }
    snprintf(path, sizeof path, "/sys/devices/system/node/node%d/hugepages", id);
    read_pools(path, n);
}

void node_memory_probe(struct node_memory *m)
{
    for (int id = 0; id < 1024 && m->count < NODE_NUMA_MAX; id++) {
        char path[64];
        snprintf(path, sizeof path, "/sys/devices/system/node/node%d", id);
        if (access(path, F_OK) == 0)
            read_numa_node(id, &m->numa[m->count++]);
    }
    if (m->count > 0)
        return;
    /* A kernel without NUMA is one node. */
    struct node_numa *n = &m->numa[m->count++];
    read_line("/sys/devices/system/cpu/online", n->cpus, sizeof n->cpus);
    AUTO_STR text = NULL;
    if (fd_read_file("/proc/meminfo", FILE_MAX_BYTES, &text, NULL, NULL) == 0) {
        n->memory_bytes = find_kib(text, "MemTotal");
        n->free_bytes = find_kib(text, "MemFree");
    }
    read_pools("/sys/kernel/mm/hugepages", n);
}

static bool can_open(const char *path)
{
    AUTO_FD fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    return fd >= 0;
}

void node_devices_probe(struct node_devices *d)
{
    DIR *dir = opendir("/sys/kernel/iommu_groups");
    for (struct dirent *e; dir && (e = readdir(dir));)
        d->iommu_groups += *e->d_name != '.';
    if (dir)
        closedir(dir);
    d->vfio = can_open("/dev/vfio/vfio");
    d->vhost_net = can_open("/dev/vhost-net");
    d->vhost_vsock = can_open("/dev/vhost-vsock");
    d->tun = can_open("/dev/net/tun");
}

/* Names of controllers that are on, from /proc/cgroups: name, hierarchy, groups, on. */
static void v1_controllers(struct node_cgroup *c)
{
    AUTO_STR text = NULL;
    if (fd_read_file("/proc/cgroups", FILE_MAX_BYTES, &text, NULL, NULL) < 0)
        return;
    size_t len = 0;
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        char name[32];
        int hierarchy, groups, on;
        if (sscanf(line, "%31s %d %d %d", name, &hierarchy, &groups, &on) == 4 && on &&
            hierarchy > 0 && len + strlen(name) + 2 < sizeof c->controllers)
            len += snprintf(c->controllers + len, sizeof c->controllers - len, "%s%s",
                            len ? " " : "", name);
    }
}

/* Where this process is: the path behind "prefix" in /proc/self/cgroup. */
static void own_group(const char *prefix, char *path, size_t size)
{
    AUTO_STR text = NULL;
    snprintf(path, size, "/");
    if (fd_read_file("/proc/self/cgroup", FILE_MAX_BYTES, &text, NULL, NULL) < 0)
        return;
    const char *at = strstr(text, prefix);
    if (at)
        snprintf(path, size, "%.*s", (int)strcspn(at + strlen(prefix), "\n"),
                 at + strlen(prefix));
}

void node_cgroup_probe(struct node_cgroup *c)
{
    static const char top[] = "/sys/fs/cgroup";
    char group[512], path[600];
    struct statfs fs;
    if (statfs(top, &fs) < 0)
        return;
    if (fs.f_type == CGROUP2_SUPER_MAGIC) {
        c->version = 2;
        own_group("0::", group, sizeof group);
        snprintf(path, sizeof path, "%s%s/cgroup.controllers", top, group);
        read_line(path, c->controllers, sizeof c->controllers);
        snprintf(path, sizeof path, "%s%s", top, group);
    } else if (access("/sys/fs/cgroup/memory/tasks", F_OK) == 0) {
        c->version = 1;
        v1_controllers(c);
        own_group(":memory:", group, sizeof group);
        snprintf(path, sizeof path, "%s/memory%s", top, group);
    } else {
        return;
    }
    c->delegated = access(path, W_OK) == 0;
}
