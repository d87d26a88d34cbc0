/* SPDX-License-Identifier: Apache-2.0 */
/* Adding to the store; see put.h. Everything is written beside and renamed, so a kill
 * at any point leaves a whole store and at most a work directory, which the next build
 * or gc sweeps. */
#include "image/put.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/dirs.h"
#include "base/fd.h"
#include "base/str.h"
#include "image/files.h"
#include "image/hash.h"
#include "image/manifest.h"
#include "image/sandbox.h"

OWN_CLEANUP(json_t, json_decref)
OWN_CLEANUP(DIR, closedir)

int put_make(const char *dir, struct err *err)
{
    static const char *const below[] = {"blobs/sha256", "manifests", "tags", "work"};
    for (size_t i = 0; i < ARRAY_SIZE(below); i++) {
        AUTO_STR d = str_printf("%s/%s", dir, below[i]);
        if (!d)
            return err_oom(err);
        if (fd_mkdirs(d, 0755, err) < 0)
            return err_at(err, "store of images");
    }
    return 0;
}

int put_open(char **store, struct err *err)
{
    AUTO_STR dir = dirs_path(DIRS_STATE, "images");
    if (!dir)
        return err_oom(err);
    if (dirs_make(DIRS_STATE, err) < 0 || put_make(dir, err) < 0)
        return err_at(err, "state directory");
    *store = move(dir);
    return 0;
}

int put_lock(const char *store, bool exclusive, struct err *err)
{
    AUTO_STR path = str_printf("%s/lock", store);
    if (!path)
        return err_oom(err);
    return fd_lock_file(path, 0644, exclusive ? LOCK_EX : LOCK_SH, err);
}

int put_lock_name(const char *store, const char *name, struct err *err)
{
    AUTO_STR dir = str_printf("%s/manifests/%s", store, name);
    AUTO_STR path = str_printf("%s/manifests/.%s.lock", store, name);
    if (!dir || !path)
        return err_oom(err);
    return fd_mkdirs(dir, 0755, err) < 0 ? -1 : fd_lock_file(path, 0644, LOCK_EX, err);
}

/* The lock stands beside the directory, so that removing the one keeps the other. */
int put_work(const char *parent, char **dir, int *lock, struct err *err)
{
    AUTO_STR path = str_printf("%s/XXXXXX", parent);
    if (!path)
        return err_oom(err);
    if (fd_mkdirs(parent, 0755, err) < 0)
        return -1;
    /* A sweep may take the directory between making and locking it: try again. */
    for (int tries = 0; tries < 100; tries++) {
        memcpy(path + strlen(path) - 6, "XXXXXX", 6);
        if (!mkdtemp(path))
            return err_sys(err, "'%s'", path);
        AUTO_STR file = str_printf("%s.lock", path);
        if (!file)
            return err_oom(err);
        AUTO_FD fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        struct stat st, now;
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 &&
            stat(file, &now) == 0 && st.st_ino == now.st_ino &&
            access(path, W_OK) == 0) {
            *dir = move(path);
            *lock = move_fd(fd);
            return 0;
        }
    }
    return err_set(err, E_BUSY, "no work directory in '%s'", parent);
}

struct sweep {
    const char *path;
};

static int remove_inside(void *arg, struct err *err)
{
    struct sweep *s = arg;
    return fd_remove_tree(s->path, err);
}

/* What an unprivileged build made belongs to ids that only its namespace may touch. */
static int remove_any(const char *path, struct err *err)
{
    struct err first = {0};
    if (fd_remove_tree(path, &first) == 0)
        return 0;
    struct sweep s = {.path = path};
    const struct sandbox_spec spec = {
        .rootless = geteuid() != 0, .work = remove_inside, .arg = &s};
    return geteuid() == 0 ? err_set(err, first.code, "%s", first.text)
                          : sandbox_run(&spec, err);
}

static int sweep_one(const char *parent, const char *name, struct err *err)
{
    AUTO_STR file = str_printf("%s/%s", parent, name);
    if (!file)
        return err_oom(err);
    AUTO_FD fd = open(file, O_RDWR | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
        return 0; /* somebody works there */
    AUTO_STR dir = strndup(file, strlen(file) - 5);
    if (!dir)
        return err_oom(err);
    if (remove_any(dir, err) < 0)
        return -1;
    unlink(file);
    return 0;
}

int put_sweep(const char *parent, struct err *err)
{
    AUTO_T(DIR) d = opendir(parent);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        if (str_ends(e->d_name, ".lock") && sweep_one(parent, e->d_name, err) < 0)
            return -1;
    }
    /* A directory whose maker died before it made the lock. */
    if (d)
        rewinddir(d);
    while (d && (e = readdir(d))) {
        AUTO_STR lock = str_printf("%s/%s.lock", parent, e->d_name);
        AUTO_STR dir = str_printf("%s/%s", parent, e->d_name);
        struct stat st;
        if (!lock || !dir)
            return err_oom(err);
        if (e->d_name[0] == '.' || str_ends(e->d_name, ".lock") ||
            access(lock, F_OK) == 0 || stat(dir, &st) < 0 ||
            time(NULL) - st.st_mtime < 60)
            continue;
        if (remove_any(dir, err) < 0)
            return -1;
    }
    return 0;
}

static int keep(const char *store, const char *file, int fd, const char *hex,
                struct err *err)
{
    AUTO_STR to = files_blob(store, hex);
    if (!to)
        return err_oom(err);
    if (fchmod(fd, 0444) < 0 || fsync(fd) < 0 || rename(file, to) < 0)
        return err_sys(err, "keep '%s'", to);
    return 0;
}

int put_blob(const char *store, const char *file, char hex[65], uint64_t *size,
             struct err *err)
{
    AUTO_FD fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_sys(err, "'%s'", file);
    return hash_fd(fd, hex, size, err) < 0 ? -1 : keep(store, file, fd, hex, err);
}

int put_hashed(const char *store, const char *file, const char *hex, struct err *err)
{
    AUTO_FD fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? err_sys(err, "'%s'", file) : keep(store, file, fd, hex, err);
}

/* In the kernel where it can, and through sendfile between file systems. */
static int copy_all(int from, int to)
{
    bool plain = false;
    for (;;) {
        ssize_t n = plain ? sendfile(to, from, NULL, 1 << 30)
                          : copy_file_range(from, NULL, to, NULL, 1 << 30, 0);
        if (n == 0)
            return 0;
        if (n > 0 || errno == EINTR)
            continue;
        if (plain || (errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP))
            return -1;
        plain = true;
    }
}

int put_copy(const char *store, const char *file, const char *work, char hex[65],
             uint64_t *size, struct err *err)
{
    AUTO_FD from = open(file, O_RDONLY | O_CLOEXEC);
    AUTO_STR temp = str_printf("%s/copy", work);
    if (!temp)
        return err_oom(err);
    if (from < 0)
        return err_sys(err, "'%s'", file);
    AUTO_FD to = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (to < 0)
        return err_sys(err, "'%s'", temp);
    if (copy_all(from, to) < 0)
        return err_sys(err, "copy '%s'", file);
    return put_blob(store, temp, hex, size, err);
}

int put_tag(const char *store, const char *name, const char *tag, const char *version,
            struct err *err)
{
    AUTO_STR dir = str_printf("%s/tags/%s", store, name);
    AUTO_STR path = dir ? str_printf("%s/%s", dir, tag) : NULL;
    AUTO_STR old = NULL;
    if (!path)
        return err_oom(err);
    if (fd_mkdirs(dir, 0755, err) < 0)
        return -1;
    struct err e = {0};
    if (fd_read_file(path, 1 << 20, &old, NULL, &e) < 0 && e.code != E_NOENT)
        return err_set(err, e.code, "%s", e.text);
    AUTO_STR now = NULL;
    if (old && files_tag(store, name, tag, &now, NULL) == 0 && !strcmp(now, version))
        return 0;
    AUTO_STR text = str_printf("%s%s\n", old ? old : "", version);
    return text ? fd_replace_file(path, text, strlen(text), 0644, err) : err_oom(err);
}

/* Is the image of this version the same but for its version? */
static bool is_same(const char *path, json_t *content, const char *version)
{
    AUTO_T(json_t) old = NULL;
    if (manifest_load(path, &old, NULL) < 0)
        return false;
    json_object_set_new(content, "version", json_string(version));
    return json_equal(json_object_get(old, "content"), content);
}

int put_manifest(const char *store, json_t *manifest, const char *base, char **version,
                 bool *same, struct err *err)
{
    json_t *content = json_object_get(manifest, "content");
    const char *name = json_string_value(json_object_get(content, "name"));
    AUTO_STR dir = str_printf("%s/manifests/%s", store, name);
    if (!dir)
        return err_oom(err);
    AUTO_FD lock = put_lock_name(store, name, err);
    if (lock < 0)
        return -1;
    for (int n = 1;; n++) {
        AUTO_STR v = n == 1 ? strdup(base) : str_printf("%s-%d", base, n);
        AUTO_STR path = v ? str_printf("%s/%s.json", dir, v) : NULL;
        if (!path)
            return err_oom(err);
        *same = access(path, F_OK) == 0;
        if (*same && !is_same(path, content, v))
            continue;
        json_object_set_new(content, "version", json_string(v));
        AUTO_STR text = json_dumps(manifest, JSON_SORT_KEYS | JSON_INDENT(1));
        if (!text)
            return err_oom(err);
        if (!*same && (manifest_check(manifest, err) < 0 ||
                       fd_replace_file(path, text, strlen(text), 0644, err) < 0))
            return -1;
        *version = move(v);
        return put_tag(store, name, "latest", *version, err);
    }
}
