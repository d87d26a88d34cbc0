/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "store/store.h"

OWN_CLEANUP(json_t, json_decref)

struct place {
    char dir[64];
    char path[96];
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    assert_non_null(p);
    snprintf(p->dir, sizeof p->dir, "/tmp/lodge-store.XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->path, sizeof p->path, "%s/new/lodge.db", p->dir);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    fd_remove_tree(p->dir, NULL);
    free(p);
    return 0;
}

static uint32_t put(struct store *s, uid_t owner, const char *name, const char *body)
{
    struct err err = {0};
    uint32_t version = 0;
    AUTO_T(json_t) summary = json_pack("{s:s}", "type", "hpc");
    if (store_doc_put(s, "profile", owner, name, owner, body, summary, &version, &err) <
        0)
        fail_msg("%s", err.text);
    return version;
}

static void test_versions(void **state)
{
    struct place *p = *state;
    struct err err = {0};
    AUTO(store) s = NULL;
    assert_int_equal(store_open(p->path, &s, &err), 0);
    assert_int_equal(put(s, 7, "a", "one"), 1);
    assert_int_equal(put(s, 7, "a", "two"), 2);
    assert_int_equal(put(s, 7, "a", "two"), 2); /* the same again is no change */
    assert_int_equal(store_doc_remove(s, "profile", 7, "a", 7, &err), 0);
    AUTO_T(json_t) row = NULL;
    assert_int_equal(store_doc_get(s, "profile", 7, "a", 0, &row, &err), -1);
    assert_int_equal(err.code, E_NOENT);
    assert_int_equal(store_doc_get(s, "profile", 7, "a", 1, &row, &err), 0);
    assert_string_equal(json_string_value(json_object_get(row, "body")), "one");
    assert_int_equal(store_doc_remove(s, "profile", 7, "a", 7, &err), -1);
    assert_int_equal(put(s, 7, "a", "back"), 4);
    AUTO_T(json_t) history = NULL;
    assert_int_equal(store_doc_history(s, "profile", 7, "a", &history, &err), 0);
    assert_int_equal(json_array_size(history), 4);
    AUTO_T(json_t) problems = NULL;
    assert_int_equal(store_check(s, &problems, &err), 0);
    assert_int_equal(json_array_size(problems), 0);
}

static size_t count(struct store *s, uid_t owner, bool all)
{
    AUTO_T(json_t) rows = NULL;
    assert_int_equal(store_doc_list(s, "profile", owner, all, &rows, NULL), 0);
    return json_array_size(rows);
}

static void test_owners(void **state)
{
    struct place *p = *state;
    AUTO(store) s = NULL;
    assert_int_equal(store_open(p->path, &s, NULL), 0);
    put(s, 0, "site", "x");
    put(s, 7, "mine", "x");
    put(s, 8, "other", "x");
    put(s, 8, "mine", "x");
    assert_int_equal(count(s, 7, false), 2);
    assert_int_equal(count(s, 8, false), 3);
    assert_int_equal(count(s, 0, true), 4);
}

/* What failed half-way leaves nothing; STRICT tables and checks refuse nonsense. */
static void test_refusals(void **state)
{
    struct place *p = *state;
    struct err err = {0};
    uint32_t version;
    AUTO(store) s = NULL;
    assert_int_equal(store_open(p->path, &s, NULL), 0);
    AUTO_T(json_t) summary = json_object();
    assert_int_equal(
        store_doc_put(s, "profil", 0, "a", 0, "x", summary, &version, &err), -1);
    assert_int_equal(err.code, E_INPUT);
    assert_int_equal(
        store_doc_put(s, "profile", 0, "", 0, "x", summary, &version, &err), -1);
    assert_int_equal(count(s, 0, true), 0);
    put(s, 0, "a", "x");
    assert_int_equal(store_begin(s, &err), 0);
    put(s, 0, "b", "x");
    assert_int_equal(store_end(s, false, &err), -1);
    assert_int_equal(count(s, 0, true), 1);
}

static void test_operations(void **state)
{
    struct place *p = *state;
    struct err err = {0};
    int64_t one, two;
    AUTO(store) s = NULL;
    AUTO_T(json_t) result = json_pack("{s:i}", "version", 3);
    AUTO_T(json_t) row = NULL;
    AUTO_T(json_t) rows = NULL;
    assert_int_equal(store_open(p->path, &s, NULL), 0);
    assert_int_equal(store_op_start(s, "profile.add", "a", 7, "r1", &one, &err), 0);
    assert_int_equal(store_op_start(s, "profile.add", "b", 8, NULL, &two, &err), 0);
    assert_int_equal(store_op_start(s, "profile.add", "a", 7, "r1", &two, &err), -1);
    assert_int_equal(store_op_finish(s, one, result, NULL, &err), 0);
    assert_int_equal(store_op_find(s, 7, "r1", &row, &err), 0);
    assert_string_equal(json_string_value(json_object_get(row, "state")), "done");
    assert_string_equal(json_string_value(json_object_get(row, "result")),
                        "{\"version\":3}");
    assert_int_equal(store_op_list(s, 7, false, 0, &rows, &err), 0);
    assert_int_equal(json_array_size(rows), 1);
}

static void test_dump_and_backup(void **state)
{
    struct place *p = *state;
    struct err err = {0};
    AUTO(store) s = NULL;
    AUTO_STR dump = str_printf("%s/dump", p->dir);
    AUTO_STR copy = str_printf("%s/copy.db", p->dir);
    AUTO_STR other = str_printf("%s/other.db", p->dir);
    assert_int_equal(store_open(p->path, &s, NULL), 0);
    put(s, 0, "a", "with \"quotes\"\nand lines");
    put(s, 0, "a", "two");
    put(s, 7, "b", "b");
    assert_int_equal(store_doc_remove(s, "profile", 7, "b", 7, &err), 0);
    assert_int_equal(store_backup(s, copy, &err), 0);
    assert_int_equal(store_backup(s, copy, &err), -1); /* never over something */
    assert_int_equal(store_dump(s, dump, &err), 0);
    const char *const paths[] = {copy, other};
    for (int i = 0; i < 2; i++) {
        AUTO(store) again = NULL;
        AUTO_T(json_t) row = NULL;
        AUTO_T(json_t) problems = NULL;
        assert_int_equal(store_open(paths[i], &again, &err), 0);
        if (i == 1)
            assert_int_equal(store_load(again, dump, &err), 0);
        assert_int_equal(store_doc_get(again, "profile", 0, "a", 1, &row, &err), 0);
        assert_string_equal(json_string_value(json_object_get(row, "body")),
                            "with \"quotes\"\nand lines");
        assert_int_equal(count(again, 0, true), 1);
        assert_int_equal(store_check(again, &problems, &err), 0);
        assert_int_equal(json_array_size(problems), 0);
        assert_int_equal(store_load(again, dump, &err), -1);
        assert_int_equal(err.code, E_EXISTS);
    }
}

/* Processes that write at once wait for each other; all that was said to be done is. */
static void test_concurrent(void **state)
{
    enum { WRITERS = 6, EACH = 25 };
    struct place *p = *state;
    pid_t pids[WRITERS];
    for (int w = 0; w < WRITERS; w++) {
        if ((pids[w] = fork()) == 0) {
            AUTO(store) s = NULL; /* each also races to make and migrate it */
            AUTO_T(json_t) summary = json_object();
            int bad = store_open(p->path, &s, NULL);
            for (int i = 0; i < EACH && !bad; i++) {
                char name[32];
                uint32_t version;
                snprintf(name, sizeof name, "w%d-%d", w, i);
                bad = store_doc_put(s, "profile", 0, name, 0, "x", summary, &version,
                                    NULL);
            }
            store_free(s);
            _exit(bad ? 1 : 0);
        }
    }
    for (int w = 0; w < WRITERS; w++) {
        int status;
        assert_int_equal(waitpid(pids[w], &status, 0), pids[w]);
        assert_int_equal(status, 0);
    }
    AUTO(store) s = NULL;
    assert_int_equal(store_open(p->path, &s, NULL), 0);
    assert_int_equal(count(s, 0, true), WRITERS * EACH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_versions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_owners, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_operations, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dump_and_backup, setup, teardown),
        cmocka_unit_test_setup_teardown(test_concurrent, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
