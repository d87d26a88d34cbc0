/* SPDX-License-Identifier: Apache-2.0 */
/* Each allocation of reading and writing a profile and a cluster fails in turn: the
 * answer is an error or the whole truth, never a crash, a leak (with the sanitizers) or
 * another profile. The linker sends our allocations here; libxml2's go by xmlMemSetup. */
#include "unit.h"

#include <libxml/parser.h>
#include <libxml/xmlmemory.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/str.h"
#include "profile/cluster.h"
#include "profile/document.h"

OWN_CLEANUP(json_t, json_decref)

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);

static long fail_at = -1, count; /* -1: none */

static bool fails(void)
{
    return fail_at >= 0 && count++ == fail_at;
}

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : __real_malloc(n);
}
void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}
void *__wrap_realloc(void *p, size_t n)
{
    return fails() ? NULL : __real_realloc(p, n);
}
char *__wrap_strdup(const char *s)
{
    return fails() ? NULL : __real_strdup(s);
}
char *__wrap_strndup(const char *s, size_t n)
{
    return fails() ? NULL : __real_strndup(s, n);
}

static char *read_source(const char *name)
{
    const char *top = getenv("LODGE_TOP_SRCDIR");
    AUTO_STR path = str_printf("%s/%s", top ? top : ".", name);
    char *text = NULL;
    assert_int_equal(fd_read_file(path, 1 << 20, &text, NULL, NULL), 0);
    return text;
}

static int lookup(void *arg, const char *name, struct profile **out, struct err *err)
{
    struct profile *p = profile_copy(arg);
    if (!p)
        return err_oom(err);
    *out = p;
    return 0;
}

/* What came out as text, NULL for an error. */
static char *one_try(const char *text, const struct profile *base, int *problems_seen)
{
    struct profile_problems problems = {0};
    AUTO(profile) p = NULL;
    AUTO(cluster) c = NULL;
    AUTO_T(json_t) json = NULL;
    int r = base ? cluster_parse_stored(text, strlen(text), lookup, (void *)base, &c,
                                        &problems)
                 : profile_parse_stored(text, strlen(text), &p, &problems);
    *problems_seen = problems.errors > 0;
    free(profile_problems_text(&problems, "x"));
    profile_problems_done(&problems);
    if (r < 0)
        return NULL;
    if (p) {
        struct profile *copy = profile_copy(p);
        profile_free(copy);
        return profile_to_xml(p);
    }
    json = cluster_to_json(c);
    fail_at = -1; /* json_dumps() itself drops a key it has no memory for */
    return json ? json_dumps(json, JSON_COMPACT) : NULL;
}

static void each_allocation(const char *file, const struct profile *base)
{
    AUTO_STR text = read_source(file);
    int seen;
    AUTO_STR right = one_try(text, base, &seen);
    assert_non_null(right);
    for (long n = 0;; n++) {
        count = 0;
        fail_at = n;
        char *got = one_try(text, base, &seen);
        bool over = count <= n;
        fail_at = -1;
        if (got && strcmp(got, right))
            fail_msg("%s: with allocation %ld failing it became\n%s", file, n, got);
        free(got);
        if (over) {
            assert_true(n > 50); /* the wrapping works */
            return;
        }
    }
}

static void test_profile(void **state)
{
    each_allocation("test/data/profile/pass-full.xml", NULL);
    each_allocation("test/data/profile/pass-v3m-full.xml", NULL);
}

static void test_cluster(void **state)
{
    AUTO_STR text = read_source("profiles/tiny.xml");
    AUTO(profile) base = NULL;
    struct profile_problems problems = {0};
    assert_int_equal(profile_parse(text, strlen(text), &base, &problems), 0);
    each_allocation("profiles/beowulf.xml", base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_profile),
        cmocka_unit_test(test_cluster),
    };
    xmlMemSetup(free, __wrap_malloc, __wrap_realloc, __wrap_strdup);
    json_set_alloc_funcs(__wrap_malloc, free);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
