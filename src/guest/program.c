/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/program.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

int program_run(const char *const argv[])
{
    static const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                                      "HOME=/root", NULL};
    posix_spawn_file_actions_t io;
    pid_t child;
    posix_spawn_file_actions_init(&io);
    for (int fd = 0; fd < 3; fd++)
        posix_spawn_file_actions_addopen(&io, fd, "/dev/null", O_RDWR, 0);
    int r = posix_spawn(&child, argv[0], &io, NULL, (char *const *)argv,
                        (char *const *)env);
    posix_spawn_file_actions_destroy(&io);
    while (r == 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    return r;
}
