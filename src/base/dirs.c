/* SPDX-License-Identifier: Apache-2.0 */
/* Where Lodge keeps things: one table; see the header. */
#include "base/dirs.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

static const struct {
    const char *override; /* environment */
    const char *root;
    const char *xdg;  /* environment, for other users; NULL: the same as root's */
    const char *home; /* below $HOME, if that is unset; NULL: /tmp/lodge-UID */
    mode_t root_mode;
} kinds[] = {
    [DIRS_STATE] = {"LODGE_STATE_DIR", LODGE_LOCALSTATEDIR "/lib/lodge",
                    "XDG_STATE_HOME", ".local/state", 0711},
    [DIRS_RUN] = {"LODGE_RUN_DIR", "/run/lodge", "XDG_RUNTIME_DIR", NULL, 0755},
    [DIRS_CACHE] = {"LODGE_CACHE_DIR", LODGE_LOCALSTATEDIR "/cache/lodge",
                    "XDG_CACHE_HOME", ".cache", 0755},
    [DIRS_CONFIG] = {"LODGE_CONFIG_DIR", LODGE_SYSCONFDIR, "XDG_CONFIG_HOME", ".config",
                     0755},
    [DIRS_DATA] = {"LODGE_DATA_DIR", LODGE_DATADIR, NULL, NULL, 0755},
    [DIRS_LIBEXEC] = {"LODGE_LIBEXEC_DIR", LODGE_LIBEXECDIR, NULL, NULL, 0755},
};

/* where nothing else is named */
static char *in_tmp(void)
{
    return str_printf("/tmp/lodge-%u", (unsigned)geteuid());
}

static char *base_of(enum dirs_kind kind)
{
    const char *override = getenv(kinds[kind].override);
    if (!str_empty(override))
        return str_printf("%s", override);
    if (geteuid() == 0 || !kinds[kind].xdg)
        return str_printf("%s", kinds[kind].root);
    const char *xdg = getenv(kinds[kind].xdg), *home = getenv("HOME");
    if (!str_empty(xdg) && *xdg == '/')
        return str_printf("%s/lodge", xdg);
    if (kinds[kind].home && !str_empty(home))
        return str_printf("%s/%s/lodge", home, kinds[kind].home);
    return in_tmp();
}

char *dirs_path(enum dirs_kind kind, const char *leaf, ...)
{
    AUTO_STR base = base_of(kind);
    if (!base || !leaf)
        return move(base);
    AUTO_BUF b = {0};
    str_buf_printf(&b, "%s/", base);
    va_list ap;
    va_start(ap, leaf);
    str_buf_vprintf(&b, leaf, ap);
    va_end(ap);
    return str_buf_take(&b);
}

/* In /tmp anybody may have made a directory of that name before us. */
int dirs_ours(enum dirs_kind kind, struct err *err)
{
    AUTO_STR path = base_of(kind);
    AUTO_STR tmp = in_tmp();
    struct stat st;
    if (!path || !tmp)
        return err_oom(err);
    if (strcmp(path, tmp) || lstat(path, &st) < 0 ||
        (S_ISDIR(st.st_mode) && st.st_uid == geteuid()))
        return 0;
    return err_set(err, E_PERM,
                   "'%s' was made by uid %u: nothing in it is believed; set %s to a "
                   "directory of your own",
                   path, (unsigned)st.st_uid, kinds[kind].override);
}

int dirs_make(enum dirs_kind kind, struct err *err)
{
    AUTO_STR path = base_of(kind);
    if (!path)
        return err_oom(err);
    if (fd_mkdirs(path, geteuid() == 0 ? kinds[kind].root_mode : 0700, err) < 0)
        return -1;
    return dirs_ours(kind, err);
}
