/* SPDX-License-Identifier: Apache-2.0 */
/* src/node: facts to JSON and back, what they mean, and the probes on this machine. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "node/node.h"

OWN_CLEANUP(json_t, json_decref)

/* A good node: two NUMA nodes, huge pages, everything there. */
static struct node_facts *good_facts(void)
{
    struct node_facts *f = calloc(1, sizeof *f);
    assert_non_null(f);
    for (int i = 0; i < NODE_PROBE_COUNT; i++)
        f->answered[i] = true;
    f->machine = (struct node_machine){"n1", "6.1.0",      "AuthenticAMD", "EPYC",
                                       64,   256ull << 30, 250ull << 30,   true};
    f->kvm = (struct node_kvm){.present = true,
                               .usable = true,
                               .kind = NODE_KVM_REAL,
                               .api = 12,
                               .module = "kvm_amd",
                               .nested_paging = true,
                               .loop_percent = 101};
    f->memory.count = 2;
    for (int i = 0; i < 2; i++)
        f->memory.numa[i] =
            (struct node_numa){.id = i,
                               .cpus = "0-31",
                               .memory_bytes = 128ull << 30,
                               .free_bytes = 100ull << 30,
                               .npools = 2,
                               .pools = {{2 << 20, 512, 512}, {1 << 30, 64, 63}}};
    f->devices = (struct node_devices){12, true, true, true, true};
    f->cgroup = (struct node_cgroup){2, true, "cpu memory"};
    f->libvirt = (struct node_libvirt){true, true, "/run/libvirt/libvirt-sock", ""};
    f->qemu = (struct node_qemu){"/usr/bin/qemu-system-x86_64", "7.2.0", true, true};
    f->slurm = (struct node_slurm){"22.05.8"};
    f->munge = (struct node_munge){"0.5.15", true};
    f->sshd = (struct node_sshd){true, true, "SSH-2.0-OpenSSH_9.2"};
    return f;
}

static const struct node_line *find_line(const struct node_line *lines, int count,
                                         const char *fact)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(lines[i].fact, fact))
            return &lines[i];
    return NULL;
}

/* The grade of one line, with a word that its text must have. */
static void expect(const struct node_facts *f, const char *fact, enum node_grade grade,
                   const char *word)
{
    struct node_line lines[NODE_LINES_MAX];
    int count = node_judge(f, lines, NODE_LINES_MAX);
    const struct node_line *l = find_line(lines, count, fact);
    if (!l)
        fail_msg("no line '%s'", fact);
    if (l->grade != grade || !strstr(l->text, word))
        fail_msg("%s: %s '%s', not %s with '%s'", fact, node_grade_name(l->grade),
                 l->text, node_grade_name(grade), word);
    if (grade != NODE_OK && !*l->advice)
        fail_msg("%s: no way out is named", fact);
}

static void test_judge(void **state)
{
    AUTO(node_facts) f = good_facts();
    struct node_line lines[NODE_LINES_MAX];
    int count = node_judge(f, lines, NODE_LINES_MAX);
    assert_true(count > 12);
    for (int i = 0; i < count; i++)
        if (lines[i].grade != NODE_OK)
            fail_msg("%s: %s", lines[i].fact, lines[i].text);
    expect(f, "types", NODE_OK, "hpc kvm qemu lxc");
    expect(f, "extensions", NODE_OK, "AMD-V");
    expect(f, "nested-paging", NODE_OK, "NPT");
    assert_int_equal(node_judge(f, lines, 3), 3);

    f->kvm.kind = NODE_KVM_SOFTWARE;
    strcpy(f->kvm.module, "kvm_pvm");
    strcpy(f->kvm.problem, "a guest at ring 0 fails at SSE");
    expect(f, "kvm", NODE_WARN, "software, kvm_pvm");
    expect(f, "kvm", NODE_WARN, "not chosen");
    expect(f, "extensions", NODE_WARN, "neither");
    expect(f, "types", NODE_OK, "run here: qemu lxc");
    assert_false(node_can_kvm(f));

    f->kvm.usable = false;
    f->kvm.kind = NODE_KVM_NONE;
    expect(f, "kvm", NODE_WARN, "cannot be used");

    f->answered[NODE_PROBE_LIBVIRT] = false;
    memset(&f->libvirt, 0, sizeof f->libvirt);
    expect(f, "libvirt", NODE_WARN, "did not answer");
    expect(f, "types", NODE_FAIL, "no type");

    for (int i = 0; i < 2; i++)
        f->memory.numa[i].npools = 0;
    expect(f, "hugepages", NODE_WARN, "no huge pages");
    f->cgroup.delegated = false;
    expect(f, "cgroup", NODE_WARN, "not ours");
    f->devices = (struct node_devices){0};
    expect(f, "iommu", NODE_WARN, "no IOMMU");
    expect(f, "tun", NODE_WARN, "cannot be opened");
}

static void test_json(void **state)
{
    AUTO(node_facts) f = good_facts();
    f->answered[NODE_PROBE_SSHD] = false;
    memset(&f->sshd, 0, sizeof f->sshd);
    AUTO_T(json_t) text = node_facts_to_json(f);
    AUTO(node_facts) back = NULL;
    struct err err = {0};
    if (node_facts_from_json(text, &back, &err) < 0)
        fail_msg("%s", err.text);
    /* Not byte by byte: what lies between members is nobody's. */
    AUTO_T(json_t) again = node_facts_to_json(back);
    assert_true(json_equal(text, again));
}

static void refuse(const char *path, const char *member, json_t *value,
                   const char *word)
{
    AUTO(node_facts) f = good_facts();
    AUTO_T(json_t) text = node_facts_to_json(f);
    AUTO(node_facts) back = NULL;
    struct err err = {0};
    json_t *at = *path ? json_object_get(text, path) : text;
    if (value)
        json_object_set_new(at, member, value);
    else
        json_object_del(at, member);
    assert_int_equal(node_facts_from_json(text, &back, &err), -1);
    assert_null(back);
    if (!strstr(err.text, word))
        fail_msg("'%s' does not say '%s'", err.text, word);
}

static void test_json_strict(void **state)
{
    refuse("", "kvm", NULL, "kvm: not an object");
    refuse("", "more", json_true(), "not known");
    refuse("kvm", "more", json_true(), "not known");
    refuse("kvm", "kind", json_string("maybe"), "'kind'");
    refuse("kvm", "api", json_integer(-1), "'api'");
    refuse("machine", "cpus", json_string("two"), "'cpus'");
    refuse("machine", "cpu_vendor", json_string("much longer than it can be"),
           "'cpu_vendor'");
    refuse("memory", "numa", json_integer(3), "'numa'");
    refuse("", "unanswered", NULL, "'unanswered'");
}

static void test_probe(void **state)
{
    AUTO(node_facts) f = NULL;
    struct err err = {0};
    uint64_t start = clock_ms();
    assert_int_equal(node_facts_probe(NODE_PROBE_MS, &f, &err), 0);
    assert_true(clock_ms() - start < 3000);
    /* What only reads /proc and /sys answers also on a busy machine. */
    assert_true(f->answered[NODE_PROBE_MACHINE] && f->answered[NODE_PROBE_MEMORY]);
    assert_int_equal(f->machine.cpus, sysconf(_SC_NPROCESSORS_ONLN));
    assert_true(f->machine.memory_bytes > 64 << 20);
    assert_true(f->memory.count >= 1 && *f->memory.numa[0].cpus);
    if (f->answered[NODE_PROBE_KVM])
        assert_int_equal(f->kvm.present, access("/dev/kvm", F_OK) == 0);
}

/* With no time at all, nothing answers, nothing fails and no child is left. */
static void test_deadline(void **state)
{
    AUTO(node_facts) f = NULL;
    assert_int_equal(node_facts_probe_some(1 << NODE_PROBE_QEMU, 0, &f, NULL), 0);
    assert_false(f->answered[NODE_PROBE_QEMU]);
    assert_string_equal(f->qemu.path, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_judge),       cmocka_unit_test(test_json),
        cmocka_unit_test(test_json_strict), cmocka_unit_test(test_probe),
        cmocka_unit_test(test_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
