/* SPDX-License-Identifier: Apache-2.0 */
/* The store's housekeeping; see the header. */
#include "image/keep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/dirs.h"
#include "base/fd.h"
#include "base/str.h"
#include "image/files.h"
#include "image/hash.h"
#include "image/manifest.h"
#include "image/put.h"
#include "image/store.h"

OWN_CLEANUP(json_t, json_decref)
OWN_CLEANUP(DIR, closedir)

/* Call fn for each entry of a directory that does not begin with a dot; a missing
 * directory has none. */
static int each(const char *dir,
                int (*fn)(const char *dir, const char *name, void *arg,
                          struct err *err),
                void *arg, struct err *err)
{
    AUTO_T(DIR) d = opendir(dir);
    if (!d)
        return errno == ENOENT ? 0 : err_sys(err, "'%s'", dir);
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.' && fn(dir, e->d_name, arg, err) < 0)
            return -1;
    return 0;
}

/* ---- list ------------------------------------------------------------------------ */

struct listing {
    json_t *rows;
    const char *store;
};

struct tags {
    struct str_buf text;
    const char *store, *name, *version;
};

static int note_tag(const char *dir, const char *name, void *arg, struct err *err)
{
    struct tags *t = arg;
    AUTO_STR v = NULL;
    if (files_tag(t->store, t->name, name, &v, NULL) == 0 && !strcmp(v, t->version))
        str_buf_printf(&t->text, "%s%s", t->text.len ? "," : "", name);
    return 0;
}

static char *tags_of(const char *store, const char *name, const char *version)
{
    AUTO_STR dir = str_printf("%s/tags/%s", store, name);
    struct tags t = {.store = store, .name = name, .version = version};
    if (!dir || each(dir, note_tag, &t, NULL) < 0) {
        str_buf_done(&t.text);
        return strdup("");
    }
    return str_buf_take(&t.text);
}

static json_int_t total_size(const json_t *m)
{
    json_t *outputs = json_object_get(json_object_get(m, "content"), "outputs"), *o;
    const char *name;
    json_int_t sum = 0;
    json_object_foreach (outputs, name, o) {
        sum += json_integer_value(json_object_get(o, "size"));
    }
    return sum;
}

static int list_one(const char *dir, const char *file, void *arg, struct err *err)
{
    struct listing *l = arg;
    AUTO_STR path = str_printf("%s/%s", dir, file);
    AUTO_T(json_t) m = NULL;
    if (!path)
        return err_oom(err);
    if (!str_ends(file, ".json") || manifest_load(path, &m, NULL) < 0)
        return 0; /* verify tells */
    AUTO_STR digest = manifest_digest(m);
    AUTO_STR tags =
        tags_of(l->store, manifest_text(m, "name"), manifest_text(m, "version"));
    if (!digest || !tags)
        return err_oom(err);
    const json_t *built = json_object_get(json_object_get(m, "build"), "time");
    json_t *row = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s}", "name",
        manifest_text(m, "name"), "version", manifest_text(m, "version"), "tags", tags,
        "kind", manifest_text(m, "kind"), "root", manifest_text(m, "root_format"),
        "size", total_size(m), "digest", digest, "built",
        built ? json_string_value(built) : "", "store", l->store);
    return !row || json_array_append_new(l->rows, row) < 0 ? err_oom(err) : 0;
}

static int list_name(const char *dir, const char *name, void *arg, struct err *err)
{
    AUTO_STR sub = str_printf("%s/%s", dir, name);
    return sub ? each(sub, list_one, arg, err) : err_oom(err);
}

static int compare_rows(const void *a, const void *b)
{
    static const char *const keys[] = {"name", "version"};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        int c = strverscmp(
            json_string_value(json_object_get(*(json_t *const *)a, keys[i])),
            json_string_value(json_object_get(*(json_t *const *)b, keys[i])));
        if (c)
            return c;
    }
    return 0;
}

static int sorted(const json_t *rows, json_t **out, struct err *err)
{
    size_t n = json_array_size(rows);
    json_t **v = calloc(n + 1, sizeof *v);
    AUTO_T(json_t) all = json_array();
    if (!v || !all) {
        free(v);
        return err_oom(err);
    }
    for (size_t i = 0; i < n; i++)
        v[i] = json_array_get(rows, i);
    qsort(v, n, sizeof *v, compare_rows);
    for (size_t i = 0; i < n; i++)
        json_array_append(all, v[i]);
    free(v);
    *out = move(all);
    return 0;
}

int keep_list(json_t **out, struct err *err)
{
    AUTO(files_stores) s = NULL;
    AUTO_T(json_t) rows = json_array();
    if (!rows)
        return err_oom(err);
    if (files_stores(&s, err) < 0)
        return -1;
    for (char **d = s->dirs; *d; d++) {
        AUTO_STR dir = str_printf("%s/manifests", *d);
        struct listing l = {.rows = rows, .store = *d};
        if (!dir)
            return err_oom(err);
        if (access(dir, R_OK | X_OK) == 0 && each(dir, list_name, &l, err) < 0)
            return -1;
    }
    return sorted(rows, out, err);
}

int keep_manifest(const char *ref, json_t **out, struct err *err)
{
    AUTO_STR store = NULL;
    AUTO_STR path = NULL;
    return files_resolve(ref, &store, &path, err) < 0 ? -1
                                                      : manifest_load(path, out, err);
}

int keep_output(const char *ref, const char *output, char **path, struct err *err)
{
    AUTO_STR store = NULL;
    AUTO_STR at = NULL;
    AUTO_T(json_t) m = NULL;
    if (files_resolve(ref, &store, &at, err) < 0 || manifest_load(at, &m, err) < 0)
        return -1;
    const char *sum = manifest_output(m, output);
    if (!sum)
        return err_set(err, E_NOENT, "image '%s' has no '%s'", ref, output);
    return (*path = files_blob(store, sum)) ? 0 : err_oom(err);
}

/* ---- hold, remove ---------------------------------------------------------------- */

int image_hold(const char *ref, struct err *err)
{
    AUTO_STR store = NULL;
    AUTO_STR path = NULL;
    if (files_resolve(ref, &store, &path, err) < 0)
        return -1;
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_SH) < 0)
        return err_sys(err, "hold image '%s'", ref);
    return access(path, F_OK) == 0
               ? move_fd(fd)
               : err_set(err, E_NOENT, "image '%s' was just removed", ref);
}

/* Take every line with this version out of the tag's file. */
static int untag(const char *dir, const char *tag, void *arg, struct err *err)
{
    const char *version = arg;
    AUTO_STR path = str_printf("%s/%s", dir, tag);
    AUTO_STR text = NULL;
    AUTO_BUF left = {0};
    if (!path)
        return err_oom(err);
    if (fd_read_file(path, 1 << 20, &text, NULL, err) < 0)
        return -1;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));)
        if (*line && strcmp(line, version))
            str_buf_printf(&left, "%s\n", line);
    if (left.failed)
        return err_oom(err);
    if (left.len)
        return fd_replace_file(path, left.data, left.len, 0644, err);
    return unlink(path) < 0 ? err_sys(err, "'%s'", path) : 0;
}

static int must_be_own(const char *store, const char *ref, struct err *err)
{
    AUTO_STR own = dirs_path(DIRS_STATE, "images");
    if (!own)
        return err_oom(err);
    return strcmp(own, store)
               ? err_set(err, E_PERM, "image '%s' is in '%s', which is only read here",
                         ref, store)
               : 0;
}

int keep_remove(const char *ref, struct err *err)
{
    AUTO_STR store = NULL;
    AUTO_STR path = NULL;
    AUTO_T(json_t) m = NULL;
    if (files_resolve(ref, &store, &path, err) < 0 ||
        must_be_own(store, ref, err) < 0 || manifest_load(path, &m, err) < 0)
        return -1;
    AUTO_FD lock = put_lock(store, true, err);
    if (lock < 0)
        return -1;
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, "'%s'", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return err_set(err, E_BUSY, "image '%s' is in use by a virtual machine", ref);
    AUTO_STR tags = str_printf("%s/tags/%s", store, manifest_text(m, "name"));
    if (!tags)
        return err_oom(err);
    /* Tags first: a kill in between leaves an image without a tag, not a tag without
     * an image. */
    if (each(tags, untag, (void *)manifest_text(m, "version"), err) < 0)
        return -1;
    if (unlink(path) < 0)
        return err_sys(err, "'%s'", path);
    return 0;
}

/* ---- gc -------------------------------------------------------------------------- */

struct gc {
    bool dry;
    unsigned layer_days;
    json_t *used; /* set of hashes */
    struct keep_freed *freed;
};

static int note_used(const char *dir, const char *file, void *arg, struct err *err)
{
    struct gc *g = arg;
    AUTO_STR path = str_printf("%s/%s", dir, file);
    AUTO_T(json_t) m = NULL;
    if (!path)
        return err_oom(err);
    if (!str_ends(file, ".json"))
        return 0;
    /* A manifest that cannot be read may name anything: remove nothing then. */
    if (manifest_load(path, &m, err) < 0)
        return err_at(err, "gc stops, 'lodge image rm' or repair it first");
    json_t *outputs = json_object_get(json_object_get(m, "content"), "outputs"), *o;
    const char *name;
    json_object_foreach (outputs, name, o) {
        const char *sum = json_string_value(json_object_get(o, "sha256"));
        if (json_object_set_new(g->used, sum, json_true()) < 0)
            return err_oom(err);
    }
    return 0;
}

static int note_name(const char *dir, const char *name, void *arg, struct err *err)
{
    AUTO_STR sub = str_printf("%s/%s", dir, name);
    return sub ? each(sub, note_used, arg, err) : err_oom(err);
}

static int drop(struct gc *g, const char *path, unsigned *count, struct err *err)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return 0;
    (*count)++;
    g->freed->bytes += st.st_blocks * 512ull;
    return g->dry || unlink(path) == 0 ? 0 : err_sys(err, "'%s'", path);
}

static int drop_blob(const char *dir, const char *name, void *arg, struct err *err)
{
    struct gc *g = arg;
    if (json_object_get(g->used, name))
        return 0;
    AUTO_STR path = str_printf("%s/%s", dir, name);
    return path ? drop(g, path, &g->freed->blobs, err) : err_oom(err);
}

static int drop_layer(const char *dir, const char *name, void *arg, struct err *err)
{
    struct gc *g = arg;
    AUTO_STR path = str_printf("%s/%s", dir, name);
    struct stat st;
    if (!path)
        return err_oom(err);
    time_t limit = time(NULL) - (time_t)g->layer_days * 24 * 3600;
    if (stat(path, &st) < 0 || st.st_atime > limit || st.st_mtime > limit)
        return 0;
    return drop(g, path, &g->freed->layers, err);
}

static int count_work(const char *dir, const char *name, void *arg, struct err *err)
{
    struct gc *g = arg;
    g->freed->works += !str_ends(name, ".lock");
    return 0;
}

int keep_gc(bool dry, unsigned layer_days, struct keep_freed *out, struct err *err)
{
    AUTO_STR store = NULL;
    if (put_open(&store, err) < 0)
        return -1;
    AUTO_STR blobs = str_printf("%s/blobs/sha256", store);
    AUTO_STR manifests = str_printf("%s/manifests", store);
    AUTO_STR work = str_printf("%s/work", store);
    AUTO_STR cwork = dirs_path(DIRS_CACHE, "images/work");
    AUTO_STR layers = dirs_path(DIRS_CACHE, "images/layers");
    AUTO_T(json_t) used = json_object();
    if (!blobs || !manifests || !work || !cwork || !layers || !used)
        return err_oom(err);
    AUTO_FD lock = put_lock(store, true, err);
    *out = (struct keep_freed){0};
    struct gc g = {.dry = dry, .layer_days = layer_days, .used = used, .freed = out};
    struct gc after = {.freed = &(struct keep_freed){0}};
    if (lock < 0 || each(manifests, note_name, &g, err) < 0 ||
        each(blobs, drop_blob, &g, err) < 0 || each(work, count_work, &g, err) < 0)
        return -1;
    if (!dry && (put_sweep(work, err) < 0 || put_sweep(cwork, err) < 0))
        return -1;
    if (each(work, count_work, &after, err) < 0)
        return -1;
    out->works -= dry ? 0 : after.freed->works; /* those still at work stay */
    return each(layers, drop_layer, &g, err);
}

/* ---- verify ---------------------------------------------------------------------- */

struct verify {
    const char *store;
    json_t *rows, *done; /* done: set of hashes looked at */
};

static int problem(struct verify *v, struct err *err, const char *what, const char *fmt,
                   ...) __attribute__((format(printf, 4, 5)));
static int problem(struct verify *v, struct err *err, const char *what, const char *fmt,
                   ...)
{
    AUTO_BUF b = {0};
    va_list ap;
    va_start(ap, fmt);
    str_buf_vprintf(&b, fmt, ap);
    va_end(ap);
    json_t *row =
        b.failed ? NULL : json_pack("{s:s, s:s}", "what", what, "problem", b.data);
    return !row || json_array_append_new(v->rows, row) < 0 ? err_oom(err) : 0;
}

static int verify_blob(struct verify *v, const char *what, const char *sum,
                       struct err *err)
{
    AUTO_STR path = files_blob(v->store, sum);
    char hex[HASH_HEX_SIZE];
    struct err e = {0};
    if (!path)
        return err_oom(err);
    if (json_object_get(v->done, sum))
        return 0;
    json_object_set_new(v->done, sum, json_true());
    if (hash_file(path, hex, NULL, &e) < 0)
        return problem(v, err, what, "%s", e.text);
    if (strcmp(hex, sum))
        return problem(v, err, what, "'%s' was changed: its SHA256 is %s", path, hex);
    return 0;
}

static int verify_manifest(const char *dir, const char *file, void *arg,
                           struct err *err)
{
    struct verify *v = arg;
    AUTO_STR path = str_printf("%s/%s", dir, file);
    AUTO_T(json_t) m = NULL;
    struct err e = {0};
    if (!path)
        return err_oom(err);
    if (strstr(file, ".json.new."))
        return problem(v, err, path,
                       "left by a process that was killed; gc removes it");
    if (!str_ends(file, ".json"))
        return 0;
    if (manifest_load(path, &m, &e) < 0)
        return problem(v, err, path, "%s", e.text);
    json_t *outputs = json_object_get(json_object_get(m, "content"), "outputs"), *o;
    const char *name;
    json_object_foreach (outputs, name, o) {
        AUTO_STR what = str_printf("%s@%s %s", manifest_text(m, "name"),
                                   manifest_text(m, "version"), name);
        if (!what)
            return err_oom(err);
        if (verify_blob(v, what, json_string_value(json_object_get(o, "sha256")), err) <
            0)
            return -1;
    }
    return 0;
}

static int verify_name(const char *dir, const char *name, void *arg, struct err *err)
{
    AUTO_STR sub = str_printf("%s/%s", dir, name);
    return sub ? each(sub, verify_manifest, arg, err) : err_oom(err);
}

static int verify_tag(const char *dir, const char *tag, void *arg, struct err *err)
{
    struct verify *v = arg;
    const char *name = strrchr(dir, '/') + 1;
    AUTO_STR version = NULL;
    AUTO_STR what = str_printf("tag %s@%s", name, tag);
    if (!what)
        return err_oom(err);
    struct err e = {0};
    if (files_tag(v->store, name, tag, &version, &e) < 0)
        return problem(v, err, what, "%s", e.text);
    AUTO_STR path = str_printf("%s/manifests/%s/%s.json", v->store, name, version);
    if (!path)
        return err_oom(err);
    return access(path, F_OK) == 0
               ? 0
               : problem(v, err, what, "there is no version '%s'", version);
}

static int verify_tags(const char *dir, const char *name, void *arg, struct err *err)
{
    AUTO_STR sub = str_printf("%s/%s", dir, name);
    return sub ? each(sub, verify_tag, arg, err) : err_oom(err);
}

static int verify_store(struct verify *v, struct err *err)
{
    AUTO_STR manifests = str_printf("%s/manifests", v->store);
    AUTO_STR tags = str_printf("%s/tags", v->store);
    if (!manifests || !tags)
        return err_oom(err);
    return each(manifests, verify_name, v, err) < 0 ? -1
                                                    : each(tags, verify_tags, v, err);
}

int keep_verify(const char *ref, json_t **out, struct err *err)
{
    AUTO_STR store = NULL;
    AUTO_STR path = NULL;
    AUTO_T(json_t) rows = json_array();
    AUTO_T(json_t) done = json_object();
    if (!rows || !done)
        return err_oom(err);
    if (ref ? files_resolve(ref, &store, &path, err) < 0 : put_open(&store, err) < 0)
        return -1;
    struct verify v = {.store = store, .rows = rows, .done = done};
    char *slash = path ? strrchr(path, '/') : NULL;
    if (slash)
        *slash = '\0';
    int r = slash ? verify_manifest(path, slash + 1, &v, err) : verify_store(&v, err);
    if (r == 0)
        *out = move(rows);
    return r;
}

/* ---- tags ------------------------------------------------------------------------ */

int keep_tag(const char *ref, const char *tag, struct err *err)
{
    AUTO_STR store = NULL;
    AUTO_STR path = NULL;
    AUTO_T(json_t) m = NULL;
    if (!str_is_name(tag))
        return err_set(err, E_USAGE, "'%s' is not a tag: letters, digits, ._-", tag);
    if (files_resolve(ref, &store, &path, err) < 0 ||
        must_be_own(store, ref, err) < 0 || manifest_load(path, &m, err) < 0)
        return -1;
    AUTO_FD lock = put_lock(store, false, err);
    return lock < 0 ? -1
                    : put_tag(store, manifest_text(m, "name"), tag,
                              manifest_text(m, "version"), err);
}

int keep_rollback(const char *name, char **version, struct err *err)
{
    AUTO_STR store = NULL;
    AUTO_STR text = NULL;
    if (!str_is_name(name))
        return err_set(err, E_USAGE, "'%s' is not an image's name", name);
    if (put_open(&store, err) < 0)
        return -1;
    AUTO_FD lock = put_lock(store, true, err);
    AUTO_STR path = str_printf("%s/tags/%s/latest", store, name);
    size_t len;
    if (!path)
        return err_oom(err);
    if (lock < 0 || fd_read_file(path, 1 << 20, &text, &len, err) < 0)
        return err_at(err, "image '%s'", name);
    while (len && text[len - 1] == '\n')
        text[--len] = '\0';
    char *last = strrchr(text, '\n');
    if (!last)
        return err_set(err, E_STATE, "image '%s' has no version before '%s'", name,
                       text);
    last[1] = '\0';
    if (fd_replace_file(path, text, strlen(text), 0644, err) < 0)
        return -1;
    return files_tag(store, name, "latest", version, err);
}
