/* SPDX-License-Identifier: Apache-2.0 */
/* What a profile may ask of a type (src/profile/types.h) against what the agent's table
 * of libvirt dialects can do, and the choice of type auto, which goes by the former. */
#include "unit.h"

#include <string.h>

#include "agent/vt_xml.h"
#include "place/auto.h"
#include "profile/types.h"

static void test_dialects(void **state)
{
    int count = 0;
    for (int t = 0; t < PROFILE_TYPE_COUNT; t++) {
        const struct vt_dialect *d = vt_dialect_of(t);
        if (!d)
            continue;
        count++;
        assert_true(profile_type_is_known(t));
        assert_int_equal(profile_type_can(t, PROFILE_CAP_USER_NIC), d->user_nic);
        assert_int_equal(profile_type_can(t, PROFILE_CAP_HUGE), d->memfd);
        assert_int_equal(profile_type_can(t, PROFILE_CAP_PREALLOC), d->memfd);
        assert_int_equal(profile_type_can(t, PROFILE_CAP_SHARES),
                         d->memfd || d->container);
        assert_int_equal(profile_type_can(t, PROFILE_CAP_DISKS), !d->container);
        if (d->container) {
            assert_false(profile_type_can(t, PROFILE_CAP_KERNEL));
            assert_false(profile_type_can(t, PROFILE_CAP_PASSTHROUGH));
        }
    }
    assert_int_equal(count, 5);
}

static enum profile_type choose(const struct profile *p, char *reason, size_t size)
{
    const struct place_facts all = {.kvm = true, .vmm = true, .qemu = true};
    enum profile_type type;
    struct err err = {0};
    if (place_auto(&all, p, &type, reason, size, &err) < 0)
        fail_msg("%s", err.text);
    return type;
}

static void test_auto(void **state)
{
    char reason[256];
    AUTO(profile) p = profile_new();
    assert_int_equal(choose(p, reason, sizeof reason), PROFILE_HPC);
    p->cdrom = strdup("/a.iso");
    assert_int_equal(choose(p, reason, sizeof reason), PROFILE_KVM);
    assert_string_equal(reason, "kvm; not hpc: it cannot have a CD-ROM");
    free(p->cdrom);
    p->cdrom = NULL;
    p->nics = calloc(1, sizeof *p->nics);
    p->nic_count = 1;
    assert_int_equal(p->nics[0].type, PROFILE_NIC_USER);
    assert_int_equal(choose(p, reason, sizeof reason), PROFILE_KVM);
    p->nics[0].type = PROFILE_NIC_ISOLATED;
    assert_int_equal(choose(p, reason, sizeof reason), PROFILE_HPC);

    const struct place_facts none = {.no_kvm = "no KVM", .no_qemu = "no QEMU"};
    struct err err = {0};
    enum profile_type type;
    assert_int_equal(place_auto(&none, p, &type, reason, sizeof reason, &err), -1);
    assert_int_equal(err.code, E_UNAVAIL);
}

/* Each capability is somebody's, and each type that may be used can something. */
static void test_table(void **state)
{
    for (int cap = 0; cap < PROFILE_CAP_COUNT; cap++) {
        int who = 0;
        assert_non_null(profile_cap_texts[cap]);
        for (int t = PROFILE_AUTO + 1; t < PROFILE_FAKE; t++)
            who += profile_type_can(t, cap);
        assert_int_equal(profile_type_can(PROFILE_AUTO, cap), who > 0);
        assert_false(profile_type_can(PROFILE_VMWARE, cap));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dialects),
        cmocka_unit_test(test_auto),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
