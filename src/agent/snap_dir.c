/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint's directory: made, opened, swept; its files with their sums. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "agent/owner.h"
#include "agent/snap.h"
#include "base/fd.h"
#include "base/str.h"
#include "ckpt/ckpt.h"
#include "proto/rpc.h"

#define WRITING "lodge.writing"

void snap_free(struct snap *c)
{
    if (!c)
        return;
    if (c->writing >= 0)
        close(c->writing);
    if (c->dir >= 0)
        close(c->dir);
    json_decref(c->manifest);
    free(c->parent_name);
    free(c->path);
    free(c);
}

static struct snap *snap_new(const char *path, uid_t uid, gid_t gid)
{
    struct snap *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    *c = (struct snap){
        .path = strdup(path), .uid = uid, .gid = gid, .dir = -1, .writing = -1};
    if (c->path)
        return c;
    snap_free(c);
    return NULL;
}

static int enter(struct snap *c, struct owner_was *was, struct err *err)
{
    return owner_enter(c->uid, c->gid, was, err);
}

/* --- the directory ------------------------------------------------------------------ */

static bool is_empty(int dir)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    bool empty = d != NULL;
    if (!d && fd >= 0)
        close(fd);
    for (struct dirent *e; d && (e = readdir(d));)
        empty &= !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..");
    if (d)
        closedir(d);
    return empty;
}

static int make_as_owner(struct snap *c, struct err *err)
{
    c->made = mkdir(c->path, 0700) == 0;
    if (!c->made && errno != EEXIST)
        return err_sys(err, "checkpoint '%s'", c->path);
    c->dir = open(c->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (c->dir < 0)
        return err_sys(err, "checkpoint '%s'", c->path);
    if (!is_empty(c->dir))
        return err_set(
            err, E_EXISTS,
            "checkpoint '%s': the directory is not empty; name a new one, or "
            "remove it first",
            c->path);
    c->writing = openat(c->dir, WRITING,
                        O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (c->writing < 0)
        return err_sys(err, "checkpoint '%s'", c->path);
    if (flock(c->writing, LOCK_EX | LOCK_NB) < 0)
        return err_sys(err, "checkpoint '%s'", c->path);
    return 0;
}

int snap_make(const char *path, uid_t uid, gid_t gid, struct snap **out,
              struct err *err)
{
    AUTO(snap) c = snap_new(path, uid, gid);
    struct owner_was was;
    if (!c || !(c->manifest = json_object()))
        return err_oom(err);
    if (enter(c, &was, err) < 0)
        return -1;
    int r = make_as_owner(c, err);
    if (r < 0 && c->made)
        rmdir(path);
    owner_leave(&was);
    if (r == 0)
        *out = move(c);
    return r;
}

/* Everything in it but what is not ours: files, and files of "disks". */
static void empty_dir(int dir, int depth)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d && fd >= 0)
        close(fd);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        if (unlinkat(dir, e->d_name, 0) == 0 || depth)
            continue;
        int sub =
            openat(dir, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (sub < 0)
            continue;
        empty_dir(sub, depth + 1);
        close(sub);
        unlinkat(dir, e->d_name, AT_REMOVEDIR);
    }
    if (d)
        closedir(d);
}

void snap_drop(struct snap *c)
{
    struct owner_was was;
    if (c->dir < 0 || enter(c, &was, NULL) < 0)
        return;
    empty_dir(c->dir, 0);
    if (c->made)
        rmdir(c->path);
    owner_leave(&was);
}

int snap_done(struct snap *c, struct err *err)
{
    struct owner_was was;
    if (enter(c, &was, err) < 0)
        return -1;
    int r = ckpt_commit(c->dir, c->manifest, err);
    if (r == 0)
        unlinkat(c->dir, WRITING, 0);
    owner_leave(&was);
    return r < 0 ? err_at(err, "checkpoint '%s'", c->path) : 0;
}

void snap_sweep(const json_t *args)
{
    const char *path = json_string_value(json_object_get(args, "to"));
    uid_t uid = json_integer_value(json_object_get(args, "uid"));
    gid_t gid = json_integer_value(json_object_get(args, "gid"));
    AUTO(snap) c = path ? snap_new(path, uid, gid) : NULL;
    struct owner_was was;
    if (!c || enter(c, &was, NULL) < 0)
        return;
    c->dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (c->dir >= 0)
        c->writing = openat(c->dir, WRITING, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    bool whole = c->dir >= 0 && faccessat(c->dir, CKPT_MANIFEST, F_OK, 0) == 0;
    if (c->writing >= 0 && !whole && flock(c->writing, LOCK_EX | LOCK_NB) == 0) {
        empty_dir(c->dir, 0);
        rmdir(path);
    }
    owner_leave(&was);
}

int snap_load(const char *path, uid_t uid, gid_t gid, struct snap **out,
              struct err *err)
{
    AUTO(snap) c = snap_new(path, uid, gid);
    struct owner_was was;
    if (!c)
        return err_oom(err);
    if (enter(c, &was, err) < 0)
        return -1;
    c->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = c->dir < 0 ? err_sys(err, "checkpoint '%s'", path)
                       : ckpt_manifest_read(c->dir, &c->manifest, err);
    owner_leave(&was);
    if (r < 0)
        return c->dir < 0 ? -1 : err_at(err, "checkpoint '%s'", path);
    c->disks = json_object_get(c->manifest, "disks");
    *out = move(c);
    return 0;
}

int snap_find_parent(struct snap *c, const char *name, struct err *err)
{
    AUTO_STR path = str_printf("../%s", name);
    AUTO_JSON manifest = NULL;
    struct owner_was was;
    if (!path || !(c->parent_name = strdup(name)))
        return err_oom(err);
    if (enter(c, &was, err) < 0)
        return -1;
    AUTO_FD dir = openat(c->dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = dir < 0 ? err_sys(err, "its parent '%s'", name)
                    : ckpt_manifest_read(dir, &manifest, err);
    owner_leave(&was);
    if (r < 0)
        return dir < 0 ? -1 : err_at(err, "its parent '%s'", name);
    const char *id = json_string_value(json_object_get(manifest, "id"));
    snprintf(c->parent, sizeof c->parent, "%s", id ? id : "");
    return 0;
}

/* --- files ----------------------------------------------------------------------------- */

static bool is_plain(const char *name)
{
    const char *slash = strchr(name, '/');
    return *name && !strstr(name, "..") &&
           (!slash || (str_starts(name, "disks/") && !strchr(slash + 1, '/')));
}

int snap_file(struct snap *c, const char *name, struct err *err)
{
    struct owner_was was;
    if (enter(c, &was, err) < 0)
        return -1;
    int fd = -1;
    if (!str_starts(name, "disks/") || mkdirat(c->dir, "disks", 0700) == 0 ||
        errno == EEXIST)
        fd = openat(c->dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    0600);
    owner_leave(&was);
    return fd < 0 ? err_sys(err, "checkpoint '%s': '%s'", c->path, name) : fd;
}

int snap_open_file(struct snap *c, const char *name, struct err *err)
{
    struct owner_was was;
    struct stat st;
    if (!is_plain(name))
        return err_set(err, E_INPUT, "checkpoint '%s': '%s' is no file of it", c->path,
                       name);
    if (enter(c, &was, err) < 0)
        return -1;
    int fd = openat(c->dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    owner_leave(&was);
    if (fd < 0)
        return err_sys(err, "checkpoint '%s': '%s'", c->path, name);
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return fd;
    close(fd);
    return err_set(err, E_INPUT, "checkpoint '%s': '%s' is no file", c->path, name);
}

void snap_progress(struct snap *c, const char *phase, uint64_t done, uint64_t total)
{
    if (c->tell)
        c->tell(json_pack("{s:s, s:I, s:I}", "phase", phase, "done", (json_int_t)done,
                          "total", (json_int_t)total));
}

static bool all_zero(const unsigned char *p, size_t len)
{
    return !len || (!*p && !memcmp(p, p + 1, len - 1));
}

int snap_sums(struct snap *c, const char *name, int fd, json_t **out, struct err *err)
{
    struct stat st;
    AUTO_STR buf = malloc(SNAP_CHUNK);
    AUTO_JSON sums = json_array();
    if (!buf || !sums)
        return err_oom(err);
    if (fstat(fd, &st) < 0)
        return err_sys(err, "'%s'", name);
    for (off_t at = 0; at < st.st_size; at += SNAP_CHUNK) {
        size_t want = st.st_size - at < SNAP_CHUNK ? st.st_size - at : SNAP_CHUNK;
        off_t data = lseek(fd, at, SEEK_DATA);
        char hex[17] = "0";
        if (data < 0 && errno != ENXIO)
            return err_sys(err, "'%s'", name);
        if (data >= 0 && data < at + (off_t)want) {
            ssize_t n = fd_read_at(fd, buf, want, at);
            if (n != (ssize_t)want)
                return n < 0 ? err_sys(err, "'%s'", name)
                             : err_set(err, E_IO, "'%s' became shorter", name);
            if (!all_zero((unsigned char *)buf, want))
                snprintf(hex, sizeof hex, "%016llx",
                         (unsigned long long)XXH64(buf, want, 0));
        }
        json_array_append_new(sums, json_string(hex));
        if (at % (16ll * SNAP_CHUNK) == 0)
            snap_progress(c, name, at, st.st_size);
    }
    *out = json_pack("{s:s, s:I, s:I, s:i, s:O}", "file", name, "bytes",
                     (json_int_t)st.st_size, "stored_bytes",
                     (json_int_t)st.st_blocks * 512, "chunk_bytes", SNAP_CHUNK, "xxh64",
                     sums);
    return *out ? 0 : err_oom(err);
}

int snap_add_file(struct snap *c, const char *feature, const char *name, json_t *entry,
                  struct err *err)
{
    AUTO_JSON own = entry;
    json_t *files = json_object_get(c->manifest, "files"),
           *features = json_object_get(c->manifest, "features");
    if (!files && json_object_set_new(c->manifest, "files", files = json_object()) < 0)
        return err_oom(err);
    if (!features &&
        json_object_set_new(c->manifest, "features", features = json_array()) < 0)
        return err_oom(err);
    if (!own || json_object_set(files, name, own) < 0 ||
        json_array_append_new(features, json_string(feature)) < 0)
        return err_oom(err);
    return 0;
}

ssize_t snap_read_chunk(const json_t *entry, int fd, size_t i, void *buf,
                        struct err *err)
{
    const char *file = NULL;
    json_int_t bytes, chunk;
    json_t *sums;
    if (json_unpack((json_t *)entry, "{s:s, s:I, s:I, s:o}", "file", &file, "bytes",
                    &bytes, "chunk_bytes", &chunk, "xxh64", &sums) < 0 ||
        bytes < 0 || chunk != SNAP_CHUNK ||
        json_array_size(sums) != ((size_t)bytes + SNAP_CHUNK - 1) / SNAP_CHUNK)
        return err_set(err, E_INPUT, "the manifest's entry of file '%s' is wrong",
                       file ? file : "?");
    off_t at = (off_t)i * SNAP_CHUNK;
    if (at >= bytes)
        return 0;
    size_t want = bytes - at < SNAP_CHUNK ? bytes - at : SNAP_CHUNK;
    ssize_t n = fd_read_at(fd, buf, want, at);
    if (n < 0)
        return err_sys(err, "file '%s' at %lld", file, (long long)at);
    char hex[17] = "0";
    if (n == (ssize_t)want && !all_zero(buf, want))
        snprintf(hex, sizeof hex, "%016llx", (unsigned long long)XXH64(buf, want, 0));
    const char *sum = json_string_value(json_array_get(sums, i));
    if (n != (ssize_t)want)
        return err_set(err, E_IO, "file '%s' is cut short: it ends at %lld of %lld",
                       file, (long long)(at + n), (long long)bytes);
    if (!sum || strcmp(sum, hex))
        return err_set(err, E_IO, "file '%s' is damaged between %lld and %lld", file,
                       (long long)at, (long long)(at + want));
    return n;
}
