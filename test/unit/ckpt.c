/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints on disk: written, read, with a parent, compressed; damaged in every byte of
 * the small files and in many of the memory, cut, left half done. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "ckpt/ckpt.h"
#include "ckpt/state.h"
#include "ckpt/writer.h"

enum { RAM = 2 * CKPT_CHUNK + 16 * CKPT_PAGE, CHUNKS = 3 };

static char top[] = "/tmp/ckptXXXXXX";
static uint8_t *ram;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    return remove(path);
}

static int set_up(void **state)
{
    ram = calloc(1, RAM);
    return ram && mkdtemp(top) ? 0 : -1;
}

static int tear_down(void **state)
{
    free(ram);
    return nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int directory(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", top, name);
    assert_int_equal(mkdir(path, 0700), 0);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* What a machine would answer; its files come from the writer. */
static json_t *manifest(const char *id, const char *parent, const char *parent_name,
                        json_t *files)
{
    json_t *p = parent ? json_pack("{s:s, s:s}", "id", parent, "name", parent_name)
                       : json_null();
    json_t *m = json_pack("{s:s, s:i, s:[s], s:s, s:o, s:{s:i}, s:{s:s}, s:o}",
                          "format", CKPT_FORMAT, "version", CKPT_VERSION, "features",
                          "sparse", "id", id, "parent", p, "machine", "vcpus", 1, "cpu",
                          "vendor", "x", "files", files);
    assert_non_null(m);
    return m;
}

static void save_state(struct state_writer *s)
{
    state_begin(s, "machine", 1);
    state_put_u64(s, 1, 4711);
    state_end(s);
    state_begin_optional(s, "later", 9);
    state_put(s, 1, "x", 1);
    state_end(s);
    assert_int_equal(state_finish(s, NULL), 0);
}

/* Save ram into dirfd; want: per chunk the pages, or NULL for all of them. */
static json_t *save(int dirfd, int level, const uint64_t (*want)[INDEX_WORDS],
                    struct err *err)
{
    struct ckpt_files f;
    struct state_writer s = {0};
    struct ckpt_writer *w = NULL;
    json_t *files = NULL;
    assert_int_equal(ckpt_create(dirfd, &f, err), 0);
    assert_int_equal(ckpt_writer_new(&f, RAM, !want, level, &w, err), 0);
    for (unsigned n = 0; n < CHUNKS; n++)
        assert_int_equal(
            ckpt_writer_chunk(w, n, ram + n * CKPT_CHUNK, want ? want[n] : NULL, err),
            0);
    save_state(&s);
    assert_int_equal(ckpt_writer_finish(w, s.buf.data, s.buf.len, &files, err), 0);
    state_done(&s);
    ckpt_writer_free(w);
    ckpt_files_close(&f);
    return files;
}

static void commit(int dirfd, json_t *m, struct err *err)
{
    if (ckpt_commit(dirfd, m, err) < 0)
        fail_msg("%s", err->text);
    json_decref(m);
}

static void same(int dirfd)
{
    struct err err = {0};
    struct ckpt *c;
    static uint8_t out[CKPT_CHUNK];
    if (ckpt_open(dirfd, &c, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(ckpt_chunks(c), CHUNKS);
    for (unsigned n = 0; n < CHUNKS; n++) {
        size_t len = n == CHUNKS - 1 ? 16 * CKPT_PAGE : CKPT_CHUNK;
        if (ckpt_read_chunk(c, n, out, false, &err) < 0)
            fail_msg("%s", err.text);
        assert_memory_equal(out, ram + n * CKPT_CHUNK, len);
    }
    ckpt_free(c);
    assert_int_equal(ckpt_verify(dirfd, NULL, NULL, &err), 0);
}

#define ID1 "0123456789abcdef0123456789abcdef"
#define ID2 "fedcba98765432100123456789abcdef"

static void fill(unsigned seed)
{
    memset(ram, 0, RAM);
    srand(seed);
    for (unsigned p = 0; p < RAM / CKPT_PAGE; p += 1 + (unsigned)rand() % 60)
        for (unsigned i = 0; i < CKPT_PAGE; i++)
            ram[p * CKPT_PAGE + i] = (uint8_t)(rand() & 15);
}

static void test_raw(void **state)
{
    struct err err = {0};
    AUTO_FD d = directory("raw");
    fill(1);
    json_t *files = save(d, 0, NULL, &err);
    struct ckpt *c;
    /* No manifest: no checkpoint. */
    assert_int_equal(ckpt_open(d, &c, &err), -1);
    assert_int_equal(err.code, E_NOENT);
    commit(d, manifest(ID1, NULL, NULL, files), &err);
    same(d);
    assert_int_equal(ckpt_open(d, &c, &err), 0);
    assert_true(ckpt_map_fd(c, &err) >= 0);
    assert_string_equal(ckpt_id(c), ID1);
    ckpt_free(c);
    /* A second one does not go into the same place. */
    struct ckpt_files f;
    assert_int_equal(ckpt_create(d, &f, &err), -1);
    assert_int_equal(err.code, E_EXISTS);
}

static void test_zstd_and_parent(void **state)
{
    struct err err = {0};
    AUTO_FD d = directory("zstd");
    AUTO_FD child = directory("child");
    uint64_t want[CHUNKS][INDEX_WORDS] = {0};
    struct ckpt *c;
    fill(2);
    commit(d, manifest(ID1, NULL, NULL, save(d, 1, NULL, &err)), &err);
    same(d);
    assert_int_equal(ckpt_open(d, &c, &err), 0);
    assert_int_equal(ckpt_map_fd(c, &err), -1);
    ckpt_free(c);
    memset(ram + 5 * CKPT_PAGE, 0x55, CKPT_PAGE);
    memset(ram + CKPT_CHUNK, 0, 8 * CKPT_PAGE); /* zero now, whatever the parent says */
    index_set(want[0], 5);
    for (unsigned i = 0; i < 8; i++)
        index_set(want[1], i);
    json_t *files = save(child, 1, want, &err);
    assert_true(json_integer_value(json_object_get(json_object_get(files, "memory"),
                                                   "stored_bytes")) < 4096);
    commit(child, manifest(ID2, ID1, "zstd", files), &err);
    same(child);
    /* Another parent than the one it was made against. */
    char old[128], new[128];
    snprintf(old, sizeof old, "%s/zstd", top);
    snprintf(new, sizeof new, "%s/away", top);
    assert_int_equal(rename(old, new), 0);
    assert_int_equal(ckpt_open(child, &c, &err), -1);
    snprintf(new, sizeof new, "%s/raw", top);
    assert_int_equal(symlink(new, old), 0);
    assert_int_equal(ckpt_open(child, &c, &err), -1);
}

/* Change a file's byte, or cut it there (flip 0), and say whether verify refuses. */
static bool refused(int dirfd, const char *name, off_t at, uint8_t flip, bool *harmless)
{
    struct err err = {0};
    struct stat st;
    uint8_t was, now;
    AUTO_FD fd = openat(dirfd, name, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    assert_int_equal(pread(fd, &was, 1, at), 1);
    now = was ^ flip;
    AUTO_STR rest = malloc((size_t)(st.st_size - at));
    ssize_t n = pread(fd, rest, (size_t)(st.st_size - at), at);
    if (flip)
        assert_int_equal(pwrite(fd, &now, 1, at), 1);
    else
        assert_int_equal(ftruncate(fd, at), 0);
    bool bad = ckpt_verify(dirfd, NULL, NULL, &err) < 0;
    assert_true(!bad || err.text[0]);
    if (!bad && harmless) {
        same(dirfd);
        *harmless = true;
    }
    assert_int_equal(pwrite(fd, rest, (size_t)n, at), n);
    return bad;
}

static void damage(const char *name, int level)
{
    struct err err = {0};
    static const char *const small[] = {"state", "index", CKPT_MANIFEST};
    AUTO_FD d = directory(name);
    struct stat st;
    fill(3);
    commit(d, manifest(ID1, NULL, NULL, save(d, level, NULL, &err)), &err);
    for (size_t k = 0; k < ARRAY_SIZE(small); k++) {
        assert_int_equal(fstatat(d, small[k], &st, 0), 0);
        for (off_t i = 0; i < st.st_size; i += 1 + st.st_size / 100) {
            bool harmless = false;
            bool bad = refused(d, small[k], i, (uint8_t)(1 << i % 8), &harmless);
            /* Only white space between a manifest's members may change. */
            assert_true(bad || (k == 2 && harmless));
            assert_true(refused(d, small[k], i, 0, NULL));
        }
    }
    assert_int_equal(fstatat(d, "memory", &st, 0), 0);
    for (off_t i = 0; i < st.st_size; i += 1 + st.st_size / 40) {
        assert_true(refused(d, "memory", i, 0x80, NULL));
        assert_true(refused(d, "memory", i, 0, NULL));
    }
    same(d);
    assert_int_equal(ckpt_clear(d, &err), 0);
    assert_int_equal(ckpt_verify(d, NULL, NULL, &err), -1);
    assert_int_equal(err.code, E_NOENT);
}

static void test_damage_raw(void **state)
{
    damage("damage-raw", 0);
}

static void test_damage_zstd(void **state)
{
    damage("damage-zstd", 3);
}

static void test_disks(void **state)
{
    struct err err = {0};
    char hash[17];
    uint64_t bytes;
    AUTO_FD d = directory("disks");
    fill(4);
    AUTO_FD disk = openat(d, "blk0", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(disk, "disk", 4), 4);
    assert_int_equal(ckpt_hash_fd(disk, hash, &bytes, &err), 0);
    json_t *m = manifest(ID1, NULL, NULL, save(d, 0, NULL, &err));
    json_object_set_new(m, "disks",
                        json_pack("[{s:s, s:s, s:I, s:s}]", "id", "blk0", "file",
                                  "blk0", "bytes", (json_int_t)bytes, "xxh64", hash));
    commit(d, m, &err);
    same(d);
    assert_int_equal(pwrite(disk, "D", 1, 0), 1);
    assert_int_equal(ckpt_verify(d, NULL, NULL, &err), -1);
    assert_non_null(strstr(err.text, "blk0"));
}

/* What a manifest may not say. */
static void test_manifest(void **state)
{
    struct err err = {0};
    AUTO_FD d = directory("manifest");
    fill(5);
    json_t *files = save(d, 0, NULL, &err);
    static const struct {
        const char *member, *value;
    } wrong[] = {{"version", "2"},
                 {"features", "[\"from the future\"]"},
                 {"parent", "{\"id\": \"" ID2 "\", \"name\": \"../x\"}"},
                 {"parent", "{\"id\": \"x\", \"name\": \"x\"}"},
                 {"id", "\"short\""},
                 {"format", "\"other\""},
                 {"machine", "3"},
                 {"files", "{}"}};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        json_t *m = manifest(ID1, NULL, NULL, json_incref(files));
        json_object_set_new(m, wrong[i].member,
                            json_loads(wrong[i].value, JSON_DECODE_ANY, NULL));
        assert_int_equal(ckpt_commit(d, m, &err), -1);
        json_decref(m);
    }
    assert_int_equal(faccessat(d, CKPT_MANIFEST, F_OK, 0), -1);
    json_decref(files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raw),        cmocka_unit_test(test_zstd_and_parent),
        cmocka_unit_test(test_damage_raw), cmocka_unit_test(test_damage_zstd),
        cmocka_unit_test(test_disks),      cmocka_unit_test(test_manifest),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
