/* SPDX-License-Identifier: Apache-2.0 */
/* What an imported archive may bring: a root full of links. The archive itself is read by
 * tar, umoci and libarchive; from then on our own steps write into, search and remove
 * below that root as root. The input is a list of entries; each step may refuse, but what
 * lies beside the root must be as it was. No link leads further than that. */
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/own.h"
#include "base/str.h"
#include "image/steps.h"

const char fuzz_name[] = "image_import";
const char *const fuzz_seeds[] = {NULL};

/* Below the root, and outside of it, where they must stay. */
static const char *const dirs[] = {
    "[a]",       "[a]/ssh", "etc",       "etc/ssh",
    "etc/munge", "var",     "var/log",   "var/log/journal",
    "usr",       "usr/bin", "usr/share", "usr/lib",
    "run",       "tmp",     "boot",      "root",
    "root/.ssh", "home",    "home/u",    "home/u/.ssh"};
static const char *const leaves[] = {"[a]/ssh/ssh_host_rsa_key",
                                     "[a]/machine-id",
                                     "etc/machine-id",
                                     "etc/ssh/ssh_host_rsa_key",
                                     "etc/munge/munge.key",
                                     "var/log/wtmp",
                                     "var/log/journal/x",
                                     "tmp/x",
                                     "run/x",
                                     "boot/x",
                                     "root/.bash_history",
                                     "home/u/.ssh/id_rsa",
                                     "usr/bin/apt",
                                     "etc/hostname",
                                     "var/lib/dbus/machine-id",
                                     "usr/share/doc/x",
                                     "dev",
                                     "proc",
                                     "sys"};
/* "@": what is outside, by its whole name. None leads anywhere else of this machine. */
static const char *const targets[] = {"../outside",
                                      "../../outside",
                                      "../../../outside",
                                      "../outside/etc",
                                      "../../outside/home/u",
                                      "@",
                                      "@/etc",
                                      "@/var/log/journal",
                                      "@/root/.ssh",
                                      "etc",
                                      ".",
                                      "x",
                                      "nowhere/at/all",
                                      "loop",
                                      "[a]"};

static char base[64];

static void put_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd >= 0) {
        if (write(fd, "keep", 4) != 4)
            abort();
        close(fd);
    }
}

static void tree_of(const char *top)
{
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        AUTO_STR path = str_printf("%s/%s", top, dirs[i]);
        if (!path || fd_mkdirs(path, 0755, NULL) < 0)
            abort();
    }
    for (size_t i = 0; i < ARRAY_SIZE(leaves); i++) {
        AUTO_STR path = str_printf("%s/%s", top, leaves[i]);
        if (!path)
            abort();
        put_file(path);
    }
}

static size_t count(const char *top)
{
    size_t n = 0;
    DIR *d = opendir(top);
    for (struct dirent *e; d && (e = readdir(d));) {
        AUTO_STR path = str_printf("%s/%s", top, e->d_name);
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || !path)
            continue;
        n += 1 + (e->d_type == DT_DIR ? count(path) : 0);
    }
    if (d)
        closedir(d);
    return n;
}

static void put_link(const char *target, const char *path)
{
    AUTO_STR whole =
        *target == '@' ? str_printf("%s/outside%s", base, target + 1) : strdup(target);
    if (!whole)
        abort();
    if (symlink(whole, path) < 0)
        return; /* where there is no directory there is no link */
}

/* False: a link, or a file, is in the way. */
static bool make_parents(char *path, size_t root)
{
    struct stat st;
    bool good = true;
    for (char *p = path + root + 1; good && (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(path, 0755);
        good = lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
        *p = '/';
    }
    return good;
}

/* Entries: what it is, where, and for a link where to. The archive's reader does not
 * follow links on its way, neither do we. */
static void unpack(const char *root, const uint8_t *data, size_t size)
{
    for (; size >= 3; data += 3, size -= 3) {
        bool dir = data[1] & 0x80;
        const char *name = dir ? dirs[data[1] % ARRAY_SIZE(dirs)]
                               : leaves[data[1] % ARRAY_SIZE(leaves)];
        AUTO_STR path = str_printf("%s/%s", root, name);
        if (!path)
            abort();
        if (!make_parents(path, strlen(root)))
            continue;
        if (data[0] % 3 == 0)
            put_file(path);
        else if (data[0] % 3 == 1)
            mkdir(path, 0755);
        else if (rmdir(path) == 0 || unlink(path) == 0 || access(path, F_OK) < 0)
            put_link(targets[data[2] % ARRAY_SIZE(targets)], path);
    }
}

static void steps(const char *root)
{
    char *classes[] = {(char *)"docs", (char *)"apt", (char *)"caches"};
    struct image_file files[] = {{.path = (char *)"/etc/hostname", .mode = 0644},
                                 {.path = (char *)"/var/log/made/new", .mode = 0600},
                                 {.path = (char *)"/home/u/.ssh/link"}};
    files[0].content = files[1].content = (char *)"x\n";
    files[2].target = (char *)"/etc/hostname";
    struct image_def def = {.files = files, .nfiles = ARRAY_SIZE(files)};
    struct build_options opt = {0};
    def.prune = (struct words){.item = classes, .count = ARRAY_SIZE(classes)};
    struct build b = {
        .def = &def, .opt = &opt, .root = (char *)root, .run = {.log = -1}};
    struct err err = {0};
    AUTO_STR path = NULL;
    if (root_path(&b, "/var/lib/x/y", true, &path, &err) == 0 &&
        strncmp(path, root, strlen(root)))
        abort();
    if (root_mount_points(&b, &err) == 0)
        step_files(&b, &err);
    if (step_prune(&b, &err) < 0 || step_secrets(&b, &err) < 0)
        return;
    /* What passed has none, wherever its links lead. */
    static const char *const secrets[] = {"/etc/ssh/ssh_host_rsa_key",
                                          "/etc/munge/munge.key", "/root/.bash_history",
                                          "/var/lib/dbus/machine-id"};
    for (size_t i = 0; i < ARRAY_SIZE(secrets); i++) {
        AUTO_STR secret = NULL;
        struct stat st;
        if (root_path(&b, secrets[i], false, &secret, NULL) == 0 &&
            lstat(secret, &st) == 0)
            abort();
    }
}

static void take_away(void)
{
    fd_remove_tree(base, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static size_t before;
    if (!*base) {
        snprintf(base, sizeof base, "%s/lodge-fuzz.XXXXXX",
                 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        AUTO_STR outside = mkdtemp(base) ? str_printf("%s/outside", base) : NULL;
        if (!outside)
            abort();
        atexit(take_away);
        tree_of(outside);
        before = count(outside);
    }
    AUTO_STR root = str_printf("%s/root", base);
    AUTO_STR outside = str_printf("%s/outside", base);
    if (!root || !outside || mkdir(root, 0755) < 0)
        abort();
    unpack(root, data, size < 300 ? size : 300);
    steps(root);
    if (count(outside) != before)
        abort();
    if (fd_remove_tree(root, NULL) < 0)
        abort();
    return 0;
}
