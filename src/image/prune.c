/* SPDX-License-Identifier: Apache-2.0 */
/* What leaves the root before it becomes an image: classes a definition asks for, and
 * always everything that is secret or differs from build to build. A second, separate
 * walk then checks that no secret is left. Inside the sandbox. */
#include "image/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <ftw.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

/* Globs below the root. class NULL: always. */
static const struct {
    const char *class, *glob;
} table[] = {
    {"docs", "/usr/share/doc/*"},
    {"docs", "/usr/share/man/*"},
    {"docs", "/usr/share/info/*"},
    {"docs", "/usr/share/lintian"},
    {"docs", "/usr/share/bug"},
    {"docs", "/usr/share/doc-base"},
    {"locales", "/usr/share/locale/*"},
    {"locales", "/usr/share/i18n/*"},
    {"apt", "/etc/apt"},
    {"apt", "/var/lib/apt"},
    {"apt", "/var/cache/apt"},
    {"apt", "/usr/bin/apt*"},
    {"hwdb", "/usr/lib/udev/hwdb.bin"},
    {"hwdb", "/usr/lib/udev/hwdb.d/*"},
    {"caches", "/var/lib/dpkg/info/*.md5sums"},
    {"caches", "/var/lib/dpkg/*-old"},
    {"caches", "/var/cache/debconf/*"},
    {"perl", "/usr/share/perl5/*"},
    {NULL, "/var/log/*.log"},
    {NULL, "/var/log/apt"},
    {NULL, "/var/log/journal/*"},
    {NULL, "/var/log/lastlog"},
    {NULL, "/var/log/wtmp"},
    {NULL, "/var/log/btmp"},
    {NULL, "/var/log/faillog"},
    {NULL, "/var/cache/ldconfig/aux-cache"},
    {NULL, "/var/cache/apt/archives/*"},
    {NULL, "/var/lib/apt/lists/*"},
    {NULL, "/var/lib/systemd/random-seed"},
    {NULL, "/var/lib/systemd/credential.secret"},
    {NULL, "/var/lib/urandom/random-seed"},
    {NULL, "/var/lib/dbus/machine-id"},
    {NULL, "/etc/ssh/ssh_host_*_key"},
    {NULL, "/etc/ssh/ssh_host_*_key.pub"},
    {NULL, "/etc/munge/munge.key"},
    {NULL, "/etc/ssl/private/*"},
    {NULL, "/etc/.pwd.lock"},
    {NULL, "/etc/passwd-"},
    {NULL, "/etc/shadow-"},
    {NULL, "/etc/group-"},
    {NULL, "/etc/gshadow-"},
    {NULL, "/etc/subuid-"},
    {NULL, "/etc/subgid-"},
    {NULL, "/root/.ssh"},
    {NULL, "/root/.bash_history"},
    {NULL, "/tmp/*"},
    {NULL, "/var/tmp/*"},
    {NULL, "/run/*"},
    {NULL, "/boot/*"},
};

/* What must not be in any image: an image is copied, these may exist only once. */
static const char *const secrets[] = {
    "/etc/ssh/ssh_host_*_key",
    "/etc/munge/munge.key",
    "/etc/ssl/private/*",
    "/var/lib/systemd/random-seed",
    "/var/lib/urandom/random-seed",
    "/var/lib/systemd/credential.secret",
    "/root/.ssh/id_*",
    "/home/*/.ssh/id_*",
    "/root/.bash_history",
    "/var/log/journal/*",
    "/var/lib/dbus/machine-id",
    "/etc/slurm/jwt_hs256.key",
    "/etc/krb5.keytab",
    "/var/lib/NetworkManager/secret_key",
    "/etc/openvpn/*.key",
    "/etc/wireguard/*.conf",
};

/* A directory's name as a pattern for itself, with the pattern for what is in it: what
 * others call their directories, or we ours, may have a star or bracket in it. */
static char *literally(const char *dir, size_t len, const char *pattern)
{
    AUTO_BUF b = {0};
    for (size_t i = 0; i < len; i++)
        str_buf_printf(&b, "%s%c", strchr("*?[\\", dir[i]) ? "\\" : "", dir[i]);
    str_buf_puts(&b, pattern);
    return b.failed ? NULL : str_buf_take(&b);
}

/* Every path that matches below the root; *out needs globfree(). The directory is
 * resolved within the root; where a star stands for a directory, only reading is safe,
 * and no such pattern is in the table of what is removed. */
static int matches(struct build *b, const char *pattern, glob_t *out, struct err *err)
{
    const char *star = strchr(pattern, '*');
    AUTO_STR all = NULL;
    if (star && strchr(star, '/')) {
        all = literally(b->root, strlen(b->root), pattern);
    } else {
        struct err e = {0};
        AUTO_STR path = NULL;
        if (root_path(b, pattern, false, &path, &e) < 0) {
            out->gl_pathc = 0;
            return e.code == E_NOENT ? 0 : err_set(err, e.code, "%s", e.text);
        }
        const char *leaf = strrchr(path, '/');
        all = literally(path, leaf - path, leaf);
    }
    if (!all)
        return err_oom(err);
    int r = glob(all, GLOB_NOSORT | GLOB_PERIOD, NULL, out);
    if (r == GLOB_NOSPACE)
        return err_oom(err);
    if (r)
        out->gl_pathc = 0;
    return 0;
}

static bool is_dot(const char *path)
{
    const char *leaf = strrchr(path, '/') + 1;
    return !strcmp(leaf, ".") || !strcmp(leaf, "..");
}

static int prune_one(struct build *b, const char *pattern, struct err *err)
{
    glob_t g = {0};
    if (matches(b, pattern, &g, err) < 0)
        return -1;
    int r = 0;
    size_t root = strlen(b->root);
    for (size_t i = 0; i < g.gl_pathc && r == 0; i++) {
        struct stat st;
        const char *path = g.gl_pathv[i];
        if (is_dot(path) || strncmp(path, b->root, root) || path[root] != '/' ||
            lstat(path, &st) < 0)
            continue;
        r = fd_remove_tree(path, err);
    }
    globfree(&g);
    return r;
}

static int empty_machine_id(struct build *b, struct err *err)
{
    AUTO_STR path = NULL;
    if (root_path(b, "/etc/machine-id", true, &path, err) < 0)
        return -1;
    unlink(path);
    AUTO_FD fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    return fd < 0 ? err_sys(err, "'%s'", path) : 0;
}

int step_prune(struct build *b, struct err *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        if ((!table[i].class || words_has(&b->def->prune, table[i].class)) &&
            prune_one(b, table[i].glob, err) < 0)
            return -1;
    return empty_machine_id(b, err);
}

static int refuse(struct build *b, const char *pattern, struct err *err)
{
    glob_t g = {0};
    if (matches(b, pattern, &g, err) < 0)
        return -1;
    int r = 0;
    for (size_t i = 0; i < g.gl_pathc && r == 0; i++)
        if (!is_dot(g.gl_pathv[i]))
            r = err_set(err, E_INPUT,
                        "'%s' is a secret that every clone would share; remove it, or "
                        "make it at boot",
                        g.gl_pathv[i] + strlen(b->root));
    globfree(&g);
    return r;
}

int step_secrets(struct build *b, struct err *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(secrets); i++)
        if (refuse(b, secrets[i], err) < 0)
            return -1;
    for (size_t i = 0; i < b->def->secrets.count; i++)
        if (refuse(b, b->def->secrets.item[i], err) < 0)
            return -1;
    AUTO_STR id = NULL;
    struct stat st;
    if (root_path(b, "/etc/machine-id", true, &id, err) < 0)
        return -1;
    if (lstat(id, &st) == 0 && (!S_ISREG(st.st_mode) || st.st_size))
        return err_set(err, E_INPUT, "/etc/machine-id is not empty");
    return 0;
}
