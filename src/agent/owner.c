/* SPDX-License-Identifier: Apache-2.0 */
/* Another's right to files, by the fs ids: only that changes, and it comes back. */
#include "agent/owner.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/own.h"

int owner_enter(uid_t uid, gid_t gid, struct owner_was *was, struct err *err)
{
    *was = (struct owner_was){0};
    if (geteuid() != 0 || uid == 0)
        return 0;
    struct passwd *pw = getpwuid(uid);
    was->n = getgroups(ARRAY_SIZE(was->groups), was->groups);
    if (was->n < 0 || (pw ? initgroups(pw->pw_name, gid) : setgroups(1, &gid)) < 0)
        return err_sys(err, "groups of uid %u", (unsigned)uid);
    setfsgid(gid);
    setfsuid(uid);
    was->changed = true;
    return 0;
}

void owner_leave(struct owner_was *was)
{
    int saved = errno;
    if (!was->changed)
        return;
    setfsuid(0);
    setfsgid(0);
    /* A worker that kept another's groups must not go on. */
    if (setgroups(was->n, was->groups) < 0)
        abort();
    /* The change has hidden /proc/self/fd from others of root's (libvirtd). */
    prctl(PR_SET_DUMPABLE, 1);
    was->changed = false;
    errno = saved;
}
