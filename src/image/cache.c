/* SPDX-License-Identifier: Apache-2.0 */
/* Receiving images, and the limit of what a node keeps; see the header. */
#include "image/cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "image/files.h"
#include "image/hash.h"
#include "image/keep.h"
#include "image/manifest.h"
#include "image/put.h"
#include "image/store.h"

OWN_CLEANUP(json_t, json_decref)
OWN_CLEANUP(DIR, closedir)

enum { STALE_S = 7 * 24 * 3600 }; /* a broken transfer is forgotten after this */

static char *partial_path(const char *store, const char *sum)
{
    return str_printf("%s/partial/%s", store, sum);
}

static bool is_sum(const char *s)
{
    return s && strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

static uint64_t size_of(const char *path)
{
    struct stat st;
    return path && stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size
                                                               : 0;
}

static uint64_t wanted_size(const json_t *output)
{
    json_int_t n = json_integer_value(json_object_get(output, "size"));
    return n > 0 ? (uint64_t)n : 0;
}

/* Is the blob whole, as far as its size tells? */
static bool has_blob(const char *store, const json_t *output)
{
    AUTO_STR path =
        files_blob(store, json_string_value(json_object_get(output, "sha256")));
    struct stat st;
    return path && stat(path, &st) == 0 && (uint64_t)st.st_size == wanted_size(output);
}

static json_t *outputs_of(const json_t *manifest)
{
    return json_object_get(json_object_get(manifest, "content"), "outputs");
}

static bool is_whole(const char *store, const json_t *manifest)
{
    const char *name;
    json_t *o;
    bool whole = true;
    json_object_foreach (outputs_of(manifest), name, o) {
        whole &= has_blob(store, o);
    }
    return whole;
}

/* --- room --------------------------------------------------------------------------- */

/* An image that was sent here. */
struct kept {
    char *ref; /* NAME@VERSION */
    time_t used;
};

static bool was_sent(const json_t *m)
{
    return json_object_get(json_object_get(m, "build"), "sent") != NULL;
}

/* Of the blobs that are not in *seen (NULL: of all), which then has them. */
static uint64_t bytes_of(const json_t *m, json_t *seen)
{
    const char *name;
    json_t *o;
    uint64_t sum = 0;
    json_object_foreach (outputs_of(m), name, o) {
        const char *hex = json_string_value(json_object_get(o, "sha256"));
        if (!seen || !json_object_get(seen, hex))
            sum += wanted_size(o);
        if (seen)
            json_object_set_new(seen, hex, json_true());
    }
    return sum;
}

/* Of one name's directory: add to the sum what no other had, and remember the one used
 * longest ago. */
static int look(const char *dir, const json_t *passed, json_t *seen, uint64_t *sum,
                struct kept *old, struct err *err)
{
    AUTO_T(DIR) d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        AUTO_STR path = str_printf("%s/%s", dir, e->d_name);
        AUTO_T(json_t) m = NULL;
        struct stat st;
        if (!path)
            return err_oom(err);
        if (!str_ends(e->d_name, ".json") || stat(path, &st) < 0 ||
            manifest_load(path, &m, NULL) < 0 || !was_sent(m))
            continue;
        *sum += bytes_of(m, seen);
        AUTO_STR ref =
            str_printf("%s@%s", manifest_text(m, "name"), manifest_text(m, "version"));
        if (!ref)
            return err_oom(err);
        if (json_object_get(passed, ref) || (old->ref && old->used <= st.st_mtime))
            continue;
        free(old->ref);
        *old = (struct kept){move(ref), st.st_mtime};
    }
    return 0;
}

/* *sum: bytes of all blobs of images that were sent here and of `coming`. */
static int look_all(const char *store, const json_t *coming, const json_t *passed,
                    uint64_t *sum, struct kept *old, struct err *err)
{
    AUTO_STR manifests = str_printf("%s/manifests", store);
    AUTO_T(json_t) seen = json_object();
    if (!manifests || !seen)
        return err_oom(err);
    *sum = bytes_of(coming, seen);
    AUTO_T(DIR) d = opendir(manifests);
    for (struct dirent *e; d && (e = readdir(d));) {
        AUTO_STR dir = str_printf("%s/%s", manifests, e->d_name);
        if (!dir)
            return err_oom(err);
        if (e->d_name[0] != '.' && look(dir, passed, seen, sum, old, err) < 0)
            return -1;
    }
    return 0;
}

/* Until `coming` fits. An image that is held is passed over. */
static int make_room(const char *store, const json_t *coming, uint64_t limit,
                     struct err *err)
{
    enum { LAYER_DAYS = 30 };
    AUTO_T(json_t) passed = json_object();
    bool removed = false;
    if (!passed)
        return err_oom(err);
    for (;;) {
        uint64_t sum = 0;
        struct kept old = {0};
        int r = look_all(store, coming, passed, &sum, &old, err);
        AUTO_STR ref = old.ref;
        if (r < 0)
            return -1;
        if (sum <= limit)
            break;
        if (!ref)
            return err_set(err, E_BUSY,
                           "the node's cache is full of images that machines use; "
                           "raise image_cache in its lodge.conf");
        struct err why = {0};
        if (keep_remove(ref, &why) == 0)
            removed = true;
        else if (why.code != E_BUSY && why.code != E_NOENT)
            return err_set(err, why.code, "%s", why.text);
        else
            json_object_set_new(passed, ref, json_true());
    }
    struct keep_freed freed;
    return removed ? keep_gc(false, LAYER_DAYS, &freed, err) : 0;
}

/* What broken transfers left long ago. */
static void drop_stale(const char *store)
{
    AUTO_STR dir = str_printf("%s/partial", store);
    AUTO_T(DIR) d = dir ? opendir(dir) : NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        if (is_sum(e->d_name) && fstatat(dirfd(d), e->d_name, &st, 0) == 0 &&
            time(NULL) - st.st_mtime > STALE_S)
            unlinkat(dirfd(d), e->d_name, 0);
    }
}

/* --- offer ---------------------------------------------------------------------------- */

/* The very image, whole, in any store? Then the tag follows if it is ours. */
static int find_here(const json_t *m, const char *own, bool latest, bool *here,
                     struct err *err)
{
    AUTO_STR digest = manifest_digest(m);
    AUTO_STR ref = str_printf("%s@%s", manifest_text(m, "name"), digest);
    AUTO_STR store = NULL;
    AUTO_STR path = NULL;
    *here = false;
    if (!digest || !ref)
        return err_oom(err);
    if (files_resolve(ref, &store, &path, NULL) < 0 || !is_whole(store, m))
        return 0;
    *here = true;
    if (!latest || strcmp(store, own))
        return 0;
    return put_tag(own, manifest_text(m, "name"), "latest", manifest_text(m, "version"),
                   err);
}

/* Another image may not be under the same name and version. */
static int check_name(const json_t *m, const char *own, struct err *err)
{
    AUTO_STR path = str_printf("%s/manifests/%s/%s.json", own, manifest_text(m, "name"),
                               manifest_text(m, "version"));
    AUTO_T(json_t) old = NULL;
    if (!path)
        return err_oom(err);
    if (manifest_load(path, &old, NULL) < 0)
        return 0;
    AUTO_STR a = manifest_digest(m);
    AUTO_STR b = manifest_digest(old);
    if (!a || !b)
        return err_oom(err);
    return strcmp(a, b)
               ? err_set(err, E_EXISTS,
                         "the node has another image '%s@%s'; remove it there first",
                         manifest_text(m, "name"), manifest_text(m, "version"))
               : 0;
}

static int list_missing(const json_t *m, const char *own, json_t *missing,
                        struct err *err)
{
    AUTO_T(json_t) seen = json_object();
    const char *name;
    json_t *o;
    if (!seen)
        return err_oom(err);
    json_object_foreach (outputs_of(m), name, o) {
        const char *sum = json_string_value(json_object_get(o, "sha256"));
        if (json_object_get(seen, sum) || has_blob(own, o))
            continue;
        json_object_set_new(seen, sum, json_true());
        AUTO_STR path = partial_path(own, sum);
        uint64_t have = size_of(path), size = wanted_size(o);
        if (have > size) {
            unlink(path);
            have = 0;
        }
        if (json_array_append_new(missing, json_pack("{s:s, s:I, s:I}", "sha256", sum,
                                                     "size", (json_int_t)size, "have",
                                                     (json_int_t)have)) < 0)
            return err_oom(err);
    }
    return 0;
}

int cache_offer(const json_t *manifest, bool latest, uint64_t limit, json_t **out,
                struct err *err)
{
    AUTO_STR own = NULL;
    AUTO_T(json_t) missing = json_array();
    bool here;
    if (!missing)
        return err_oom(err);
    if (manifest_check(manifest, err) < 0 || put_open(&own, err) < 0 ||
        find_here(manifest, own, latest, &here, err) < 0)
        return -1;
    AUTO_STR dir = str_printf("%s/partial", own);
    if (!dir)
        return err_oom(err);
    if (!here) {
        AUTO_T(json_t) seen = json_object();
        uint64_t whole = bytes_of(manifest, seen);
        if (whole > limit)
            return err_set(err, E_INPUT,
                           "the image is larger (%" PRIu64
                           " MiB) than the node's cache (%" PRIu64
                           " MiB); raise image_cache in its lodge.conf",
                           whole >> 20, limit >> 20);
        drop_stale(own);
        if (check_name(manifest, own, err) < 0 || fd_mkdirs(dir, 0700, err) < 0 ||
            make_room(own, manifest, limit, err) < 0)
            return -1;
        /* After that: blobs shared with what had to go are missing now. */
        if (list_missing(manifest, own, missing, err) < 0)
            return -1;
    }
    *out = json_pack("{s:b, s:O, s:b}", "here", here, "missing", missing, "zstd", 1);
    return *out ? 0 : err_oom(err);
}

/* --- parts ---------------------------------------------------------------------------- */

int cache_part(const char *sha256, uint64_t offset, const void *data, size_t len,
               uint64_t *have, struct err *err)
{
    AUTO_STR own = NULL;
    struct stat st;
    if (!is_sum(sha256) || len > CACHE_PART_MAX || offset > INT64_MAX - len)
        return err_set(err, E_INPUT, "not a part of a blob");
    if (put_open(&own, err) < 0)
        return -1;
    AUTO_STR path = partial_path(own, sha256);
    if (!path)
        return err_oom(err);
    AUTO_FD fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, "'%s'", path);
    if (offset > (uint64_t)st.st_size)
        return err_set(err, E_STATE, "blob %.12s: %" PRIu64 " bytes are missing before",
                       sha256, offset - (uint64_t)st.st_size);
    if (fd_write_at(fd, data, len, offset) < 0)
        return err_sys(err, "'%s'", path);
    uint64_t end = offset + len;
    *have = end > (uint64_t)st.st_size ? end : (uint64_t)st.st_size;
    return 0;
}

static int take_blobs(const json_t *m, const char *own, struct err *err)
{
    const char *name;
    json_t *o;
    json_object_foreach (outputs_of(m), name, o) {
        const char *sum = json_string_value(json_object_get(o, "sha256"));
        AUTO_STR path = partial_path(own, sum);
        char hex[HASH_HEX_SIZE];
        if (!path)
            return err_oom(err);
        if (has_blob(own, o))
            continue;
        if (size_of(path) != wanted_size(o) || hash_file(path, hex, NULL, err) < 0)
            return err_set(err, E_STATE, "blob %.12s (%s) is not whole yet", sum, name);
        if (strcmp(hex, sum)) {
            unlink(path);
            return err_set(err, E_IO, "blob %.12s (%s) was damaged on its way", sum,
                           name);
        }
        if (put_hashed(own, path, hex, err) < 0)
            return -1;
    }
    return 0;
}

static int show(json_t *m, const char *own, bool latest, struct err *err)
{
    const char *name = manifest_text(m, "name"), *version = manifest_text(m, "version");
    AUTO_STR path = str_printf("%s/manifests/%s/%s.json", own, name, version);
    AUTO_STR tagged = NULL;
    AUTO_STR text = json_dumps(m, JSON_SORT_KEYS | JSON_INDENT(1));
    if (!path || !text)
        return err_oom(err);
    AUTO_FD lock = put_lock_name(own, name, err);
    if (lock < 0)
        return -1;
    if (fd_replace_file(path, text, strlen(text), 0644, err) < 0)
        return -1;
    if (!latest && files_tag(own, name, "latest", &tagged, NULL) == 0)
        return 0;
    return put_tag(own, name, "latest", version, err);
}

int cache_commit(const json_t *manifest, bool latest, struct err *err)
{
    AUTO_STR own = NULL;
    AUTO_T(json_t) m = json_deep_copy(manifest);
    bool here;
    if (!m)
        return err_oom(err);
    if (manifest_check(m, err) < 0 || put_open(&own, err) < 0 ||
        find_here(m, own, latest, &here, err) < 0)
        return -1;
    if (here)
        return 0;
    json_t *build = json_object_get(m, "build");
    if (!json_is_object(build)) {
        build = json_object();
        json_object_set_new(m, "build", build);
    }
    if (json_object_set_new(build, "sent", json_integer((json_int_t)time(NULL))) < 0)
        return err_oom(err);
    AUTO_FD lock = put_lock(own, false, err);
    if (lock < 0 || check_name(m, own, err) < 0 || take_blobs(m, own, err) < 0)
        return -1;
    return show(m, own, latest, err);
}

/* When something last came: the newest of what is on its way. */
static time_t last_part(const char *store)
{
    AUTO_STR dir = str_printf("%s/partial", store);
    AUTO_T(DIR) d = dir ? opendir(dir) : NULL;
    time_t newest = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        if (is_sum(e->d_name) && fstatat(dirfd(d), e->d_name, &st, 0) == 0 &&
            st.st_mtime > newest)
            newest = st.st_mtime;
    }
    return newest;
}

int cache_await(const char *ref, unsigned quiet_s, unsigned at_most_s, struct err *err)
{
    const struct timespec pause = {.tv_nsec = 200 * 1000000L};
    AUTO_STR own = NULL;
    time_t begin = time(NULL);
    if (put_open(&own, err) < 0)
        return -1;
    for (;;) {
        struct err why = {0};
        AUTO_T(json_t) m = NULL;
        if (keep_manifest(ref, &m, &why) == 0)
            return 0;
        time_t now = time(NULL), heard = last_part(own);
        if (why.code != E_NOENT)
            return err_set(err, why.code, "%s", why.text);
        if (now - (heard > begin ? heard : begin) > quiet_s || now - begin > at_most_s)
            return err_set(err, E_NOENT,
                           "image '%s' is not on this node and did not come from the "
                           "controller; 'lodge image push' it",
                           ref);
        nanosleep(&pause, NULL);
    }
}

int cache_use(const char *ref, struct err *err)
{
    int fd = image_hold(ref, err);
    if (fd >= 0)
        futimens(fd, NULL); /* not where it is only read; there nothing is evicted */
    return fd;
}
