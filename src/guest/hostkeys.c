/* SPDX-License-Identifier: Apache-2.0 */
/* A host key of the guest's own, in an image that has an SSH server; see the header. */
#include "guest/hostkeys.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "guest/identity.h"

#define KEY    "/etc/ssh/ssh_host_ed25519_key"
#define KEYGEN "/usr/bin/ssh-keygen"
#define SERVER "/usr/sbin/sshd"

static bool we_are_init(void)
{
    char exe[256];
    ssize_t n = readlink("/proc/1/exe", exe, sizeof exe - 1);
    if (n < 0)
        return false;
    exe[n] = '\0';
    return str_ends(exe, "/lodge-guest");
}

void hostkeys_make(json_t *warnings)
{
    static const char *const argv[] = {KEYGEN, "-q", "-t", "ed25519", "-N", "",
                                       "-C",   "",   "-f", KEY,       NULL};
    static const char *const env[] = {"PATH=/usr/bin:/bin", "HOME=/root", NULL};
    posix_spawn_file_actions_t io;
    pid_t child;
    if (!we_are_init() || access(SERVER, X_OK) < 0 || access(KEYGEN, X_OK) < 0 ||
        access(KEY, F_OK) == 0)
        return;
    posix_spawn_file_actions_init(&io);
    for (int fd = 0; fd < 3; fd++)
        posix_spawn_file_actions_addopen(&io, fd, "/dev/null", O_RDWR, 0);
    int r =
        posix_spawn(&child, KEYGEN, &io, NULL, (char *const *)argv, (char *const *)env);
    posix_spawn_file_actions_destroy(&io);
    /* SIGCHLD is ignored here: waiting ends with ECHILD and tells no status. */
    while (r == 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    if (r || access(KEY, F_OK) < 0)
        identity_warn(warnings, "no SSH host key: %s",
                      r ? strerror(r) : KEYGEN " failed");
}
