/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON form of a profile, as it comes in tickets: what is taken comes out again the
 * same. */
#include "fuzz.h"

#include <stdlib.h>

#include "profile/profile.h"

const char fuzz_name[] = "profile_json";
const char *const fuzz_seeds[] = {NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct profile *p = NULL;
    struct err err = {0};
    json_t *json = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    if (json && profile_from_json(json, &p, &err) == 0) {
        struct profile *again = NULL;
        json_t *one = profile_to_json(p), *two = NULL;
        if (!one || profile_from_json(one, &again, NULL) < 0 ||
            !(two = profile_to_json(again)) || !json_equal(one, two))
            abort();
        json_decref(one);
        json_decref(two);
        profile_free(again);
    }
    profile_free(p);
    json_decref(json);
    return 0;
}
