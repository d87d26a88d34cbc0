/* SPDX-License-Identifier: Apache-2.0 */
/* Control groups, version 1 and 2. A job's groups come with the deploy: {"memory":
 * "/sys/fs/cgroup/memory/..."}, or {"unified": "..."}: there, since a group with
 * children may hold no process, the VM gets a child "lodge". Without them, root's agent
 * makes lodge/ID in each hierarchy it can write to, with the profile's limits. */
#include "agent/parts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"

#define ROOT "/sys/fs/cgroup"
/* Beyond the guest's memory: the hypervisor itself, page tables, virtiofsd. */
enum { OVERHEAD = 256 << 20, GONE_MS = 5000, ABANDONED_S = 1800 };

static const char *const v1[] = {"memory", "cpu", "cpuacct"};
/* Where groups of our own may be. */
static const char *const tops[] = {ROOT, ROOT "/memory", ROOT "/cpu", ROOT "/cpuacct"};

static int put(const char *dir, const char *file, const char *text, struct err *err)
{
    AUTO_STR path = str_printf("%s/%s", dir, file);
    AUTO_FD fd = path ? open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        return err_sys(err, "'%s/%s'", dir, file);
    return 0;
}

static bool is_v2(const char *dir)
{
    AUTO_STR path = str_printf("%s/cgroup.controllers", dir);
    return path && access(path, F_OK) == 0;
}

/* A path that deploy gave must be a group, not just anything one can write to. */
static int judge(const char *dir, struct err *err)
{
    char real[PATH_MAX];
    AUTO_STR procs = str_printf("%s/cgroup.procs", dir);
    if (!procs || !realpath(dir, real) || !str_starts(real, ROOT "/"))
        return err_set(err, E_INPUT, "'%s' is no control group below " ROOT, dir);
    return access(procs, F_OK) == 0 ? 0 : err_sys(err, "'%s'", procs);
}

/* The groups of this VM, in r->vt "cgroups": an array of directories. */
static json_t *dirs_of(const struct vt_run *r)
{
    return json_object_get(r->vt, "cgroups");
}

static int make_given(struct vt_run *r, json_t *dirs, struct err *err)
{
    const char *key;
    json_t *value;
    json_object_foreach (r->vm->cgroups, key, value) {
        const char *dir = json_string_value(value);
        if (!dir || judge(dir, err) < 0)
            return dir ? -1 : err_set(err, E_INPUT, "cgroup '%s' is not a path", key);
        AUTO_STR child = is_v2(dir) ? str_printf("%s/lodge", dir) : strdup(dir);
        if (!child)
            return err_oom(err);
        if (is_v2(dir) && mkdir(child, 0755) < 0 && errno != EEXIST)
            return err_sys(err, "'%s'", child);
        /* Version 1: what the process took before it came must come along. */
        if (!strcmp(key, "memory") && !is_v2(dir))
            put(dir, "memory.move_charge_at_immigrate", "3", NULL);
        json_array_append_new(dirs, json_string(child));
    }
    return 0;
}

static void limit(struct vt_run *r, const char *dir, const char *controller)
{
    char text[32];
    uint64_t bytes = r->profile->memory_bytes + OVERHEAD;
    bool huge = r->profile->page_bytes > 4096;
    snprintf(text, sizeof text, "%llu", (unsigned long long)(huge ? OVERHEAD : bytes));
    if (!strcmp(controller, "memory"))
        put(dir, "memory.limit_in_bytes", text, NULL);
    if (!strcmp(controller, "unified"))
        put(dir, "memory.max", text, NULL);
    snprintf(text, sizeof text, "%u", r->profile->cpu_share);
    if (!strcmp(controller, "unified") && r->profile->cpu_share)
        put(dir, "cpu.weight", text, NULL);
    /* Version 1 counts 1024 for the usual 100. */
    snprintf(text, sizeof text, "%u", r->profile->cpu_share * 1024 / 100);
    if (!strcmp(controller, "cpu") && r->profile->cpu_share)
        put(dir, "cpu.shares", text, NULL);
}

/* lodge/ID in one hierarchy; one that we may not write to is left out. */
static void make_own(struct vt_run *r, const char *top, const char *controller,
                     json_t *dirs)
{
    AUTO_STR parent = str_printf("%s/lodge", top);
    AUTO_STR dir = str_printf("%s/lodge/%s", top, r->vm->id);
    if (!parent || !dir || (mkdir(parent, 0755) < 0 && errno != EEXIST))
        return;
    if (!strcmp(controller, "unified")) {
        put(top, "cgroup.subtree_control", "+memory +cpu", NULL);
        put(parent, "cgroup.subtree_control", "+memory +cpu", NULL);
    }
    if (mkdir(dir, 0755) < 0 && errno != EEXIST)
        return;
    limit(r, dir, controller);
    json_array_append_new(dirs, json_string(dir));
}

int cgroup_make(struct vt_run *r, struct err *err)
{
    json_t *dirs = json_array();
    if (!dirs || json_object_set_new(r->vt, "cgroups", dirs) < 0)
        return err_oom(err);
    if (r->vm->cgroups)
        return make_given(r, dirs, err);
    if (geteuid() != 0 || r->profile->type == PROFILE_FAKE)
        return 0;
    if (is_v2(ROOT)) {
        make_own(r, ROOT, "unified", dirs);
        return 0;
    }
    for (size_t i = 0; i < ARRAY_SIZE(v1); i++) {
        AUTO_STR top = str_printf(ROOT "/%s", v1[i]);
        if (top)
            make_own(r, top, v1[i], dirs);
    }
    return 0;
}

bool cgroup_wanted(const struct vt_run *r)
{
    return json_array_size(dirs_of(r)) > 0;
}

int cgroup_move(const struct vt_run *r, pid_t pid, struct err *err)
{
    size_t i;
    json_t *dir;
    char text[16];
    snprintf(text, sizeof text, "%d", (int)pid);
    json_array_foreach (dirs_of(r), i, dir)
        if (put(json_string_value(dir), "cgroup.procs", text, err) < 0)
            return -1;
    return 0;
}

void cgroup_follow(pid_t whom)
{
    char path[40];
    AUTO_STR text = NULL;
    snprintf(path, sizeof path, "/proc/%d/cgroup", (int)whom);
    if (fd_read_file(path, 65536, &text, NULL, NULL) < 0)
        return;
    /* "4:memory:/some/group", "0::/some/group" */
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        char *names = strchr(line, ':'), *group = names ? strchr(++names, ':') : NULL;
        if (!group)
            continue;
        *group++ = '\0';
        if (str_starts(names, "name="))
            names += strlen("name=");
        AUTO_STR dir = *names        ? str_printf(ROOT "/%s%s", names, group)
                       : is_v2(ROOT) ? str_printf(ROOT "%s", group)
                                     : str_printf(ROOT "/unified%s", group);
        if (dir)
            put(dir, "cgroup.procs", "0", NULL);
    }
}

/* rmdir, again and again while the last process is going. */
static int remove_group(const char *dir, struct err *err)
{
    uint64_t end = clock_ms() + GONE_MS;
    while (rmdir(dir) < 0) {
        if (errno == ENOENT)
            return 0;
        if (errno != EBUSY || clock_ms() > end)
            return err_sys(err, "control group '%s'", dir);
        usleep(10000);
    }
    return 0;
}

/* Empty groups only: one with a process in it does not go. */
static void remove_groups(const char *dir)
{
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_type != DT_DIR || *e->d_name == '.')
            continue;
        AUTO_STR child = str_printf("%s/%s", dir, e->d_name);
        if (child)
            remove_groups(child);
    }
    if (d)
        closedir(d);
    rmdir(dir);
}

/* Groups that libvirt made, and left because it, or the machine, was killed. */
static void clear_libvirts(const struct vt_run *r)
{
    static const char *const below[] = {"", "/*"}; /* version 2; each controller of 1 */
    for (size_t i = 0; i < ARRAY_SIZE(below); i++) {
        AUTO_STR pattern =
            str_printf(ROOT "%s/machine/*-lodge-%s.libvirt-*", below[i], r->vm->id);
        glob_t found = {0};
        if (pattern && glob(pattern, GLOB_NOSORT, NULL, &found) == 0)
            for (size_t k = 0; k < found.gl_pathc; k++)
                remove_groups(found.gl_pathv[k]);
        globfree(&found);
    }
}

int cgroup_clear(struct vt_run *r, struct err *err)
{
    int ret = 0;
    if (geteuid() == 0 && r->ops && r->ops->uri)
        clear_libvirts(r);
    for (size_t i = 0; i < ARRAY_SIZE(tops); i++) {
        AUTO_STR dir = str_printf("%s/lodge/%s", tops[i], r->vm->id);
        if (!dir)
            return err_oom(err);
        if (remove_group(dir, ret == 0 ? err : NULL) < 0)
            ret = -1;
    }
    const char *key;
    json_t *value;
    json_object_foreach (r->vm->cgroups, key, value) {
        const char *given = json_string_value(value);
        AUTO_STR child = given && is_v2(given) ? str_printf("%s/lodge", given) : NULL;
        if (child)
            rmdir(child); /* another VM of the job may be in it */
    }
    return ret;
}

static void sweep_in(const char *top)
{
    struct stat st;
    AUTO_STR parent = str_printf("%s/lodge", top);
    DIR *d = parent ? opendir(parent) : NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        if (strlen(e->d_name) != VM_ID_LEN ||
            strspn(e->d_name, "0123456789abcdef") != VM_ID_LEN)
            continue;
        /* One with a process in it does not go: EBUSY. */
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISDIR(st.st_mode) && st.st_mtime + ABANDONED_S < time(NULL) &&
            unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR) == 0)
            log_info(NULL, "swept control group '%s/%s'", parent, e->d_name);
    }
    if (d)
        closedir(d);
}

void cgroup_sweep(void)
{
    for (size_t i = 0; geteuid() == 0 && i < ARRAY_SIZE(tops); i++)
        sweep_in(tops[i]);
}
