/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest: what it must say, its checksum, and how it comes into its directory. */
#include "ckpt/ckpt.h"

#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

OWN_CLEANUP(json_t, json_decref)
#define AUTO_JSON AUTO_T(json_t)

enum { MANIFEST_MAX = 4 << 20, HASH_BUFFER = 1 << 20 };
static const char *const names[] = {"state", "index", "memory"};
/* What a writer may have used and a reader must know to read rightly. */
static const char *const features[] = {"sparse", "zstd", "incremental", "qemu", "fake"};

bool ckpt_is_id(const char *s)
{
    return s && strlen(s) == CKPT_ID_MAX - 1 &&
           strspn(s, "0123456789abcdef") == CKPT_ID_MAX - 1;
}

int ckpt_new_id(char out[CKPT_ID_MAX], struct err *err)
{
    uint8_t b[(CKPT_ID_MAX - 1) / 2];
    if (getrandom(b, sizeof b, 0) != (ssize_t)sizeof b)
        return err_sys(err, "getrandom");
    for (size_t i = 0; i < sizeof b; i++)
        snprintf(out + 2 * i, 3, "%02x", b[i]);
    return 0;
}

/* --- what it says ---------------------------------------------------------------- */

static bool is_hash(const char *s)
{
    return s && strlen(s) == 16 && strspn(s, "0123456789abcdef") == 16;
}

/* Of all but the checksum itself, written in one way only. */
static int checksum(const json_t *m, char out[17], struct err *err)
{
    AUTO_JSON rest = json_copy((json_t *)m);
    json_object_del(rest, "checksum");
    AUTO_STR text =
        rest ? json_dumps(rest, JSON_SORT_KEYS | JSON_COMPACT | JSON_ENSURE_ASCII)
             : NULL;
    if (!text)
        return err_oom(err);
    snprintf(out, 17, "%016llx", (unsigned long long)XXH64(text, strlen(text), 0));
    return 0;
}

static int check_features(json_t *list, struct err *err)
{
    size_t i;
    json_t *v;
    json_array_foreach (list, i, v) {
        const char *s = json_string_value(v);
        bool known = false;
        for (size_t k = 0; s && k < ARRAY_SIZE(features); k++)
            known |= strcmp(s, features[k]) == 0;
        if (!known)
            return err_set(err, E_UNAVAIL,
                           "manifest: needs feature '%.40s', which this version does "
                           "not know",
                           s ? s : "(no text)");
    }
    return 0;
}

/* Of a virtualization type whose files are not ours: the agent's, who knows them. */
static bool is_foreign(const json_t *m)
{
    size_t i;
    json_t *v;
    json_array_foreach (json_object_get(m, "features"), i, v) {
        const char *s = json_string_value(v);
        if (s && (strcmp(s, "qemu") == 0 || strcmp(s, "fake") == 0))
            return true;
    }
    return false;
}

static int check_files(json_t *files, struct err *err)
{
    json_error_t je;
    json_int_t state, index, memory, stored, ram;
    const char *hs, *hi, *codec;
    if (json_unpack_ex(files, &je, 0,
                       "{s:{s:I, s:s}, s:{s:I, s:s}, s:{s:I, s:I, s:I, s:s}}", "state",
                       "bytes", &state, "xxh64", &hs, "index", "bytes", &index, "xxh64",
                       &hi, "memory", "bytes", &memory, "stored_bytes", &stored,
                       "ram_bytes", &ram, "codec", &codec) < 0)
        return err_set(err, E_INPUT, "manifest: files: %s", je.text);
    if (state < 0 || index < 0 || memory < 0 || stored < 0 || ram <= 0 ||
        ram % CKPT_PAGE || ram >> 50 || !is_hash(hs) || !is_hash(hi))
        return err_set(err, E_INPUT, "manifest: files: a number or hash cannot be");
    if (strcmp(codec, "raw") != 0 && strcmp(codec, "zstd") != 0)
        return err_set(err, E_UNAVAIL, "manifest: memory: codec '%.20s' is not known",
                       codec);
    return 0;
}

/* A parent is a sibling: its name is one directory's. */
static int check_parent(json_t *parent, struct err *err)
{
    const char *id, *name;
    if (json_is_null(parent))
        return 0;
    if (json_unpack(parent, "{s:s, s:s}", "id", &id, "name", &name) < 0 ||
        !ckpt_is_id(id) || !str_is_name(name))
        return err_set(err, E_INPUT, "manifest: parent: wants an id and a plain name");
    return 0;
}

static int check(json_t *m, struct err *err)
{
    json_error_t je;
    const char *format, *id, *sum;
    json_int_t version;
    json_t *words, *parent, *machine, *cpu, *files;
    char want[17];
    if (json_unpack_ex(m, &je, 0, "{s:s, s:I, s:s, s:s, s:o, s:o, s:o, s:o, s:o}",
                       "format", &format, "version", &version, "checksum", &sum, "id",
                       &id, "features", &words, "parent", &parent, "machine", &machine,
                       "cpu", &cpu, "files", &files) < 0)
        return err_set(err, E_INPUT, "manifest: %s", je.text);
    if (strcmp(format, CKPT_FORMAT) != 0)
        return err_set(err, E_INPUT, "manifest: format '%.40s' is not ours", format);
    if (version != CKPT_VERSION)
        return err_set(err, E_UNAVAIL,
                       "manifest: version %lld; this version of Lodge reads %d",
                       (long long)version, CKPT_VERSION);
    if (checksum(m, want, err) < 0)
        return -1;
    if (strcmp(sum, want) != 0)
        return err_set(err, E_INPUT, "manifest: damaged (wrong checksum)");
    if (!ckpt_is_id(id) || !json_is_array(words) || !json_is_object(machine) ||
        !json_is_object(cpu))
        return err_set(err, E_INPUT, "manifest: id, features, machine or cpu is wrong");
    if (check_features(words, err) < 0 || check_parent(parent, err) < 0)
        return -1;
    return is_foreign(m) ? 0 : check_files(files, err);
}

int ckpt_manifest_parse(const char *text, size_t len, json_t **out, struct err *err)
{
    json_error_t je;
    AUTO_JSON m = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
    if (!m)
        return err_set(err, E_INPUT, "manifest: line %d: %s", je.line, je.text);
    if (check(m, err) < 0)
        return -1;
    *out = move(m);
    return 0;
}

int ckpt_manifest_read(int dirfd, json_t **out, struct err *err)
{
    AUTO_STR text = NULL;
    size_t len;
    AUTO_FD fd = openat(dirfd, CKPT_MANIFEST, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return err_set(err, E_NOENT,
                       "no checkpoint is there (it has no " CKPT_MANIFEST
                       ": never made, or not finished)");
    if (fd < 0)
        return err_sys(err, "%s", CKPT_MANIFEST);
    if (fd_slurp(fd, CKPT_MANIFEST, MANIFEST_MAX, &text, &len, err) < 0)
        return -1;
    return ckpt_manifest_parse(text, len, out, err);
}

/* --- making ---------------------------------------------------------------------- */

void ckpt_files_close(struct ckpt_files *f)
{
    int *all[] = {&f->state, &f->index, &f->memory};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        if (*all[i] >= 0)
            close(*all[i]);
        *all[i] = -1;
    }
}

int ckpt_create(int dirfd, struct ckpt_files *out, struct err *err)
{
    struct ckpt_files f = {-1, -1, -1};
    int *all[] = {&f.state, &f.index, &f.memory};
    if (faccessat(dirfd, CKPT_MANIFEST, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return err_set(err, E_EXISTS, "a checkpoint is there already");
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        *all[i] = openat(dirfd, names[i],
                         O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (*all[i] >= 0)
            continue;
        err_sys(err, "checkpoint: %s", names[i]);
        ckpt_files_close(&f);
        while (i-- > 0)
            unlinkat(dirfd, names[i], 0);
        return -1;
    }
    *out = f;
    return 0;
}

static int flush_file(int dirfd, const char *name, struct err *err)
{
    AUTO_FD fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fdatasync(fd) < 0)
        return err_sys(err, "checkpoint: %s", name);
    return 0;
}

int ckpt_commit(int dirfd, const json_t *manifest, struct err *err)
{
    static const char temporary[] = CKPT_MANIFEST ".new";
    char sum[17];
    size_t i;
    json_t *d;
    AUTO_JSON m = json_deep_copy(manifest);
    if (!m)
        return err_oom(err);
    if (checksum(m, sum, err) < 0)
        return -1;
    json_object_set_new(m, "checksum", json_string(sum));
    if (check(m, err) < 0)
        return err_at(err, "checkpoint");
    for (i = 0; i < ARRAY_SIZE(names) && !is_foreign(m); i++)
        if (flush_file(dirfd, names[i], err) < 0)
            return -1;
    json_array_foreach (json_object_get(m, "disks"), i, d) {
        const char *file = json_string_value(json_object_get(d, "file"));
        if (file && flush_file(dirfd, file, err) < 0)
            return -1;
    }
    AUTO_STR text = json_dumps(m, JSON_INDENT(2) | JSON_SORT_KEYS);
    if (!text)
        return err_oom(err);
    AUTO_FD fd = openat(dirfd, temporary,
                        O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_sys(err, "checkpoint: manifest");
    if (fd_write_all(fd, text, strlen(text), err) < 0)
        return err_at(err, "checkpoint: manifest");
    if (fsync(fd) < 0 || renameat(dirfd, temporary, dirfd, CKPT_MANIFEST) < 0 ||
        fsync(dirfd) < 0)
        return err_sys(err, "checkpoint: manifest");
    return 0;
}

int ckpt_clear(int dirfd, struct err *err)
{
    static const char *const all[] = {CKPT_MANIFEST, CKPT_MANIFEST ".new", "state",
                                      "index", "memory"};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        if (unlinkat(dirfd, all[i], 0) < 0 && errno != ENOENT)
            return err_sys(err, "checkpoint: remove %s", all[i]);
        if (i == 0 && fsync(dirfd) < 0)
            return err_sys(err, "checkpoint: directory");
    }
    return 0;
}

void ckpt_hash(const void *data, size_t len, char out[17])
{
    snprintf(out, 17, "%016llx", (unsigned long long)XXH64(data, len, 0));
}

int ckpt_hash_fd(int fd, char out[17], uint64_t *bytes, struct err *err)
{
    XXH64_state_t *s = XXH64_createState();
    AUTO_STR buffer = malloc(HASH_BUFFER);
    uint64_t at = 0;
    ssize_t n = -1;
    if (!s || !buffer) {
        XXH64_freeState(s);
        return err_oom(err);
    }
    XXH64_reset(s, 0);
    while ((n = pread(fd, buffer, HASH_BUFFER, (off_t)at)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        XXH64_update(s, buffer, (size_t)n);
        at += (uint64_t)n;
    }
    snprintf(out, 17, "%016llx", (unsigned long long)XXH64_digest(s));
    XXH64_freeState(s);
    *bytes = at;
    return n < 0 ? err_sys(err, "read") : 0;
}
