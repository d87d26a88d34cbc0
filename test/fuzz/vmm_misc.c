/* SPDX-License-Identifier: Apache-2.0 */
/* The source of entropy, the balloon and the generation id under a hostile guest; the
 * host's part changes the balloon's target and the id. */
#include "vmm_guest.h"

const char fuzz_name[] = "vmm_misc";
const char *const fuzz_seeds[] = {NULL};

static struct device *balloon, *id;

static unsigned setup(struct vm *vm, uint8_t choice)
{
    (void)fake_device(vm, "rng", "{}", NULL);
    balloon = fake_device(vm, "balloon", "{}", NULL);
    id = fake_device(vm, "vmgenid", "{}", NULL);
    return 2;
}

static void host(const struct fuzz_step *s)
{
    struct err err;
    char guid[9] = {0};
    memcpy(guid, &s->d, 8);
    for (unsigned i = 0; i < 8; i++)
        guid[i] &= 0x7f;
    json_t *mib = json_pack("{s:I}", "mib", (json_int_t)s->d);
    json_t *text = json_pack("{s:s}", "guid", guid);
    if (mib && balloon)
        (void)balloon->ops->set(balloon, mib, &err);
    if (text && id)
        (void)id->ops->set(id, text, &err);
    json_decref(mib);
    json_decref(text);
}

static const struct fuzz_machine machine = {.setup = setup, .host = host};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_guest(&machine, data, size);
}
