/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/drivers.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "guest/program.h"

#define MODPROBE "/sbin/modprobe"
#define DEVICES  "/sys/bus/pci/devices"
enum { NAMES_MAX = 32, OPTIONS = 3 };

/* What the kernel would ask user space to load for a device: the caller's; NULL when it
 * has a driver, or is a bridge, which needs none. */
static char *wanted(const char *device)
{
    AUTO_STR driver = str_printf(DEVICES "/%s/driver", device);
    AUTO_STR path = str_printf(DEVICES "/%s/modalias", device);
    char name[256];
    FILE *f = driver && path && access(driver, F_OK) < 0 ? fopen(path, "re") : NULL;
    bool read = f && fgets(name, sizeof name, f);
    if (f)
        fclose(f);
    if (!read || strstr(name, "bc06"))
        return NULL;
    name[strcspn(name, "\n")] = '\0';
    return strdup(name);
}

void drivers_load(void)
{
    char *names[NAMES_MAX];
    const char *argv[1 + OPTIONS + NAMES_MAX + 1] = {MODPROBE, "-a", "-b", "-q"};
    size_t n = 0;
    DIR *d = opendir(DEVICES);
    for (struct dirent *e; d && n < NAMES_MAX && (e = readdir(d));)
        if (*e->d_name != '.' && (names[n] = wanted(e->d_name)))
            n++;
    if (d)
        closedir(d);
    for (size_t i = 0; i < n; i++)
        argv[1 + OPTIONS + i] = names[i];
    int r = n ? program_run(argv) : 0;
    if (r)
        log_warn(NULL, MODPROBE ": %s: passed-through devices have no driver",
                 strerror(r));
    while (n > 0)
        free(names[--n]);
}
