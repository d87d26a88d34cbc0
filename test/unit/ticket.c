/* SPDX-License-Identifier: Apache-2.0 */
/* Tickets: what is signed opens, and each way to cheat has its own refusal. */
#include "unit.h"

#include <dirent.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "proto/rpc.h"
#include "proto/ticket.h"

enum { NOW = 1000000, ALICE = 1001, BOB = 1002 };
static char dir[] = "/tmp/lodge-unit-XXXXXX";
static char *keys_dir, *book;

static int setup(void **state)
{
    if (!mkdtemp(dir))
        return -1;
    keys_dir = str_printf("%s/keys", dir);
    book = str_printf("%s/book", dir);
    return keys_dir && book ? 0 : -1;
}

static int teardown(void **state)
{
    free(keys_dir);
    free(book);
    return fd_remove_tree(dir, NULL);
}

static char *issue(const struct ticket_key *k, const char *job)
{
    struct err err = {0};
    char *text = NULL;
    struct ticket *t = calloc(1, sizeof *t);

    assert_non_null(t);
    t->uid = ALICE;
    t->gid = 100;
    t->not_before = NOW;
    t->expires = NOW + 3600;
    t->job = job ? strdup(job) : NULL;
    t->grant = json_pack("{s:{s:s}, s:i}", "profile", "name", "p1", "vms", 2);
    if (ticket_issue(k, t, &text, &err) < 0)
        fail_msg("%s", err.text);
    ticket_free(t);
    return text;
}

static void refused(const char *text, const struct ticket_keys *keys, uint64_t now,
                    uid_t uid, const char *job, enum err_code code, const char *says)
{
    struct err err = {0};
    struct ticket *t = NULL;

    assert_int_equal(ticket_open(text, keys, now, uid, job, &t, &err), -1);
    assert_null(t);
    if (!strstr(err.text, says))
        fail_msg("'%s' does not say '%s'", err.text, says);
    assert_int_equal(err.code, code);
}

static struct ticket_key *open_key(void)
{
    struct ticket_key *k = NULL;
    struct err err = {0};

    if (ticket_key_open(keys_dir, &k, &err) < 0)
        fail_msg("%s", err.text);
    return k;
}

static struct ticket_keys *load_keys(void)
{
    struct ticket_keys *k = NULL;
    struct err err = {0};

    if (ticket_keys_load(keys_dir, &k, &err) < 0)
        fail_msg("%s", err.text);
    return k;
}

static void opens(const char *text, const struct ticket_keys *keys, const char *job)
{
    struct err err = {0};
    AUTO(ticket) t = NULL;

    if (ticket_open(text, keys, NOW + 5, ALICE, job, &t, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(t->uid, ALICE);
    assert_int_equal(t->gid, 100);
    assert_int_equal(json_integer_value(json_object_get(t->grant, "vms")), 2);
}

static void test_honest(void **state)
{
    AUTO(ticket_key) k = open_key();
    AUTO(ticket_key) again = open_key();
    AUTO(ticket_keys) keys = load_keys();
    AUTO_STR text = issue(k, NULL);
    AUTO_STR bound = issue(k, "77");
    AUTO_STR path = str_printf("%s/signing.key", keys_dir);
    struct stat st;

    assert_string_equal(ticket_key_id(k), ticket_key_id(again));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    opens(text, keys, "12");
    opens(text, keys, NULL);
    opens(bound, keys, "77");
}

static void test_who_and_when(void **state)
{
    AUTO(ticket_key) k = open_key();
    AUTO(ticket_keys) keys = load_keys();
    AUTO_STR text = issue(k, "77");

    refused(text, keys, NOW, BOB, "77", E_PERM, "for uid 1001, not for uid 1002");
    refused(text, keys, NOW, 0, "77", E_PERM, "for uid 1001, not for uid 0");
    refused(text, keys, NOW, ALICE, "78", E_PERM, "for job 77, not for job 78");
    refused(text, keys, NOW + 3601, ALICE, "77", E_PERM, "expired 1 s ago");
    refused(text, keys, NOW - 100, ALICE, "77", E_PERM, "not valid for another 100 s");
}

static void test_forged(void **state)
{
    AUTO_STR other = str_printf("%s/forger", dir);
    AUTO(ticket_key) forger = NULL;
    AUTO(ticket_keys) keys = load_keys();

    assert_int_equal(ticket_key_open(other, &forger, NULL), 0);
    AUTO_STR text = issue(forger, NULL);
    refused(text, keys, NOW, ALICE, NULL, E_PERM, "does not trust");
}

/* The payload with one word replaced, under the old signature. */
static char *altered(const char *text, const char *from, const char *to)
{
    char json[4096], out[8192];
    const char *dot = strchr(text + 7, '.');
    size_t len;

    assert_int_equal(sodium_base642bin((unsigned char *)json, sizeof json - 1, text + 7,
                                       (size_t)(dot - text - 7), NULL, &len, NULL,
                                       sodium_base64_VARIANT_URLSAFE_NO_PADDING),
                     0);
    json[len] = '\0';
    char *at = strstr(json, from);
    assert_non_null(at);
    AUTO_STR changed =
        str_printf("%.*s%s%s", (int)(at - json), json, to, at + strlen(from));
    sodium_bin2base64(out, sizeof out, (const unsigned char *)changed, strlen(changed),
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    return str_printf("lodge1.%s%s", out, dot);
}

static void test_altered(void **state)
{
    AUTO(ticket_key) k = open_key();
    AUTO(ticket_keys) keys = load_keys();
    AUTO_STR text = issue(k, NULL);
    AUTO_STR uid = altered(text, "\"uid\":1001", "\"uid\":1002");
    AUTO_STR vms = altered(text, "\"vms\":2", "\"vms\":9");
    AUTO_STR late = altered(text, "\"expires\":1003600", "\"expires\":9003600");
    AUTO_STR name = altered(text, "\"uid\"", "\"UID\"");

    refused(uid, keys, NOW, BOB, NULL, E_PERM, "was altered");
    refused(vms, keys, NOW, ALICE, NULL, E_PERM, "was altered");
    refused(late, keys, NOW, ALICE, NULL, E_PERM, "was altered");
    refused(name, keys, NOW, ALICE, NULL, E_PERM, "was altered");
}

/* Every single character changed, and every length: refused, never a crash. */
static void test_every_change(void **state)
{
    AUTO(ticket_key) k = open_key();
    AUTO(ticket_keys) keys = load_keys();
    AUTO_STR text = issue(k, NULL);
    size_t len = strlen(text);

    for (size_t i = 0; i < len; i++) {
        AUTO_STR bad = strdup(text);
        struct ticket *t = NULL;
        struct err err = {0};

        bad[i] = bad[i] == 'A' ? 'B' : 'A';
        if (ticket_open(bad, keys, NOW, ALICE, NULL, &t, &err) == 0) {
            ticket_free(t);
            fail_msg("character %zu may change", i);
        }
        bad[i] = '\0';
        assert_int_equal(ticket_open(bad, keys, NOW, ALICE, NULL, &t, &err), -1);
    }
}

static void test_no_ticket(void **state)
{
    AUTO(ticket_keys) keys = load_keys();
    AUTO_STR huge = calloc(1, TICKET_MAX + 100);

    memset(huge, 'A', TICKET_MAX + 50);
    refused("", keys, NOW, ALICE, NULL, E_INPUT, "does not begin");
    refused("lodge1.", keys, NOW, ALICE, NULL, E_INPUT, "no signature");
    refused("lodge1.e30.AAAA", keys, NOW, ALICE, NULL, E_INPUT, "signature is damaged");
    refused("lodge1.!!.AAAA", keys, NOW, ALICE, NULL, E_INPUT, "first part is damaged");
    refused(huge, keys, NOW, ALICE, NULL, E_INPUT, "too long");
}

static void test_replay(void **state)
{
    AUTO(ticket_key) k = open_key();
    AUTO(ticket_keys) keys = load_keys();
    AUTO_STR text = issue(k, NULL);
    AUTO(ticket) t = NULL;
    struct err err = {0};

    assert_int_equal(ticket_open(text, keys, NOW, ALICE, "5", &t, &err), 0);
    assert_int_equal(ticket_claim(book, t, "5", NOW, &err), 0);
    assert_int_equal(ticket_claim(book, t, "5", NOW, &err), 0);
    assert_int_equal(ticket_claim(book, t, "55", NOW, &err), -1);
    assert_int_equal(err.code, E_PERM);
    assert_non_null(strstr(err.text, "used before, for job 5:"));

    /* The entry goes when another ticket is claimed after its end. */
    AUTO_STR entry = str_printf("%s/%s", book, t->nonce);
    AUTO_STR next = issue(k, NULL);
    AUTO(ticket) t2 = NULL;
    assert_int_equal(access(entry, F_OK), 0);
    assert_int_equal(ticket_open(next, keys, NOW, ALICE, "6", &t2, &err), 0);
    assert_int_equal(ticket_claim(book, t2, "6", NOW + 4000, &err), 0);
    assert_int_equal(access(entry, F_OK), -1);
}

static void test_roll_over(void **state)
{
    AUTO(ticket_key) old = open_key();
    AUTO_STR before = issue(old, NULL);
    AUTO(ticket_key) new = NULL;

    assert_int_equal(ticket_key_roll(keys_dir, &new, NULL), 0);
    assert_string_not_equal(ticket_key_id(old), ticket_key_id(new));
    AUTO(ticket_key) now = open_key();
    assert_string_equal(ticket_key_id(now), ticket_key_id(new));
    AUTO_STR after = issue(new, NULL);
    AUTO(ticket_keys) both = load_keys();
    assert_int_equal(ticket_keys_count(both), 2);
    opens(before, both, NULL);
    opens(after, both, NULL);

    assert_int_equal(ticket_key_retire(keys_dir, ticket_key_id(old), NULL), 0);
    AUTO(ticket_keys) one = load_keys();
    opens(after, one, NULL);
    refused(before, one, NOW, ALICE, NULL, E_PERM, "does not trust");
    assert_int_equal(ticket_key_retire(keys_dir, "../../etc/passwd", NULL), -1);
}

static void test_bad_keys(void **state)
{
    AUTO_STR where = str_printf("%s/bad", dir);
    AUTO(ticket_key) k = NULL;
    struct ticket_key *again = NULL;
    struct ticket_keys *keys = NULL;
    struct err err = {0};

    assert_int_equal(ticket_key_open(where, &k, &err), 0);
    AUTO_STR secret = str_printf("%s/signing.key", where);
    assert_int_equal(chmod(secret, 0644), 0);
    assert_int_equal(ticket_key_open(where, &again, &err), -1);
    assert_non_null(strstr(err.text, "can be read by others"));
    assert_int_equal(chmod(secret, 0600), 0);
    assert_int_equal(fd_replace_file(secret, "xyz\n", 4, 0600, NULL), 0);
    assert_int_equal(ticket_key_open(where, &again, &err), -1);
    assert_non_null(strstr(err.text, "damaged"));
    AUTO_STR renamed = str_printf("%s/0123456789abcdef.pub", where);
    AUTO_STR public = str_printf("%s/%s.pub", where, ticket_key_id(k));
    assert_int_equal(rename(public, renamed), 0);
    assert_int_equal(ticket_keys_load(where, &keys, &err), -1);
    assert_non_null(strstr(err.text, "is in fact key"));
}

/* Issue 7's goals: issue within 5 ms, verify within 1 ms. */
static void test_fast(void **state)
{
    AUTO(ticket_key) k = open_key();
    AUTO(ticket_keys) keys = load_keys();
    uint64_t start = clock_us(), made, done;
    char *text[50];

    for (int i = 0; i < 50; i++)
        text[i] = issue(k, NULL);
    made = clock_us();
    for (int i = 0; i < 50; i++)
        opens(text[i], keys, NULL);
    done = clock_us();
    for (int i = 0; i < 50; i++)
        free(text[i]);
    print_message("# issue %llu us, verify %llu us\n",
                  (unsigned long long)(made - start) / 50,
                  (unsigned long long)(done - made) / 50);
    assert_true(made - start < 50 * 5000);
    assert_true(done - made < 50 * 5000);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_honest),    cmocka_unit_test(test_who_and_when),
        cmocka_unit_test(test_forged),    cmocka_unit_test(test_altered),
        cmocka_unit_test(test_no_ticket), cmocka_unit_test(test_every_change),
        cmocka_unit_test(test_replay),    cmocka_unit_test(test_roll_over),
        cmocka_unit_test(test_bad_keys),  cmocka_unit_test(test_fast),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
