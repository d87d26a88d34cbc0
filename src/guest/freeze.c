/* SPDX-License-Identifier: Apache-2.0 */
/* Freezing file systems for a checkpoint: all writable ones on block devices, last
 * mounted first, and thawing what we froze. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/own.h"
#include "guest/guest.h"

enum { FROZEN_MAX = 64 };

/* Descriptors stay open: a path may lead elsewhere, or hang, while things are frozen.
 */
static struct {
    int fd[FROZEN_MAX];
    size_t n;
} frozen;

static bool seen(const dev_t *devs, size_t n, dev_t dev)
{
    for (size_t i = 0; i < n; i++)
        if (devs[i] == dev)
            return true;
    return false;
}

/* Mount points to freeze, in the order of mounting. */
static size_t candidates(char *paths[FROZEN_MAX])
{
    FILE *f = setmntent("/proc/self/mounts", "re");
    dev_t devs[FROZEN_MAX];
    size_t n = 0;
    struct mntent *m;
    while (f && n < FROZEN_MAX && (m = getmntent(f))) {
        struct stat st;
        if (m->mnt_fsname[0] != '/' || hasmntopt(m, "ro") ||
            stat(m->mnt_dir, &st) < 0 || seen(devs, n, st.st_dev))
            continue;
        devs[n] = st.st_dev;
        if (!(paths[n] = strdup(m->mnt_dir)))
            break;
        n++;
    }
    if (f)
        endmntent(f);
    return n;
}

int freeze_all(json_t *list, struct err *err)
{
    char *paths[FROZEN_MAX];
    size_t n = candidates(paths);
    int r = 0;
    sync(); /* also what cannot be frozen, an overlay for one, is on its disk then */
    for (size_t i = n; i-- > 0;) {
        AUTO_STR path = paths[i];
        AUTO_FD fd = r == 0 ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        if (fd < 0)
            continue;
        if (ioctl(fd, FIFREEZE, 0) == 0) {
            json_array_append_new(list, json_string(path));
            frozen.fd[frozen.n++] = move_fd(fd);
        } else if (errno == EBUSY) {
            r = err_sys(err, "freeze '%s'", path);
        } else if (errno != EOPNOTSUPP && errno != EINVAL && errno != ENOTTY) {
            r = err_sys(err, "freeze '%s'", path);
        }
    }
    if (r < 0)
        thaw_all();
    return r;
}

int thaw_all(void)
{
    int thawed = 0;
    while (frozen.n > 0) {
        AUTO_FD fd = frozen.fd[--frozen.n];
        thawed += ioctl(fd, FITHAW, 0) == 0;
    }
    return thawed;
}
