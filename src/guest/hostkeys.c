/* SPDX-License-Identifier: Apache-2.0 */
/* A host key of the guest's own, in an image that has an SSH server; see the header. */
#include "guest/hostkeys.h"

#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "guest/identity.h"
#include "guest/program.h"

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
    if (!we_are_init() || access(SERVER, X_OK) < 0 || access(KEYGEN, X_OK) < 0 ||
        access(KEY, F_OK) == 0)
        return;
    int r = program_run(argv);
    if (r || access(KEY, F_OK) < 0)
        identity_warn(warnings, "no SSH host key: %s",
                      r ? strerror(r) : KEYGEN " failed");
}
