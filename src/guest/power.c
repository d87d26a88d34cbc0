/* SPDX-License-Identifier: Apache-2.0 */
/* The end of the machine. As process 1 (or its worker) we end all processes, unmount
 * and turn off; under another init we ask that. */
#include <dirent.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <mntent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "guest/guest.h"

enum { GRACE_TENTHS = 20 };

/* Does any process but 1, us and kernel threads (which have no program) live? */
static bool others_live(void)
{
    DIR *proc = opendir("/proc");
    struct dirent *d;
    bool found = false;
    while (proc && !found && (d = readdir(proc))) {
        char path[300], program[4];
        long pid = strtol(d->d_name, NULL, 10);
        if (pid <= 1 || pid == getpid())
            continue;
        snprintf(path, sizeof path, "/proc/%ld/exe", pid);
        found = readlink(path, program, sizeof program) > 0;
    }
    if (proc)
        closedir(proc);
    return found;
}

static void end_processes(void)
{
    kill(-1, SIGTERM);
    kill(-1, SIGCONT);
    for (int i = 0; i < GRACE_TENTHS && others_live(); i++)
        usleep(100000);
    kill(-1, SIGKILL);
}

static void unmount_all(void)
{
    enum { MAX = 256 };
    char *paths[MAX];
    size_t n = 0;
    FILE *f = setmntent("/proc/self/mounts", "re");
    struct mntent *m;
    while (f && n < MAX && (m = getmntent(f)))
        if (m->mnt_fsname[0] == '/' || !strcmp(m->mnt_type, "virtiofs"))
            if ((paths[n] = strdup(m->mnt_dir)))
                n++;
    if (f)
        endmntent(f);
    while (n-- > 0)
        if (umount2(paths[n], MNT_DETACH) < 0)
            mount(NULL, paths[n], NULL, MS_REMOUNT | MS_RDONLY, NULL);
}

void power_down(bool pid1, bool again)
{
    thaw_all();
    sync();
    if (!pid1) {
        bool systemd = access("/run/systemd/system", F_OK) == 0;
        const char *program = again ? "/sbin/reboot" : "/sbin/poweroff";
        if (systemd) /* its documented signals for reboot.target and poweroff.target */
            kill(1, SIGRTMIN + (again ? 5 : 4));
        else if (access(program, X_OK) == 0)
            execl(program, program, NULL);
        /* Give it half a minute, then do it the hard way. */
        if (systemd)
            sleep(30);
    }
    end_processes();
    sync();
    unmount_all();
    sync();
    reboot(again ? RB_AUTOBOOT : RB_POWER_OFF);
    for (;;)
        pause();
}
