/* SPDX-License-Identifier: Apache-2.0 */
/* Documents of profiles and clusters. What is taken as a profile is the same profile
 * after it was written and read again. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "profile/cluster.h"
#include "profile/document.h"

const char fuzz_name[] = "profile";
const char *const fuzz_seeds[] = {"test/data/profile", "profiles", NULL};

static int any_profile(void *arg, const char *name, struct profile **out,
                       struct err *err)
{
    struct profile *p = profile_new();
    if (!p)
        return err_oom(err);
    *out = p;
    return 0;
}

static void check_again(const struct profile *p)
{
    struct profile_problems problems = {0};
    struct profile *again = NULL;
    char *xml = profile_to_xml(p);
    json_t *one = profile_to_json(p), *two = NULL;
    if (!xml || !one || profile_parse_stored(xml, strlen(xml), &again, &problems) < 0 ||
        !(two = profile_to_json(again)) || !json_equal(one, two))
        abort();
    profile_problems_done(&problems);
    profile_free(again);
    json_decref(one);
    json_decref(two);
    free(xml);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct profile_problems problems = {0};
    struct profile *p = NULL;
    struct cluster *c = NULL;
    const char *text = (const char *)data;
    if (profile_is_cluster(text, size)) {
        if (cluster_parse_stored(text, size, any_profile, NULL, &c, &problems) == 0)
            json_decref(cluster_to_json(c));
    } else if (profile_parse(text, size, &p, &problems) == 0) {
        check_again(p);
    }
    free(profile_problems_text(&problems, "fuzz"));
    profile_problems_done(&problems);
    profile_free(p);
    cluster_free(c);
    return 0;
}
