/* SPDX-License-Identifier: Apache-2.0 */
/* src/image: what only computes, and the store by files. */
#include "unit.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "image/build.h"
#include "image/def.h"
#include "image/hash.h"
#include "image/keep.h"
#include "image/list.h"
#include "image/manifest.h"
#include "image/modules.h"
#include "image/pkg.h"
#include "image/put.h"
#include "image/schema.h"
#include "image/store.h"
#include "profile/xml.h"

OWN_CLEANUP(json_t, json_decref)

static char *data(const char *leaf)
{
    const char *top = getenv("LODGE_TOP_SRCDIR");
    return str_printf("%s/test/data/image/%s", top ? top : ".", leaf);
}

/* Every pass-*.xml is taken, every fail-*.xml refused with the words of its .msg. */
static void definitions(void **state)
{
    AUTO_STR dir = data("");
    DIR *d = opendir(dir);
    int pass = 0, fail = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        AUTO_STR path = data(e->d_name);
        AUTO(image_def) def = NULL;
        struct err err = {0};
        if (!str_ends(e->d_name, ".xml"))
            continue;
        int r = image_def_load(path, &def, &err);
        if (str_starts(e->d_name, "pass-")) {
            if (r < 0)
                fail_msg("%s: %s", e->d_name, err.text);
            pass++;
        } else if (str_starts(e->d_name, "fail-")) {
            AUTO_STR msg_path = str_printf("%.*s.msg", (int)strlen(path) - 4, path);
            AUTO_STR msg = NULL;
            assert_int_equal(r, -1);
            assert_int_equal(err.code, E_INPUT);
            assert_int_equal(fd_read_file(msg_path, 4096, &msg, NULL, NULL), 0);
            msg[strcspn(msg, "\n")] = '\0';
            if (!strstr(err.text, msg))
                fail_msg("%s: '%s' is not in '%s'", e->d_name, msg, err.text);
            fail++;
        }
    }
    closedir(d);
    assert_true(pass >= 2 && fail >= 19);
}

/* The schema by itself: it takes what is right and refuses what it can say. */
static void schema(void **state)
{
    static const struct {
        const char *file;
        bool right;
    } rows[] = {{"pass-all.xml", true},     {"pass-min.xml", true},
                {"tiny.xml", true},         {"fail-attr.xml", false},
                {"fail-class.xml", false},  {"fail-element.xml", false},
                {"fail-kernel.xml", false}, {"fail-mirror.xml", false},
                {"fail-mode.xml", false},   {"fail-option.xml", false},
                {"fail-size.xml", false},   {"fail-text.xml", false}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        AUTO_STR path = data(rows[i].file);
        AUTO_STR text = NULL;
        size_t len;
        struct profile_problems problems = {0};
        assert_int_equal(fd_read_file(path, 1 << 20, &text, &len, NULL), 0);
        xmlDoc *doc = xml_load(text, len, &problems);
        assert_non_null(doc);
        xml_validate(doc, schema_image_xsd, &problems);
        if ((problems.errors == 0) != rows[i].right)
            fail_msg("%s: %zu problems", rows[i].file, problems.errors);
        if (!rows[i].right)
            assert_true(problems.at[0].line > 0);
        profile_problems_done(&problems);
        xmlFreeDoc(doc);
    }
}

static void definition_values(void **state)
{
    AUTO_STR path = data("pass-all.xml");
    AUTO(image_def) d = NULL;
    assert_int_equal(image_def_load(path, &d, NULL), 0);
    assert_int_equal(d->kind, IMAGE_HOST);
    assert_int_equal(d->packages.count, 4);
    assert_string_equal(d->packages.item[1], "g++-12");
    assert_int_equal(d->nfiles, 3);
    assert_string_equal(d->files[0].content, "text\n");
    assert_int_equal(d->files[0].mode, 0600);
    assert_int_equal(d->files[0].gid, 2);
    assert_string_equal(d->files[2].target, "a");
    assert_int_equal(d->run[0].count, 2);
    assert_int_equal(d->max_bytes, 10 << 20);
    assert_string_equal(d->verity, "lazy");
    AUTO_STR plan = NULL;
    assert_int_equal(image_plan(d, &plan, NULL), 0);
    assert_non_null(strstr(plan, "packages: bash g++-12 libstdc++6 kmod"));
    assert_non_null(strstr(plan, "squashfs, mode scratch, verity lazy"));
    assert_true(strstr(plan, "bootstrap") < strstr(plan, "prune"));
}

static const char dep[] = "kernel/a/virtio-blk.ko: kernel/v/virtio_ring.ko "
                          "kernel/v/virtio.ko\n"
                          "kernel/v/virtio_ring.ko: kernel/v/virtio.ko\n"
                          "kernel/v/virtio.ko:\n"
                          "kernel/l/one.ko: kernel/l/two.ko\n"
                          "kernel/l/two.ko: kernel/l/one.ko\n"
                          "kernel/f/erofs.ko: kernel/l/libcrc32c.ko\n"
                          "kernel/l/libcrc32c.ko:\n"
                          "kernel/x/crc32c-intel.ko:\n"
                          "kernel/c/crc32c_generic.ko:\n";
static const char softdep[] = "# Soft dependencies\nsoftdep cifs md5\n"
                              "softdep libcrc32c pre: crc32c nothing post: two\n";
static const char alias[] =
    "alias crc32c crc32c_intel\nalias cpu:type:x86,* x\n"
    "alias crc32c crc32c_generic\nalias crc32c-b crc32c_intel\n";

static int order(const char *name, struct words *out, struct err *err)
{
    char *item[] = {(char *)name, NULL};
    const struct words names = {.item = item, .count = 1};
    const struct modules m = {dep, "kernel/b/ext4.ko\n", softdep, alias};
    return modules_order(&m, &names, out, err);
}

static void module_order(void **state)
{
    struct words w = {0};
    struct err err = {0};
    assert_int_equal(order("virtio_blk", &w, &err), 0);
    assert_int_equal(w.count, 3);
    assert_string_equal(w.item[0], "kernel/v/virtio.ko");
    assert_string_equal(w.item[1], "kernel/v/virtio_ring.ko");
    assert_string_equal(w.item[2], "kernel/a/virtio-blk.ko");
    modules_free(&w);
    assert_int_equal(order("erofs", &w, &err), 0);
    assert_int_equal(w.count, 3);
    assert_string_equal(w.item[0], "kernel/c/crc32c_generic.ko");
    assert_string_equal(w.item[1], "kernel/l/libcrc32c.ko");
    assert_string_equal(w.item[2], "kernel/f/erofs.ko");
    modules_free(&w);
    assert_int_equal(order("ext4", &w, &err), 0);
    assert_int_equal(w.count, 0);
    modules_free(&w);
    assert_int_equal(order("virtio_bl", &w, &err), -1);
    assert_non_null(strstr(err.text, "no module 'virtio_bl'"));
    assert_int_equal(order("one", &w, &err), -1); /* goes in circles */
}

#define H64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void locks(void **state)
{
    static const char good[] = "# lodge lock 1: name version architecture sha256 bytes "
                               "uri\n"
                               "bash 1:5.2~rc-1 amd64 " H64 " 12 http://m/b.deb\n"
                               "kernel linux 6 amd64 " H64 " 3 http://m/k.deb\n";
    AUTO(pkgs) p = NULL;
    assert_int_equal(pkgs_parse(good, "x", &p, NULL), 0);
    assert_int_equal(p->count, 1);
    assert_string_equal(p->item[0].version, "1:5.2~rc-1");
    assert_string_equal(p->kernel.name, "linux");
    AUTO_STR again = pkgs_format(p);
    assert_string_equal(again, good);
    static const char *const bad[] = {
        "bash 1 amd64 " H64 " 12\n",                    /* no uri */
        "bash 1 amd64 abc 12 http://m/b.deb\n",         /* no hash */
        "--x 1 amd64 " H64 " 12 http://m/b.deb\n",      /* an option */
        "../x 1 amd64 " H64 " 12 http://m/b.deb\n",     /* a path */
        "bash 1 amd64 " H64 " 12 ftp://m/b.deb\n",      /* a scheme */
        "bash 1 amd64 " H64 " 12 http://m/b.deb more\n" /* more */
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        AUTO(pkgs) q = NULL;
        struct err err = {0};
        assert_int_equal(pkgs_parse(bad[i], "x", &q, &err), -1);
        assert_true(str_starts(err.text, "x:1: "));
    }
}

static void differences(void **state)
{
    AUTO_T(json_t) rows = NULL;
    assert_int_equal(list_diff("f 0644 0 0 1 aa /a\nf 0644 0 0 1 bb /b\n",
                               "f 0644 0 0 1 bc /b\nf 0644 0 0 1 cc /c\n", &rows, NULL),
                     0);
    assert_int_equal(json_array_size(rows), 3);
    static const char *const want[] = {"removed", "changed", "added"};
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(
            json_string_value(json_object_get(json_array_get(rows, i), "change")),
            want[i]);
}

/* ---- the store ------------------------------------------------------------------- */

static int store_setup(void **state)
{
    char *dir = strdup("/tmp/lodge-unit.XXXXXX");
    if (!dir || !mkdtemp(dir))
        return -1;
    setenv("LODGE_STATE_DIR", dir, 1);
    setenv("LODGE_CACHE_DIR", dir, 1);
    unsetenv("LODGE_IMAGE_PATH");
    *state = dir;
    return 0;
}

static int store_teardown(void **state)
{
    fd_remove_tree(*state, NULL);
    free(*state);
    return 0;
}

/* An image whose root is `content`. */
static char *put(const char *content, bool *same)
{
    AUTO_STR store = NULL;
    char hex[HASH_HEX_SIZE], *version = NULL;
    uint64_t size;
    assert_int_equal(put_open(&store, NULL), 0);
    AUTO_STR file = str_printf("%s/work/new", store);
    assert_int_equal(fd_replace_file(file, content, strlen(content), 0644, NULL), 0);
    assert_int_equal(put_blob(store, file, hex, &size, NULL), 0);
    AUTO_T(json_t)
    m = json_pack("{s:i, s:{s:s, s:s, s:s, s:s, s:s, s:{s:{s:s, s:i}}}, s:{}}",
                  "schema", 1, "content", "name", "img", "version", "1", "kind",
                  "guest", "append", "lodge.x", "root_format", "erofs", "outputs",
                  "erofs", "sha256", hex, "size", (int)size, "build");
    assert_int_equal(put_manifest(store, m, "1", &version, same, NULL), 0);
    return version;
}

static void store_versions(void **state)
{
    bool same;
    AUTO_STR a = put("one", &same);
    assert_string_equal(a, "1");
    assert_false(same);
    AUTO_STR b = put("two", &same);
    assert_string_equal(b, "1-2");
    AUTO_STR c = put("one", &same);
    assert_string_equal(c, "1");
    assert_true(same);
    AUTO(image) img = NULL;
    AUTO(image) by_digest = NULL;
    struct err err = {0};
    assert_int_equal(image_find("img@1-2", &img, &err), 0);
    assert_string_equal(img->append, "lodge.x");
    assert_null(img->kernel);
    AUTO_STR root = NULL;
    assert_int_equal(fd_read_file(img->root, 10, &root, NULL, NULL), 0);
    assert_string_equal(root, "two");
    AUTO_STR ref = str_printf("img@%.20s", img->digest);
    assert_int_equal(image_find(ref, &by_digest, &err), 0);
    assert_string_equal(by_digest->version, "1-2");
    AUTO_STR back = NULL;
    assert_int_equal(keep_rollback("img", &back, &err), 0);
    assert_string_equal(back, "1-2");
    AUTO(image) none = NULL;
    assert_int_equal(image_find("nobody", &none, &err), -1);
    assert_int_equal(err.code, E_NOENT);
    assert_int_equal(image_find("../img", &none, &err), -1);
    assert_int_equal(err.code, E_INPUT);
    assert_int_equal(image_find("img@../../x", &none, &err), -1);
    assert_int_equal(err.code, E_INPUT);
}

static void store_removes(void **state)
{
    struct err err = {0};
    struct keep_freed freed;
    int held = image_hold("img@1-2", &err);
    assert_true(held >= 0);
    assert_int_equal(keep_remove("img@1-2", &err), -1);
    assert_int_equal(err.code, E_BUSY);
    close(held);
    assert_int_equal(keep_remove("img@1-2", &err), 0);
    AUTO(image) img = NULL;
    assert_int_equal(image_find("img", &img, &err), 0); /* the tag went back */
    assert_string_equal(img->version, "1");
    assert_int_equal(keep_gc(true, 30, &freed, &err), 0);
    assert_int_equal(freed.blobs, 1);
    assert_int_equal(keep_gc(false, 30, &freed, &err), 0);
    assert_int_equal(keep_gc(false, 30, &freed, &err), 0);
    assert_int_equal(freed.blobs, 0);
    AUTO_T(json_t) good = NULL;
    assert_int_equal(keep_verify(NULL, &good, &err), 0);
    assert_int_equal(json_array_size(good), 0);
    assert_int_equal(chmod(img->root, 0644), 0);
    assert_int_equal(fd_replace_file(img->root, "bad", 3, 0444, &err), 0);
    AUTO_T(json_t) bad = NULL;
    assert_int_equal(keep_verify("img", &bad, &err), 0);
    assert_int_equal(json_array_size(bad), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(definitions),
        cmocka_unit_test(schema),
        cmocka_unit_test(definition_values),
        cmocka_unit_test(module_order),
        cmocka_unit_test(locks),
        cmocka_unit_test(differences),
        cmocka_unit_test(store_versions),
        cmocka_unit_test(store_removes),
    };
    return cmocka_run_group_tests(tests, store_setup, store_teardown);
}
