/* SPDX-License-Identifier: Apache-2.0 */
/* The job's control groups: found from where one of its processes is, cut at the job's
 * level, so that the machine counts as the job and is not killed with one step. */
#include "plugin.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/own.h"
#include "base/str.h"

/* For the machine: not freezer (a suspended job's machine is paused by us, not frozen)
 * nor the devices group, which knows nothing of /dev/kvm. The others are only removed. */
static const char *const for_vm[] = {"memory",  "cpuset",  "cpu",
                                     "cpuacct", "unified", NULL};
static const char *const all[] = {"memory",  "cpuset",  "cpu",  "cpuacct",
                                  "freezer", "devices", "pids", NULL};

static bool word_in(const char *list, size_t len, const char *word)
{
    size_t want = strlen(word);

    while (len) {
        const char *comma = memchr(list, ',', len);
        size_t n = comma ? (size_t)(comma - list) : len;
        if (n == want && !strncmp(list, word, n))
            return true;
        if (!comma)
            return false;
        list += n + 1;
        len -= n + 1;
    }
    return false;
}

/* Fields of one mountinfo line: "id parent dev ROOT POINT opts [tags] - TYPE SRC
 * SUPER". */
struct mount {
    char *root, *point, *type, *super;
};
static bool parse_mount(char *line, struct mount *m)
{
    char *save = NULL, *dash = strstr(line, " - ");
    char *word;
    int n = 0;

    if (!dash)
        return false;
    *dash = '\0';
    *m = (struct mount){0};
    for (word = strtok_r(line, " ", &save); word;
         word = strtok_r(NULL, " ", &save), n++) {
        if (n == 3)
            m->root = word;
        else if (n == 4)
            m->point = word;
    }
    save = NULL;
    m->type = strtok_r(dash + 3, " ", &save);
    strtok_r(NULL, " ", &save);
    m->super = strtok_r(NULL, " ", &save);
    return m->point && m->super;
}

/* Where the hierarchy with this controller ("": version 2) is mounted; NULL: nowhere.
 */
static char *mount_of(const char *mountinfo, const char *controller, char **root)
{
    AUTO_STR copy = strdup(mountinfo);
    char *save = NULL, *found = NULL;

    for (char *l = copy ? strtok_r(copy, "\n", &save) : NULL; l;
         l = strtok_r(NULL, "\n", &save)) {
        struct mount m;
        if (!parse_mount(l, &m))
            continue;
        bool fits = *controller ? !strcmp(m.type, "cgroup") &&
                                      word_in(m.super, strlen(m.super), controller)
                                : !strcmp(m.type, "cgroup2");
        if (!fits)
            continue;
        free(found);
        free(*root);
        found = strdup(m.point); /* the last one mounted is the one that is seen */
        *root = strdup(m.root);
    }
    return found;
}

/* "/slurm_n1/uid_0/job_7/step_extern" -> up to and with job_7; NULL: not in it. */
static char *job_level(const char *path, size_t len, uint32_t job)
{
    char want[32];
    AUTO_STR copy = strndup(path, len);
    char *at = copy;
    size_t n = (size_t)snprintf(want, sizeof want, "/job_%" PRIu32, job);

    while (at && (at = strstr(at, want))) {
        at += n;
        if (!*at || *at == '/') {
            *at = '\0';
            return move(copy);
        }
    }
    return NULL;
}

static void add(json_t *out, const char *mountinfo, const char *controller,
                const char *name, const char *path, size_t len, uint32_t job)
{
    AUTO_STR level = job_level(path, len, job);
    AUTO_STR root = NULL;
    AUTO_STR point = level ? mount_of(mountinfo, controller, &root) : NULL;

    if (!point || !root)
        return;
    /* A mount may show only a part of the hierarchy. */
    const char *below = level;
    if (strcmp(root, "/") != 0) {
        if (!str_starts(level, root))
            return;
        below += strlen(root);
    }
    AUTO_STR full = str_printf("%s%s", point, below);
    if (full)
        json_object_set_new(out, name, json_string(full));
}

json_t *cgroups_parse(const char *cgroup, const char *mountinfo, uint32_t job)
{
    json_t *out = json_object();

    for (const char *l = cgroup; out && *l;) {
        const char *end = strchrnul(l, '\n');
        const char *list = strchr(l, ':');
        const char *path = list && list < end ? strchr(list + 1, ':') : NULL;

        if (path && path < end) {
            size_t names = (size_t)(path - list - 1), len = (size_t)(end - path - 1);
            if (names == 0)
                add(out, mountinfo, "", "unified", path + 1, len, job);
            for (size_t i = 0; all[i]; i++)
                if (word_in(list + 1, names, all[i]))
                    add(out, mountinfo, all[i], all[i], path + 1, len, job);
        }
        l = *end ? end + 1 : end;
    }
    return out;
}

json_t *cgroups_of_job(pid_t pid, uint32_t job)
{
    enum { TEXT_MAX = 1 << 20 };
    char path[64];
    AUTO_STR cgroup = NULL;
    AUTO_STR mounts = NULL;

    snprintf(path, sizeof path, "/proc/%d/cgroup", (int)pid);
    if (fd_read_file(path, TEXT_MAX, &cgroup, NULL, NULL) < 0 ||
        fd_read_file("/proc/self/mountinfo", TEXT_MAX, &mounts, NULL, NULL) < 0)
        return json_object();
    return cgroups_parse(cgroup, mounts, job);
}

json_t *cgroups_for_vm(const json_t *groups)
{
    json_t *out = json_object();

    for (size_t i = 0; out && for_vm[i]; i++)
        if (json_object_get(groups, for_vm[i]))
            json_object_set(out, for_vm[i], json_object_get(groups, for_vm[i]));
    return out;
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    if (type == FTW_DP || type == FTW_D)
        rmdir(path);
    return 0;
}

/* A group goes when its last process has been reaped, which may take a moment. */
void cgroups_remove(const json_t *groups)
{
    enum { TRIES = 40, PAUSE_MS = 50, DEPTH = 8 };
    const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
    const char *name;
    json_t *path;

    for (int i = 0; i < TRIES; i++) {
        bool left = false;
        json_object_foreach ((json_t *)groups, name, path) {
            const char *dir = json_string_value(path);
            if (!dir || access(dir, F_OK) < 0)
                continue;
            nftw(dir, remove_one, DEPTH, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
            left |= access(dir, F_OK) == 0;
        }
        if (!left)
            return;
        nanosleep(&pause, NULL);
    }
}
