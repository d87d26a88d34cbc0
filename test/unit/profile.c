/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/str.h"
#include "profile/cluster.h"
#include "profile/document.h"
#include "profile/fields.h"
#include "profile/profile.h"

OWN_CLEANUP(json_t, json_decref)

static void test_defaults(void **state)
{
    AUTO(profile) p = profile_new();
    assert_non_null(p);
    assert_int_equal(p->type, PROFILE_AUTO);
    assert_int_equal(p->vcpus, 1);
    assert_int_equal(p->memory_bytes, 512ll << 20);
    assert_int_equal(p->ready_ms, 120000);
    assert_null(p->image);
    assert_int_equal(p->nic_count, 0);
}

static void test_json_round_trip(void **state)
{
    static const char text[] =
        "{\"name\":\"a\",\"type\":\"hpc\",\"vcpus\":4,\"cpu_pin\":[0,1,2,7],"
        "\"cpu_features\":[\"+avx512f\",\"-hle\"],\"memory_bytes\":1073741824,"
        "\"page_bytes\":2097152,\"prealloc\":true,\"image\":\"debian-fast@3\","
        "\"disks\":[{\"id\":\"data\",\"path\":\"/srv/d\",\"readonly\":true},"
        "{\"id\":\"new\",\"size_bytes\":1048576,\"format\":\"qcow2\"}],"
        "\"nics\":[{\"type\":\"vlan\",\"option\":\"12\",\"mac\":\"00:0A:03:04:05:06\"}]"
        ","
        "\"shares\":[{\"tag\":\"home\",\"source\":\"/home\",\"target\":\"/home\"}],"
        "\"devices\":[{\"address\":\"0000:03:00.0\"},{\"class\":\"gpu\"}]}";
    struct err err = {0};
    AUTO_T(json_t) json = json_loads(text, 0, NULL);
    struct profile *p = NULL;
    assert_int_equal(profile_from_json(json, &p, &err), 0);
    AUTO(profile) copy = profile_copy(p);
    assert_non_null(copy);
    AUTO_T(json_t) one = profile_to_json(p);
    AUTO_T(json_t) two = profile_to_json(copy);
    assert_true(json_equal(one, two));
    assert_int_equal(copy->type, PROFILE_HPC);
    assert_int_equal(copy->cpu_pin.at[3], 7);
    assert_string_equal(copy->cpu_features.at[1], "-hle");
    assert_int_equal(copy->disk_count, 2);
    assert_int_equal(copy->disks[1].format, PROFILE_DISK_QCOW2);
    assert_string_equal(copy->nics[0].mac, "00:0a:03:04:05:06");
    assert_int_equal(copy->nics[0].queues, 1);
    assert_string_equal(copy->devices[1].class, "gpu");
    profile_free(p);
}

static void test_json_strict(void **state)
{
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"{}", "name: is missing"},
        {"[]", "profile: must be an object"},
        {"{\"name\":\"../x\"}", "name: '../x' is not a name"},
        {"{\"name\":\"a\",\"memory\":1}", "unknown field 'memory'"},
        {"{\"name\":\"a\",\"vcpu\":1}", "unknown field 'vcpu'; did you mean 'vcpus'?"},
        {"{\"name\":\"a\",\"vcpus\":0}", "vcpus: 0 is out of bounds: 1 to 4096"},
        {"{\"name\":\"a\",\"vcpus\":-1}", "vcpus: -1 is out of bounds"},
        {"{\"name\":\"a\",\"vcpus\":\"2\"}", "vcpus: must be a whole number"},
        {"{\"name\":\"a\",\"prealloc\":1}", "prealloc: must be true or false"},
        {"{\"name\":\"a\",\"type\":\"kvn\"}",
         "type: 'kvn' is unknown; did you mean 'kvm'"},
        {"{\"name\":\"a\",\"kernel\":\"vmlinux\"}",
         "kernel: 'vmlinux' is not an absolute"},
        {"{\"name\":\"a\",\"image\":\"a b\"}", "image: 'a b' is not NAME"},
        {"{\"name\":\"a\",\"append\":\"x\\ny\"}",
         "append: contains a control character"},
        {"{\"name\":\"a\",\"append\":\"x\\u0000y\"}", "append: must be a text"},
        {"{\"name\":\"a\",\"nics\":[{\"mac\":\"1:2:3:4:5:6\"}]}", "nics[0].mac: "},
        {"{\"name\":\"a\",\"nics\":[{},{\"sort\":1}]}",
         "nics[1]: unknown field 'sort'"},
        {"{\"name\":\"a\",\"cpu_pin\":[1.5]}", "cpu_pin: must be an array of whole"},
        {"{\"name\":\"a\",\"cpu_pin\":[70000]}", "cpu_pin: '70000' is not a list"},
        {"{\"name\":\"a\",\"disks\":{}}", "disks: must be an array"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct err err = {0};
        struct profile *p = NULL;
        AUTO_T(json_t) json = json_loads(bad[i].text, JSON_ALLOW_NUL, NULL);
        assert_non_null(json);
        assert_int_equal(profile_from_json(json, &p, &err), -1);
        assert_int_equal(err.code, E_INPUT);
        if (strncmp(err.text, bad[i].message, strlen(bad[i].message)))
            fail_msg("%s gave '%s'", bad[i].text, err.text);
    }
}

/* Every default is legal for its own field and survives text and back. */
static void test_fields(void **state)
{
    AUTO(profile) p = profile_new();
    for (const struct profile_field *f = profile_fields; f->name; f++) {
        assert_non_null(f->help);
        if (f->kind == FIELD_LIST)
            continue;
        char *text = profile_field_text(f, p);
        assert_non_null(text);
        if (*text)
            assert_int_equal(profile_field_set(f, p, text, f->name, NULL), 0);
        free(text);
    }
}

static struct profile *parse(const char *text)
{
    struct profile_problems problems = {0};
    struct profile *p = NULL;
    if (profile_parse(text, strlen(text), &p, &problems) < 0) {
        char *all = profile_problems_text(&problems, "text");
        fail_msg("%s", all);
    }
    profile_problems_done(&problems);
    return p;
}

/* V3M's own example, to the letter; and back into V3M's language. */
static void test_v3m(void **state)
{
    static const char text[] =
        "<?xml version=\"1.0\"?>\n<!DOCTYPE profile PUBLIC \"\" \"v3m_profile.dtd\">\n"
        "<profile>\n  <name>test</name>\n  <type>Xen</type>\n"
        "  <image size=\"50\">/home/gvallee/temp/v2m/test_xen.img</image>\n  <nic1>\n"
        "    <type>TUN/TAP</type>\n    <mac>00:02:03:04:05:06</mac>\n  </nic1>\n"
        "</profile>\n";
    AUTO(profile) p = parse(text);
    assert_string_equal(p->name, "test");
    assert_int_equal(p->type, PROFILE_XEN);
    assert_int_equal(p->image_size_bytes, 50 << 20);
    assert_int_equal(p->memory_bytes, 128 << 20);
    assert_int_equal(p->nic_count, 1);
    assert_int_equal(p->nics[0].type, PROFILE_NIC_TAP);
    assert_string_equal(p->nics[0].mac, "00:02:03:04:05:06");
    char *v3m = NULL;
    assert_int_equal(profile_to_v3m(p, &v3m, NULL), 0);
    AUTO(profile) again = parse(v3m);
    AUTO_T(json_t) one = profile_to_json(p);
    AUTO_T(json_t) two = profile_to_json(again);
    assert_true(json_equal(one, two));
    free(v3m);
}

static void test_xml_round_trip(void **state)
{
    static const char text[] =
        "<profile><name>full</name><description>a &amp; "
        "b</description><type>fake</type>"
        "<memory page='2M' prealloc='yes' numa='bind' nodes='0-1'>4G</memory>"
        "<cpu count='2' pin='3,5' share='200' features='+avx2 -hle'/>"
        "<image>debian-fast@sha256:ab12</image><append>quiet &lt;x&gt;</append>"
        "<init>/bin/sh</init><disks><disk id='d' path='/srv/a&quot;b'/>"
        "<disk size='10G'/></disks><nics><nic type='isolated' network='x' queues='2'/>"
        "</nics><nic2><type option='br0'>BRIDGED_TAP</type></nic2>"
        "<shares><share source='/home' target='/home' readonly='yes'/></shares>"
        "<checkpoint policy='manual' keep='3' shares='remount' "
        "on-failure='stop'/>"
        "<limits time='2h' scratch='1G' ready='60s'/></profile>";
    AUTO(profile) p = parse(text);
    char *xml = profile_to_xml(p);
    assert_non_null(xml);
    AUTO(profile) again = parse(xml);
    AUTO_T(json_t) one = profile_to_json(p);
    AUTO_T(json_t) two = profile_to_json(again);
    if (!json_equal(one, two))
        fail_msg("%s\n%s\n%s", xml, json_dumps(one, 0), json_dumps(two, 0));
    assert_int_equal(p->nics[1].type, PROFILE_NIC_BRIDGED_TAP);
    assert_string_equal(p->append, "quiet <x>");
    assert_int_equal(profile_to_v3m(p, &xml, NULL), -1);
    free(xml);
}

/* --- test/data/profile: pass-*.xml and fail-*.xml with what is told in fail-*.ok ---- */

static char *in_source(const char *name)
{
    const char *top = getenv("LODGE_TOP_SRCDIR");
    char *path = str_printf("%s/%s", top ? top : ".", name);
    assert_non_null(path);
    return path;
}

static int lookup(void *arg, const char *name, struct profile **out, struct err *err)
{
    struct profile_problems problems = {0};
    AUTO_STR leaf = str_printf("profiles/%s.xml", name);
    AUTO_STR path = in_source(leaf);
    int r = profile_parse_file(path, out, &problems, NULL);
    profile_problems_done(&problems);
    return r < 0 ? err_set(err, E_NOENT, "no profile '%s'", name) : 0;
}

/* All that is told; *json is what it is, NULL if it is refused. */
static char *told(const char *file, json_t **json)
{
    AUTO_STR leaf = str_printf("test/data/profile/%s", file);
    AUTO_STR path = in_source(leaf);
    AUTO_STR text = NULL;
    AUTO(profile) p = NULL;
    AUTO(cluster) c = NULL;
    size_t len;
    struct profile_problems problems = {0};
    assert_int_equal(fd_read_file(path, 4 << 20, &text, &len, NULL), 0);
    if (profile_is_cluster(text, len))
        cluster_parse(text, len, lookup, NULL, &c, &problems);
    else
        profile_parse(text, len, &p, &problems);
    assert_int_equal(!p && !c, problems.errors > 0);
    *json = p ? profile_to_json(p) : c ? cluster_to_json(c) : NULL;
    char *all = profile_problems_text(&problems, file);
    profile_problems_done(&problems);
    assert_non_null(all);
    return all;
}

static int each_file(const char *prefix, void (*check)(const char *file))
{
    AUTO_STR dir = in_source("test/data/profile");
    struct dirent **entries = NULL;
    int n = scandir(dir, &entries, NULL, alphasort), count = 0;
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        if (str_starts(entries[i]->d_name, prefix) &&
            str_ends(entries[i]->d_name, ".xml")) {
            check(entries[i]->d_name);
            count++;
        }
        free(entries[i]);
    }
    free(entries);
    return count;
}

static void check_fail(const char *file)
{
    AUTO_T(json_t) json = NULL;
    AUTO_STR got = told(file, &json);
    AUTO_STR leaf =
        str_printf("test/data/profile/%.*s.ok", (int)strlen(file) - 4, file);
    AUTO_STR path = in_source(leaf);
    AUTO_STR want = NULL;
    assert_null(json);
    if (getenv("LODGE_TEST_UPDATE")) /* then read what changed before it is committed */
        assert_int_equal(fd_replace_file(path, got, strlen(got), 0644, NULL), 0);
    assert_int_equal(fd_read_file(path, 1 << 20, &want, NULL, NULL), 0);
    if (strcmp(got, want))
        fail_msg("%s: expected\n%sgot\n%s", file, want, got);
}

static void check_pass(const char *file)
{
    AUTO_T(json_t) json = NULL;
    AUTO_STR got = told(file, &json);
    if (!json || *got)
        fail_msg("%s: %s", file, got);
    if (json_object_get(json, "members"))
        return;
    AUTO(profile) p = NULL;
    assert_int_equal(profile_from_json(json, &p, NULL), 0);
    AUTO_STR xml = profile_to_xml(p);
    AUTO_STR v3m = NULL;
    assert_int_equal(profile_to_v3m(p, &v3m, NULL), strstr(file, "v3m") ? 0 : -1);
    const char *const texts[] = {xml, v3m};
    for (int i = 0; i < 2 && texts[i]; i++) {
        AUTO(profile) again = parse(texts[i]);
        AUTO_T(json_t) two = profile_to_json(again);
        if (!json_equal(json, two))
            fail_msg("%s: is another profile written as\n%s", file, texts[i]);
    }
}

static void test_fail_documents(void **state)
{
    assert_true(each_file("fail-", check_fail) >= 60);
}

static void test_pass_documents(void **state)
{
    assert_true(each_file("pass-", check_pass) >= 10);
}

/* Too large is told before anything is parsed. */
static void test_large(void **state)
{
    size_t len = 100 << 20;
    char *text = malloc(len);
    struct profile_problems problems = {0};
    struct profile *p = NULL;
    assert_non_null(text);
    memset(text, 'a', len);
    assert_int_equal(profile_parse(text, len, &p, &problems), -1);
    assert_string_equal(problems.at[0].text, "larger than 1024 KiB");
    profile_problems_done(&problems);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_json_round_trip),
        cmocka_unit_test(test_json_strict),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_v3m),
        cmocka_unit_test(test_xml_round_trip),
        cmocka_unit_test(test_fail_documents),
        cmocka_unit_test(test_pass_documents),
        cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
