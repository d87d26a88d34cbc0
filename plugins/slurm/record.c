/* SPDX-License-Identifier: Apache-2.0 */
/* The node's record of a job. The prolog (root) makes it, the external step completes
 * it, tasks read it, the epilog removes it: with `sbatch --export=NONE` the job's
 * environment says nothing, and what it says is the user's word. The directory is
 * root's, so a task can trust what it reads there. */
#include "plugin.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/own.h"
#include "base/str.h"

enum { RECORD_MAX = 1 << 20 };

static char *path_of(const char *dir, uint32_t job)
{
    return str_printf("%s/%" PRIu32, dir, job);
}

int record_write(const char *dir, uint32_t job, const json_t *record, struct err *err)
{
    AUTO_STR path = path_of(dir, job);
    AUTO_STR text = json_dumps(record, JSON_COMPACT);

    if (!path || !text)
        return err_oom(err);
    if (fd_mkdirs(dir, 0755, err) < 0)
        return -1;
    return fd_replace_file(path, text, strlen(text), 0644, err);
}

int record_read(const char *dir, uint32_t job, json_t **out, struct err *err)
{
    char path[512];
    struct stat st;
    AUTO_STR text = NULL;
    size_t len;

    if (snprintf(path, sizeof path, "%s/%" PRIu32, dir, job) >= (int)sizeof path)
        return err_set(err, E_CONFIG, "the path of records '%s' is too long", dir);
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? 0 : err_sys(err, "record '%s'", path);
    /* Whoever may write it is whoever runs slurmd: root, or in tests the one user. */
    if (fstat(fd, &st) < 0)
        return err_sys(err, "record '%s'", path);
    if (st.st_uid != 0 && st.st_uid != geteuid())
        return err_set(err, E_PERM, "record '%s' belongs to uid %u", path,
                       (unsigned)st.st_uid);
    if (fd_slurp(fd, path, RECORD_MAX, &text, &len, err) < 0)
        return -1;
    *out = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(*out)) {
        json_decref(*out);
        return err_set(err, E_INPUT, "record '%s' is damaged", path);
    }
    return 1;
}

int record_remove(const char *dir, uint32_t job, struct err *err)
{
    AUTO_STR path = path_of(dir, job);

    if (!path)
        return err_oom(err);
    if (unlink(path) < 0 && errno != ENOENT)
        return err_sys(err, "record '%s'", path);
    return 0;
}
