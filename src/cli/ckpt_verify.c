/* SPDX-License-Identifier: Apache-2.0 */
/* An independent reader of checkpoints, written from docs/format-checkpoint.md alone and
 * sharing nothing with src/ckpt, which writes them: so that the document is tested, and
 * a mistake in one of the two readers is found by the other. Trusts nothing. */
#include "cli/ckpt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>

#include "base/fd.h"
#include "base/own.h"
#include "base/str.h"
#include "proto/rpc.h"

typedef unsigned char uchar_buf;
OWN_CLEANUP(uchar_buf, free)

enum {
    MANIFEST_MAX = 4 << 20,
    PARENTS_MAX = 64,
    CHUNK = 2 << 20,
    PAGE = 4096,
    PAGES = CHUNK / PAGE,
    RECORD = 160,
    HEADER = 64,
    STEP = 4 << 20, /* of sums in the manifest */
    STATE_MAX = 1 << 30
};

struct reader {
    int dir;
    json_t *manifest;
    uint64_t *read; /* bytes, all parents together */
    unsigned depth;
    unsigned char *index; /* kept for a child's question which pages are here */
    size_t index_len;
};

static uint32_t le32(const unsigned char *p)
{
    return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t le64(const unsigned char *p)
{
    return le32(p) | (uint64_t)le32(p + 4) << 32;
}

static uint32_t crc32c(const unsigned char *p, size_t len)
{
    static uint32_t table[256];
    if (!table[1])
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;
            for (int k = 0; k < 8; k++)
                c = c & 1 ? c >> 1 ^ 0x82F63B78 : c >> 1;
            table[i] = c;
        }
    uint32_t c = ~0u;
    for (size_t i = 0; i < len; i++)
        c = c >> 8 ^ table[(c ^ p[i]) & 255];
    return ~c;
}

static void hex_of(const void *data, size_t len, uint64_t seed, char out[17])
{
    snprintf(out, 17, "%016llx", (unsigned long long)XXH64(data, len, seed));
}

static bool all_zero(const unsigned char *p, size_t len)
{
    return !len || (!*p && !memcmp(p, p + 1, len - 1));
}

/* --- files ------------------------------------------------------------------------------ */

static int open_file(const struct reader *r, const char *name, uint64_t bytes,
                     struct err *err)
{
    struct stat st;
    const char *slash = strchr(name, '/');
    if (*name == '/' || strstr(name, "..") || (slash && strchr(slash + 1, '/')))
        return err_set(err, E_INPUT,
                       "manifest: file '%.80s' is not below the checkpoint", name);
    int fd = openat(r->dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, "file '%s'", name);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return err_set(err, E_INPUT, "file '%s' is no file", name);
    }
    if ((uint64_t)st.st_size == bytes)
        return fd;
    close(fd);
    return err_set(err, E_IO, "file '%s' is %lld bytes long, and should be %llu", name,
                   (long long)st.st_size, (unsigned long long)bytes);
}

static int read_exact(struct reader *r, int fd, void *buf, size_t len, uint64_t at,
                      const char *name, struct err *err)
{
    for (size_t got = 0; got < len;) {
        ssize_t n = pread(fd, (char *)buf + got, len - got, (off_t)(at + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, "file '%s' at %llu", name,
                           (unsigned long long)(at + got));
        if (n == 0)
            return err_set(err, E_IO, "file '%s' ends at %llu", name,
                           (unsigned long long)(at + got));
        got += n;
    }
    *r->read += len;
    return 0;
}

static json_t *file_of(const struct reader *r, const char *name)
{
    return json_object_get(json_object_get(r->manifest, "files"), name);
}

/* A small file, whole, after its size; its hash is looked at by the caller, who can tell
 * first what is wrong in it. */
static int slurp(struct reader *r, const char *name, size_t max, unsigned char **out,
                 size_t *len, struct err *err)
{
    json_int_t bytes = json_integer_value(json_object_get(file_of(r, name), "bytes"));
    if (bytes <= 0 || (uint64_t)bytes > max)
        return err_set(err, E_INPUT, "manifest: file '%s' cannot have %lld bytes", name,
                       (long long)bytes);
    AUTO_FD fd = open_file(r, name, bytes, err);
    if (fd < 0)
        return -1;
    unsigned char *buf = malloc(bytes);
    if (!buf)
        return err_oom(err);
    if (read_exact(r, fd, buf, bytes, 0, name, err) < 0) {
        free(buf);
        return -1;
    }
    *out = buf;
    *len = bytes;
    return 0;
}

static int check_hash(const struct reader *r, const char *name, const void *data,
                      size_t len, struct err *err)
{
    char hex[17];
    const char *want = json_string_value(json_object_get(file_of(r, name), "xxh64"));
    hex_of(data, len, 0, hex);
    return want && !strcmp(want, hex)
               ? 0
               : err_set(err, E_IO, "file '%s' is damaged (wrong hash)", name);
}

/* Files with a list of sums, one for each 4 MiB. */
static int check_sums(struct reader *r, const json_t *entry, struct err *err)
{
    const char *name = NULL;
    json_int_t bytes = 0, step = 0;
    json_t *sums = NULL;
    if (json_unpack((json_t *)entry, "{s:s, s:I, s:I, s:o}", "file", &name, "bytes",
                    &bytes, "chunk_bytes", &step, "xxh64", &sums) < 0 ||
        bytes < 0 || step != STEP ||
        json_array_size(sums) != ((uint64_t)bytes + STEP - 1) / STEP)
        return err_set(err, E_INPUT, "manifest: the entry of file '%.80s' is wrong",
                       name ? name : "?");
    AUTO_FD fd = open_file(r, name, bytes, err);
    AUTO_STR buf = fd < 0 ? NULL : malloc(STEP);
    if (!buf)
        return fd < 0 ? -1 : err_oom(err);
    for (size_t i = 0; i < json_array_size(sums); i++) {
        uint64_t at = (uint64_t)i * STEP;
        size_t len = (uint64_t)bytes - at < STEP ? (uint64_t)bytes - at : STEP;
        char hex[17] = "0";
        if (read_exact(r, fd, buf, len, at, name, err) < 0)
            return -1;
        if (!all_zero((unsigned char *)buf, len))
            hex_of(buf, len, 0, hex);
        const char *want = json_string_value(json_array_get(sums, i));
        if (!want || strcmp(want, hex))
            return err_set(err, E_IO, "file '%s' is damaged between %llu and %llu",
                           name, (unsigned long long)at,
                           (unsigned long long)(at + len));
    }
    return 0;
}

/* --- manifest ---------------------------------------------------------------------------- */

static bool has_feature(const struct reader *r, const char *word)
{
    size_t i;
    json_t *one;
    json_array_foreach (json_object_get(r->manifest, "features"), i, one)
        if (json_is_string(one) && !strcmp(json_string_value(one), word))
            return true;
    return false;
}

static int check_words(const struct reader *r, struct err *err)
{
    static const char *const known[] = {"sparse", "zstd", "incremental", "qemu",
                                        "fake"};
    size_t i;
    json_t *one;
    json_array_foreach (json_object_get(r->manifest, "features"), i, one) {
        const char *word = json_string_value(one);
        bool ok = false;
        for (size_t k = 0; word && k < ARRAY_SIZE(known); k++)
            ok |= !strcmp(word, known[k]);
        if (!ok)
            return err_set(err, E_UNAVAIL, "manifest: feature '%.40s' is not known",
                           word ? word : "?");
    }
    return 0;
}

static int read_manifest(struct reader *r, struct err *err)
{
    AUTO_FD fd = openat(r->dir, "manifest.json", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    AUTO_STR text = NULL;
    json_error_t je;
    size_t len;
    char sum[17];
    if (fd < 0 && errno == ENOENT)
        return err_set(err, E_NOENT, "it has no manifest: nothing was completed here");
    if (fd < 0)
        return err_sys(err, "manifest.json");
    if (fd_slurp(fd, "manifest.json", MANIFEST_MAX, &text, &len, err) < 0)
        return -1;
    *r->read += len;
    r->manifest = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
    if (!json_is_object(r->manifest))
        return err_set(err, E_INPUT, "manifest.json at %d: %s",
                       r->manifest ? 0 : je.position,
                       r->manifest ? "no object" : je.text);
    const char *format = json_string_value(json_object_get(r->manifest, "format"));
    const char *want = json_string_value(json_object_get(r->manifest, "checksum"));
    if (!format || strcmp(format, "lodge-checkpoint"))
        return err_set(err, E_INPUT, "manifest.json is not of a checkpoint");
    if (json_integer_value(json_object_get(r->manifest, "version")) != 1)
        return err_set(err, E_UNAVAIL, "manifest.json is of another version than 1");
    AUTO_JSON rest = json_copy(r->manifest);
    json_object_del(rest, "checksum");
    AUTO_STR plain =
        json_dumps(rest, JSON_SORT_KEYS | JSON_COMPACT | JSON_ENSURE_ASCII);
    if (!plain)
        return err_oom(err);
    hex_of(plain, strlen(plain), 0, sum);
    if (!want || strcmp(want, sum))
        return err_set(err, E_IO, "manifest.json is damaged (wrong checksum)");
    return check_words(r, err);
}

/* --- state ------------------------------------------------------------------------------- */

static int check_state(struct reader *r, struct err *err)
{
    AUTO_T(uchar_buf) p = NULL;
    size_t len, at = 0;
    if (slurp(r, "state", STATE_MAX, &p, &len, err) < 0)
        return -1;
    while (at < len) {
        char name[33] = "";
        if (len - at < 52 || memcmp(p + at, "LVSC", 4))
            return err_set(err, E_IO, "file 'state' at %zu: no section begins here",
                           at);
        if (crc32c(p + at, 48) != le32(p + at + 48) || p[at + 35])
            return err_set(err, E_IO,
                           "file 'state' at %zu: a section's head is damaged", at);
        memcpy(name, p + at + 4, 32);
        uint32_t bytes = le32(p + at + 40);
        if (bytes > 16 << 20 || bytes > len - at - 52)
            return err_set(err, E_IO, "file 'state' at %zu: section '%s' is cut short",
                           at, name);
        if (crc32c(p + at + 52, bytes) != le32(p + at + 44))
            return err_set(err, E_IO, "file 'state' at %zu: section '%s' is damaged",
                           at + 52, name);
        for (size_t k = 0; k < bytes;) {
            uint32_t n = bytes - k < 8 ? UINT32_MAX : le32(p + at + 52 + k + 4);
            if (n > bytes - k - 8 || k + 8 + ((n + 7) & ~7u) > bytes)
                return err_set(err, E_IO,
                               "file 'state' at %zu: section '%s': a record "
                               "goes past its end",
                               at + 52 + k, name);
            k += 8 + ((n + 7) & ~7u);
        }
        at += 52 + bytes;
    }
    return check_hash(r, "state", p, len, err);
}

/* --- index and memory ------------------------------------------------------------------- */

static bool bit(const unsigned char *map, unsigned page)
{
    return map[page / 8] >> (page % 8) & 1;
}

static const unsigned char *record_of(const struct reader *r, uint64_t chunk)
{
    return r->index + HEADER + chunk * RECORD;
}

static uint64_t ram_of(const struct reader *r)
{
    return le64(r->index + 24);
}

static uint64_t chunks_of(const struct reader *r)
{
    return le64(r->index + 32);
}

static unsigned pages_in(const struct reader *r, uint64_t chunk)
{
    uint64_t left = ram_of(r) - chunk * CHUNK;
    return left < CHUNK ? (unsigned)(left / PAGE) : PAGES;
}

static int check_record(const struct reader *r, uint64_t n, bool raw, struct err *err)
{
    const unsigned char *p = record_of(r, n);
    uint64_t where = HEADER + n * RECORD;
    uint32_t bytes = le32(p + 8), codec = le32(p + 12), stored = 0;
    for (unsigned i = 0; i < PAGES; i++) {
        bool here = bit(p + 32, i), zero = bit(p + 96, i);
        stored += here;
        if ((here && zero) || ((here || zero) && i >= pages_in(r, n)))
            return err_set(err, E_IO,
                           "file 'index' at %llu: chunk %llu: its pages cannot "
                           "be",
                           (unsigned long long)where, (unsigned long long)n);
        if (!here && !zero && i < pages_in(r, n) && !has_feature(r, "incremental"))
            return err_set(err, E_IO,
                           "file 'index' at %llu: chunk %llu: page %u is "
                           "nowhere",
                           (unsigned long long)where, (unsigned long long)n, i);
    }
    bool fits = codec == 0 ? !stored && !bytes && !le64(p) && !le64(p + 16)
                : codec == 1
                    ? raw && stored && bytes == stored * PAGE && le64(p) == n * CHUNK
                : codec == 2 ? !raw && stored && bytes > 0
                             : false;
    return fits ? 0
                : err_set(err, E_IO,
                          "file 'index' at %llu: chunk %llu: where it is cannot "
                          "be",
                          (unsigned long long)where, (unsigned long long)n);
}

static int check_index(struct reader *r, bool raw, struct err *err)
{
    if (slurp(r, "index", STATE_MAX, &r->index, &r->index_len, err) < 0)
        return -1;
    const unsigned char *p = r->index;
    uint64_t chunks = r->index_len < HEADER + 8 ? 0 : chunks_of(r);
    if (r->index_len < HEADER + 8 || memcmp(p, "LDGINDEX", 8) || le32(p + 8) != 1 ||
        le32(p + 12) != CHUNK || le32(p + 16) != PAGE)
        return err_set(err, E_IO, "file 'index' at 0: its head is wrong");
    if (chunks > STATE_MAX / RECORD || r->index_len != HEADER + chunks * RECORD + 8 ||
        (ram_of(r) + CHUNK - 1) / CHUNK != chunks || ram_of(r) % PAGE)
        return err_set(err, E_IO, "file 'index' at 24: its sizes do not fit");
    if (crc32c(p, r->index_len - 8) != le32(p + r->index_len - 8))
        return err_set(err, E_IO, "file 'index' is damaged (wrong CRC)");
    for (uint64_t n = 0; n < chunks; n++)
        if (check_record(r, n, raw, err) < 0)
            return -1;
    return check_hash(r, "index", p, r->index_len, err);
}

/* The stored pages of a raw chunk one after the other in `pages`; what is not stored
 * must read as zeros. */
static int raw_chunk(struct reader *r, int fd, uint64_t n, unsigned char *buf,
                     unsigned char *pages, size_t *len, struct err *err)
{
    const unsigned char *p = record_of(r, n);
    unsigned count = pages_in(r, n);
    *len = 0;
    if (read_exact(r, fd, buf, (size_t)count * PAGE, n * CHUNK, "memory", err) < 0)
        return -1;
    for (unsigned i = 0; i < count; i++) {
        if (bit(p + 32, i)) {
            memcpy(pages + *len, buf + (size_t)i * PAGE, PAGE);
            *len += PAGE;
        } else if (!all_zero(buf + (size_t)i * PAGE, PAGE)) {
            return err_set(err, E_IO,
                           "file 'memory' at %llu: bytes where a hole should be",
                           (unsigned long long)(n * CHUNK + (uint64_t)i * PAGE));
        }
    }
    return 0;
}

static int zstd_chunk(struct reader *r, int fd, uint64_t n, unsigned char *buf,
                      unsigned char *pages, size_t *len, struct err *err)
{
    const unsigned char *p = record_of(r, n);
    uint32_t bytes = le32(p + 8);
    *len = 0;
    if (le32(p + 12) == 0)
        return 0;
    if (bytes > ZSTD_compressBound(CHUNK))
        return err_set(err, E_IO, "file 'index': chunk %llu is too long",
                       (unsigned long long)n);
    if (read_exact(r, fd, buf, bytes, le64(p), "memory", err) < 0)
        return -1;
    size_t got = ZSTD_decompress(pages, CHUNK, buf, bytes);
    size_t want = 0;
    for (unsigned i = 0; i < PAGES; i++)
        want += bit(p + 32, i) ? PAGE : 0;
    if (ZSTD_isError(got) || got != want)
        return err_set(err, E_IO, "file 'memory' at %llu: chunk %llu does not unpack",
                       (unsigned long long)le64(p), (unsigned long long)n);
    *len = got;
    return 0;
}

static int check_memory(struct reader *r, bool raw, struct err *err)
{
    json_t *entry = file_of(r, "memory");
    json_int_t bytes = json_integer_value(json_object_get(entry, "bytes"));
    if ((uint64_t)json_integer_value(json_object_get(entry, "ram_bytes")) != ram_of(r))
        return err_set(err, E_INPUT, "manifest: ram_bytes is not what 'index' says");
    AUTO_FD fd = bytes < 0 ? -1 : open_file(r, "memory", bytes, err);
    if (fd < 0)
        return -1;
    AUTO_T(uchar_buf) buf = malloc(ZSTD_compressBound(CHUNK));
    AUTO_T(uchar_buf) pages = malloc(CHUNK);
    if (!buf || !pages)
        return err_oom(err);
    for (uint64_t n = 0; n < chunks_of(r); n++) {
        const unsigned char *p = record_of(r, n);
        size_t len = 0;
        if ((raw ? raw_chunk : zstd_chunk)(r, fd, n, buf, pages, &len, err) < 0)
            return -1;
        if (len && XXH64(pages, len, n) != le64(p + 16))
            return err_set(err, E_IO, "file 'memory' at %llu: chunk %llu is damaged",
                           (unsigned long long)le64(p), (unsigned long long)n);
    }
    return 0;
}

/* --- all of it ---------------------------------------------------------------------------- */

static int check_dir(struct reader *r, const char *want_id, struct err *err);

static int check_parent(struct reader *r, struct err *err)
{
    const char *id = NULL, *name = NULL;
    json_t *parent = json_object_get(r->manifest, "parent");
    if (!has_feature(r, "incremental"))
        return json_is_null(parent)
                   ? 0
                   : err_set(err, E_INPUT, "manifest: a parent, but not incremental");
    if (json_unpack(parent, "{s:s, s:s}", "id", &id, "name", &name) < 0 ||
        !str_is_name(name))
        return err_set(err, E_INPUT, "manifest: its parent is wrong");
    if (r->depth >= PARENTS_MAX)
        return err_set(err, E_INPUT, "it has more than %d parents", PARENTS_MAX);
    AUTO_STR path = str_printf("../%s", name);
    struct reader up = {.read = r->read, .depth = r->depth + 1};
    if (!path)
        return err_oom(err);
    up.dir = openat(r->dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (up.dir < 0)
        return err_sys(err, "its parent '%s'", name);
    int ret = check_dir(&up, id, err);
    if (ret < 0 && r->depth == 0) /* once, not for each in a long row */
        err_at(err, "its parent '%s'", name);
    else if (ret == 0 && !up.index)
        ret = err_set(err, E_INPUT, "its parent '%s' has no pages", name);
    else if (ret == 0 && ram_of(&up) != ram_of(r))
        ret = err_set(err, E_INPUT, "its parent '%s' has another size of memory", name);
    close(up.dir);
    json_decref(up.manifest);
    free(up.index);
    return ret;
}

static int check_dir(struct reader *r, const char *want_id, struct err *err)
{
    size_t i;
    json_t *one;
    const char *key;
    if (read_manifest(r, err) < 0)
        return -1;
    const char *id = json_string_value(json_object_get(r->manifest, "id"));
    if (want_id && (!id || strcmp(id, want_id)))
        return err_set(err, E_INPUT, "it is another checkpoint than the one wanted");
    if (has_feature(r, "qemu") || has_feature(r, "fake")) {
        json_object_foreach (json_object_get(r->manifest, "files"), key, one)
            if (check_sums(r, one, err) < 0)
                return -1;
    } else {
        bool raw = !has_feature(r, "zstd");
        if (check_state(r, err) < 0 || check_index(r, raw, err) < 0 ||
            check_memory(r, raw, err) < 0 || check_parent(r, err) < 0)
            return -1;
    }
    json_array_foreach (json_object_get(r->manifest, "disks"), i, one)
        if (check_sums(r, one, err) < 0)
            return -1;
    return 0;
}

int ckpt_check(const char *path, uint64_t *bytes, struct err *err)
{
    *bytes = 0;
    struct reader r = {.read = bytes};
    r.dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r.dir < 0)
        return err_sys(err, "directory '%s'", path);
    int ret = check_dir(&r, NULL, err);
    close(r.dir);
    json_decref(r.manifest);
    free(r.index);
    return ret;
}
