/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's pure parts: states, rows, plans, reservation on a made-up node; and the
 * domain XML of each libvirt type against test/data/domain (LODGE_UPDATE=1 writes it). */
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/identity.h"
#include "agent/networks.h"
#include "agent/plan.h"
#include "agent/reserve.h"
#include "agent/room.h"
#include "agent/vt.h"
#include "agent/vt_xml.h"
#include "base/fd.h"
#include "base/str.h"

/* Stand-ins for what reserve.c asks of the rest of the agent. */
const struct vt_ops *const vt_types[] = {NULL};
const struct place_facts *agent_facts(struct agent *a)
{
    return &a->facts;
}
/* The XML says whose the process is when root makes it. */
uid_t __wrap_geteuid(void);
uid_t __wrap_geteuid(void)
{
    return 0;
}

/* --- states --------------------------------------------------------------------------- */

static void test_states(void **state)
{
    bool seen[VM_STATE_COUNT] = {[VM_DEFINED] = true};
    for (int round = 0; round < VM_STATE_COUNT; round++)
        for (int s = 0; s < VM_STATE_COUNT; s++)
            for (int e = 0; seen[s] && e < VM_EVENT_COUNT; e++) {
                enum vm_state to;
                if (state_next(s, e, &to, NULL) == 0)
                    seen[to] = true;
            }
    for (int s = 0; s < VM_STATE_COUNT; s++) {
        enum vm_state to;
        if (!seen[s])
            fail_msg("nothing leads to %s", state_name(s));
        assert_int_equal(state_parse(state_name(s)), s);
        /* Whatever it is, it can be stopped, and dying is noticed where it lives. */
        assert_int_equal(state_next(s, EV_STOP, &to, NULL), 0);
        assert_int_equal(to, VM_STOPPING);
        if (state_is_live(s) && s != VM_STAGING)
            assert_int_equal(state_next(s, EV_DIED, &to, NULL), 0);
    }
    struct err err;
    enum vm_state to;
    assert_int_equal(state_next(VM_GONE, EV_PAUSE, &to, &err), -1);
    assert_int_equal(err.code, E_STATE);
    assert_string_equal(err.text, "cannot pause a VM that is gone");
    assert_int_equal(state_parse("asleep"), VM_STATE_COUNT);
    assert_int_equal(state_parse(NULL), VM_STATE_COUNT);
}

/* --- rows --------------------------------------------------------------------------------- */

static struct vm *vm_of(const char *id, const char *name, struct profile *p)
{
    struct vm *vm = calloc(1, sizeof *vm);
    list_init(&vm->in);
    list_init(&vm->waiters);
    assert_int_equal(strlen(id), VM_ID_LEN);
    memcpy(vm->id, id, VM_ID_LEN);
    vm->name = strdup(name);
    vm->profile = p;
    vm->vt = json_object();
    return vm;
}

static struct profile *profile_of(enum profile_type type, uint64_t memory)
{
    struct profile *p = profile_new();
    p->name = strdup("p");
    p->image = strdup("debian-fast");
    p->type = type;
    p->memory_bytes = memory;
    return p;
}

static void test_rows(void **state)
{
    AUTO(vm) vm = vm_of("abcde01234", "one", profile_of(PROFILE_QEMU, 1 << 28));
    vm->uid = 1000;
    vm->job = strdup("42");
    vm->state = VM_PAUSED;
    vm->stages[STAGE_READY] = 77;
    err_set(&vm->why, E_TIMEOUT, "too late");
    AUTO_JSON row = vm_to_json(vm);
    AUTO(vm) got = NULL;
    struct err err = {0};
    if (vm_from_json(row, &got, &err) < 0)
        fail_msg("%s", err.text);
    AUTO_JSON again = vm_to_json(got);
    assert_true(json_equal(row, again));

    /* Without a member, with one of another kind, with one too many: told, not taken. */
    const char *key;
    json_t *value;
    json_object_foreach (row, key, value) {
        AUTO(vm) none = NULL;
        AUTO_JSON less = json_copy(row);
        json_object_set_new(less, key, json_real(1.5));
        assert_int_equal(vm_from_json(less, &none, &err), -1);
    }
    AUTO(vm) none = NULL;
    AUTO_JSON more = json_copy(row);
    json_object_set_new(more, "unknown", json_true());
    assert_int_equal(vm_from_json(more, &none, &err), -1);
    AUTO_JSON other = json_copy(row);
    json_object_set_new(other, "id", json_string("../../x1"));
    assert_int_equal(vm_from_json(other, &none, &err), -1);
    AUTO_JSON odd = json_copy(row);
    json_object_set_new(odd, "state", json_string("asleep"));
    assert_int_equal(vm_from_json(odd, &none, &err), -1);
}

/* A job's command is told its machine's address, and those of its others here. */
static void test_addresses(void **state)
{
    struct agent a = {0};
    struct err err = {0};
    json_t *request = NULL;
    struct vm vms[3] = {
        {.agent = &a, .uid = 7, .job = (char *)"5", .name = (char *)"one"},
        {.agent = &a, .uid = 7, .job = (char *)"5", .name = (char *)"two"},
        {.agent = &a, .uid = 7, .job = (char *)"6", .name = (char *)"six"}};
    list_init(&a.vms);
    for (size_t i = 0; i < ARRAY_SIZE(vms); i++) {
        list_init(&vms[i].in);
        list_add(&a.vms, &vms[i].in);
        vms[i].vt = json_pack("{s:[s+]}", "addresses", "10.0.0.", &"123"[i]);
    }
    json_t *params = json_pack("{s:[s], s:[s]}", "argv", "true", "env", "A=b");
    assert_int_equal(identity_exec(&vms[0], 0, "exec", params, &request, &err), 0);
    json_t *env = json_object_get(request, "env");
    assert_int_equal(json_array_size(env), 3);
    assert_int_equal(json_array_size(json_object_get(params, "env")), 1);
    assert_string_equal(json_string_value(json_array_get(env, 1)),
                        "LODGE_ADDRESS=10.0.0.123");
    assert_string_equal(json_string_value(json_array_get(env, 2)),
                        "LODGE_ADDRESSES_ON_NODE=one=10.0.0.123,two=10.0.0.23");
    json_decref(request);
    /* No job, or no network: nothing is added. */
    vms[0].job = NULL;
    json_object_clear(vms[1].vt);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(identity_exec(&vms[i], 0, "exec", params, &request, &err), 0);
        assert_int_equal(json_array_size(json_object_get(request, "env")), 1);
        json_decref(request);
    }
    json_decref(params);
    for (size_t i = 0; i < ARRAY_SIZE(vms); i++)
        json_decref(vms[i].vt);
}

/* --- plans ---------------------------------------------------------------------------------- */

static void test_networks(void **state)
{
    struct profile_nic nic = {.type = PROFILE_NIC_ISOLATED, .network = "inside"};
    AUTO(vm) a = vm_of("abcde00001", "a", profile_of(PROFILE_QEMU, 1 << 28));
    AUTO(vm) b = vm_of("abcde00002", "b", profile_of(PROFILE_QEMU, 1 << 28));
    a->uid = b->uid = 1000;
    assert_int_equal(plan_network(a, &nic), plan_network(b, &nic));
    b->uid = 1001; /* another user's network of that name is another network */
    assert_int_not_equal(plan_network(a, &nic), plan_network(b, &nic));
    b->uid = 1000;
    b->job = strdup("7");
    assert_int_not_equal(plan_network(a, &nic), plan_network(b, &nic));

    char mac[18], mac2[18];
    plan_mac(a, 0, mac);
    plan_mac(a, 0, mac2);
    assert_string_equal(mac, mac2);
    plan_mac(a, 1, mac2);
    assert_string_not_equal(mac, mac2);
    plan_mac(b, 0, mac2);
    assert_string_not_equal(mac, mac2);
    assert_int_equal(strtoul(mac, NULL, 16) & 3, 2); /* locally given, one receiver */
    AUTO_STR tap = plan_tap_name(a, 15);
    assert_true(strlen(tap) < 16);
}

static void test_sites_networks(void **state)
{
    static const char *const bad[] = {"",
                                      "br0=",
                                      "br0=10.0.0.1",
                                      "br0=10.0.0.9-10.0.0.1/24",
                                      "br0=10.0.0.1-10.0.0.9",
                                      "br0=10.0.0.1-10.0.0.9/33",
                                      "br0=10.0.0.1-10.0.0.900/24",
                                      "br0=10.0.0.1-10.0.0.9/24@",
                                      "br0=10.0.0.1-10.0.0.9/24@x",
                                      "br0=10.0.0.1-10.0.0.9/24 ",
                                      "br0;x",
                                      "averylongbridgename"};
    struct network n;
    struct err err;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (network_parse(bad[i], &n, &err) == 0)
            fail_msg("'%s' was taken", bad[i]);
    assert_int_equal(network_parse("br.7", &n, &err), 0);
    assert_false(n.ranged);
    assert_int_equal(network_parse("br0=10.1.4.10-10.1.4.99/16@10.1.0.1", &n, &err), 0);
    assert_true(n.ranged);
    assert_int_equal(n.last - n.first, 89);
    assert_int_equal(n.bits, 16);
    assert_string_equal(n.gateway, "10.1.0.1");
}

/* --- domain XML ------------------------------------------------------------------------------- */

static struct profile *full_profile(enum profile_type type)
{
    struct profile *p = profile_of(type, 512 << 20);
    bool lxc = type == PROFILE_LXC, xen = type == PROFILE_XEN || type == PROFILE_XENHVM;
    p->vcpus = 2;
    p->cpu_pin.at = calloc(2, sizeof *p->cpu_pin.at);
    p->cpu_pin.at[1] = p->cpu_pin.count = 2;
    p->append = strdup("quiet a<b&c");
    p->nics = calloc(2, sizeof *p->nics);
    p->nic_count = 2;
    p->nics[0] = (struct profile_nic){.type = PROFILE_NIC_ISOLATED, .queues = 1};
    p->nics[1] = (struct profile_nic){.type = PROFILE_NIC_BRIDGED_TAP,
                                      .option = strdup("br7"),
                                      .mac = strdup("00:02:03:04:05:06"),
                                      .queues = 2};
    if (!lxc) {
        p->disks = calloc(2, sizeof *p->disks);
        p->disk_count = 2;
        p->disks[0] = (struct profile_disk){.id = strdup("one"), .size_bytes = 1 << 20};
        p->disks[1] = (struct profile_disk){.id = strdup("two"),
                                            .path = strdup("/data/two.qcow2"),
                                            .format = PROFILE_DISK_QCOW2,
                                            .readonly = true};
    }
    if (!xen) {
        p->shares = calloc(1, sizeof *p->shares);
        p->share_count = 1;
        p->shares[0] = (struct profile_share){.tag = strdup("data"),
                                              .source = strdup("/data/in"),
                                              .target = strdup("/in"),
                                              .readonly = true};
        p->numa_policy = PROFILE_NUMA_BIND;
        p->numa_nodes.at = calloc(1, sizeof *p->numa_nodes.at);
        p->numa_nodes.count = 1;
    }
    if (!lxc && type != PROFILE_QEMU) {
        p->devices = calloc(1, sizeof *p->devices);
        p->device_count = 1;
        p->devices[0].address = strdup("0000:03:00.1");
    }
    if (!lxc && !xen) {
        p->page_bytes = 2 << 20;
        p->prealloc = true;
    }
    return p;
}

static void compare(const char *type, const char *xml)
{
    const char *top = getenv("LODGE_TOP_SRCDIR");
    struct err err = {0};
    AUTO_STR path = str_printf("%s/test/data/domain/%s.xml", top ? top : "..", type);
    AUTO_STR want = NULL;
    if (getenv("LODGE_UPDATE")) {
        AUTO_FD fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        assert_int_equal(fd_write_all(fd, xml, strlen(xml), &err), 0);
    }
    if (fd_read_file(path, 1 << 20, &want, NULL, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(xml, want);
}

static void test_domains(void **state)
{
    setenv("LODGE_STATE_DIR", "/state", 1);
    struct image image = {.name = (char *)"debian-fast",
                          .kind = IMAGE_GUEST,
                          .kernel = (char *)"/images/vmlinux",
                          .initrd = (char *)"/images/initrd",
                          .root = (char *)"/images/root.erofs",
                          .root_format = (char *)"erofs",
                          .append = (char *)"console=ttyS0 lodge.root=erofs",
                          .root_mode = (char *)"scratch"};
    for (int t = 0; t < PROFILE_TYPE_COUNT; t++) {
        if (!vt_dialect_of(t))
            continue;
        AUTO(vm) vm = vm_of("abcde01234", "it & that", full_profile(t));
        vm->uid = 1000;
        vm->gid = 100;
        AUTO(plan) plan = NULL;
        AUTO_STR xml = NULL;
        struct err err = {0};
        if (plan_make(vm, &image, "/run/vms/abcde01234", &plan, &err) < 0 ||
            vt_xml(plan, &xml, &err) < 0)
            fail_msg("%s", err.text);
        if (!vt_dialect_of(t)->container) { /* what is numbered in the guest */
            assert_string_equal(plan->disks[0].serial, "lodge-root");
            assert_string_equal(plan->disks[1].serial, "lodge-scratch");
            assert_string_equal(plan->disks[2].serial, "one");
            assert_non_null(strstr(plan->cmdline, "lodge.mode=scratch"));
        }
        compare(profile_type_names[t], xml);
    }
}

/* --- reservation ---------------------------------------------------------------------------------- */

static char root[] = "/tmp/lodge-room.XXXXXX";

static void put(const char *path, const char *text)
{
    AUTO_STR full = str_printf("%s%s", root, path);
    AUTO_STR dir = strdup(full);
    struct err err = {0};
    *strrchr(dir, '/') = '\0';
    if (fd_mkdirs(dir, 0755, &err) < 0)
        fail_msg("%s", err.text);
    AUTO_FD fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_int_equal(fd_write_all(fd, text, strlen(text), NULL), 0);
}

#define NODE "/sys/devices/system/node/node"
#define POOL "/hugepages/hugepages-2048kB/"
#define PCI  "/sys/bus/pci/devices/"

static int make_node(void **state)
{
    assert_non_null(mkdtemp(root));
    /* 4 GiB a node, of which 1 GiB is huge pages on node 1. */
    put(NODE "0/meminfo", "Node 0 MemTotal:        4194304 kB\nNode 0 MemFree: 1 kB\n");
    put(NODE "1/meminfo", "Node 1 MemTotal:        4194304 kB\n");
    put(NODE "0" POOL "nr_hugepages", "0\n");
    put(NODE "0" POOL "free_hugepages", "0\n");
    put(NODE "1" POOL "nr_hugepages", "512\n");
    put(NODE "1" POOL "free_hugepages", "512\n");
    put(PCI "0000:03:00.0/class", "0x030200\n");
    put(PCI "0000:03:00.0/numa_node", "1\n");
    AUTO_STR link = str_printf("%s" PCI "0000:03:00.0/driver", root);
    assert_int_equal(symlink("../../../bus/pci/drivers/vfio-pci", link), 0);
    return 0;
}

static int drop_node(void **state)
{
    return fd_remove_tree(root, NULL);
}

static void add(struct agent *a, struct vm *vm, enum vm_state s)
{
    vm->agent = a;
    vm->state = s;
    list_add(&a->vms, &vm->in);
}

static void test_room(void **state)
{
    struct place_numa nodes[ROOM_NODES];
    assert_int_equal(room_memory(root, 4096, nodes), 2);
    assert_int_equal(nodes[0].total, 4ull << 30);
    assert_int_equal(nodes[1].total, 3ull << 30);
    assert_int_equal(room_memory(root, 2 << 20, nodes), 2);
    assert_int_equal(nodes[0].total, 0);
    assert_int_equal(nodes[1].total, 1ull << 30);
    assert_int_equal(nodes[1].free, 1ull << 30);
    /* Where /sys tells of nothing there is one node. */
    assert_int_equal(room_memory("/nonexistent", 4096, nodes), 1);
    AUTO_STR none = str_printf("%s/none", root);
    struct place_device *devices;
    assert_int_equal(room_devices(none, &devices), 0);
    free(devices);
    assert_int_equal(room_devices(root, &devices), 1);
    assert_true(devices[0].given);
    assert_int_equal(devices[0].numa, 1);
    free(devices);
}

static void test_reserve(void **state)
{
    struct agent a = {.root = root};
    struct err err = {0};
    list_init(&a.vms);
    AUTO(vm) first = vm_of("abcde00001", "first", profile_of(PROFILE_HPC, 2ull << 30));
    AUTO(vm)
    second = vm_of("abcde00002", "second", profile_of(PROFILE_HPC, 2ull << 30));
    AUTO(vm) third = vm_of("abcde00003", "third", profile_of(PROFILE_HPC, 5ull << 29));
    first->profile->numa_policy = second->profile->numa_policy =
        third->profile->numa_policy = PROFILE_NUMA_BIND;
    if (reserve_check(&a, first, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(first->profile->numa_nodes.at[0], 0);
    add(&a, first, VM_RUNNING);
    if (reserve_check(&a, second, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(second->profile->numa_nodes.at[0], 1);
    add(&a, second, VM_DEFINED); /* not started yet: it holds its place all the same */
    third->profile->numa_nodes.at = calloc(1, sizeof(uint32_t));
    third->profile->numa_nodes.count = 1;
    assert_int_equal(reserve_check(&a, third, &err), -1);
    assert_int_equal(err.code, E_BUSY);
    assert_non_null(strstr(err.text, "on NUMA node 0"));
    if (!strstr(err.text, "held by: first (2.0G)"))
        fail_msg("%s", err.text);
    first->state = VM_GONE; /* ended: its place is free */
    assert_int_equal(reserve_check(&a, third, &err), 0);

    /* CPUs */
    first->state = VM_RUNNING;
    second->profile->cpu_pin.at = calloc(1, sizeof(uint32_t));
    first->profile->cpu_pin.at = calloc(1, sizeof(uint32_t));
    second->profile->cpu_pin.count = first->profile->cpu_pin.count = 1;
    list_remove(&second->in);
    assert_int_equal(reserve_check(&a, second, &err), -1);
    assert_string_equal(err.text, "CPU 0 is pinned by VM 'first'");
    first->profile->cpu_pin.at[0] = 1;
    assert_int_equal(reserve_check(&a, second, &err), 0);
    list_remove(&first->in);
}

static void test_reserve_pools(void **state)
{
    struct agent a = {.root = root};
    struct err err = {0};
    list_init(&a.vms);
    AUTO(vm) first = vm_of("abcde00001", "first", profile_of(PROFILE_HPC, 768 << 20));
    AUTO(vm) second = vm_of("abcde00002", "second", profile_of(PROFILE_HPC, 512 << 20));
    first->profile->page_bytes = second->profile->page_bytes = 2 << 20;
    assert_int_equal(reserve_check(&a, first, &err), 0);
    add(&a, first, VM_BOOTING);
    assert_int_equal(reserve_check(&a, second, &err), -1);
    assert_string_equal(err.text,
                        "wants 512M of memory in pages of 2M but 256M is left; "
                        "held by: first (768M)");
    AUTO_JSON told = reserve_show(&a);
    json_t *pool = json_array_get(json_object_get(told, "pages"), 1);
    assert_int_equal(json_integer_value(json_object_get(pool, "held")), 768 << 20);
    json_t *by = json_array_get(json_object_get(pool, "by"), 0);
    assert_string_equal(json_string_value(json_object_get(by, "vm")), "first");
    list_remove(&first->in);
    /* The pool shrinks under us. */
    put(NODE "1" POOL "free_hugepages", "10\n");
    assert_int_equal(reserve_check(&a, second, &err), -1);
    assert_int_equal(err.code, E_UNAVAIL);
    put(NODE "1" POOL "free_hugepages", "512\n");
}

static void test_reserve_devices(void **state)
{
    struct agent a = {.root = root};
    struct err err = {0};
    list_init(&a.vms);
    AUTO(vm) first = vm_of("abcde00001", "first", profile_of(PROFILE_KVM, 1 << 28));
    AUTO(vm) second = vm_of("abcde00002", "second", profile_of(PROFILE_KVM, 1 << 28));
    struct vm *both[] = {first, second};
    for (int i = 0; i < 2; i++) {
        both[i]->profile->devices = calloc(1, sizeof(struct profile_device));
        both[i]->profile->devices[0].class = strdup("gpu");
        both[i]->profile->device_count = 1;
    }
    if (reserve_check(&a, first, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(first->profile->devices[0].address, "0000:03:00.0");
    add(&a, first, VM_STAGING);
    assert_int_equal(reserve_check(&a, second, &err), -1);
    assert_int_equal(err.code, E_BUSY);
    assert_non_null(strstr(err.text, "'first'"));
    first->state = VM_FAILED;
    assert_int_equal(reserve_check(&a, second, &err), 0);
    assert_string_equal(second->profile->devices[0].address, "0000:03:00.0");
    list_remove(&first->in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states),         cmocka_unit_test(test_rows),
        cmocka_unit_test(test_addresses),      cmocka_unit_test(test_networks),
        cmocka_unit_test(test_sites_networks), cmocka_unit_test(test_domains),
        cmocka_unit_test(test_room),           cmocka_unit_test(test_reserve),
        cmocka_unit_test(test_reserve_pools),  cmocka_unit_test(test_reserve_devices),
    };
    return cmocka_run_group_tests(tests, make_node, drop_node);
}
