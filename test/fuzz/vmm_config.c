/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration document with the members of all devices. What is taken must keep
 * what the rest of the machine relies on. */
#include "fuzz.h"
#include "vmm/config.h"

#include <stdlib.h>

const char fuzz_name[] = "vmm_config";
const char *const fuzz_seeds[] = {NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config *c = NULL;
    struct err err = {0};
    if (config_parse((const char *)data, size, "fuzz", &c, &err) < 0) {
        if (c || !*err.text)
            abort();
        return 0;
    }
    uint64_t sum = 0;
    for (unsigned i = 0; i < c->memory.nnodes; i++)
        sum += c->memory.nodes[i].size;
    if (c->vcpus < 1 || c->vcpus > CONFIG_VCPUS_MAX || sum != c->memory.size ||
        c->memory.size % c->memory.page)
        abort();
    config_free(c);
    return 0;
}
