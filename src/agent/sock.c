/* SPDX-License-Identifier: Apache-2.0 */
/* See the header: the path is opened without following a link, judged, then used by
 * its descriptor. */
#include "agent/sock.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/own.h"

static int connect_to(const char *proc, const char *path, struct err *err)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%s", proc);
    AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        return err_sys(err, "connect to '%s'", path);
    return move_fd(fd);
}

int sock_open(const char *path, struct err *err)
{
    AUTO_FD at = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (at < 0 || fstat(at, &st) < 0)
        return err_sys(err, "'%s'", path);
    char proc[40];
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", at);
    if (S_ISSOCK(st.st_mode))
        return connect_to(proc, path, err);
    if (!S_ISCHR(st.st_mode))
        return err_set(err, E_INPUT, "'%s' is neither a socket nor a terminal", path);
    int fd = open(proc, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return fd < 0 ? err_sys(err, "'%s'", path) : fd;
}
