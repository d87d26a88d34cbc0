/* SPDX-License-Identifier: Apache-2.0 */
/* How a machine is made, for `vm start` and `run`: the options, and the profile they come to. */
#include "cli/vm.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cli/document.h"
#include "image/store.h"
#include "profile/document.h"

error_t vm_make_parse(struct vm_make *m, int key, char *arg, struct argp_state *state)
{
    switch (key) {
    case VM_KEY_NODE:
        m->node = arg;
        return 0;
    case VM_KEY_NAME:
        m->name = arg;
        return 0;
    case 't':
        m->type = arg;
        return 0;
    case VM_KEY_MEMORY:
        m->memory = arg;
        return 0;
    case VM_KEY_VCPUS:
        m->vcpus = arg;
        return 0;
    case VM_KEY_APPEND:
        m->append = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int put_over(const struct vm_make *m, struct profile *p, struct err *err)
{
    uint64_t n;
    if (m->type) {
        int type = document_type(m->type, err);
        if (type < 0)
            return -1;
        p->type = type;
    }
    if (m->memory) {
        if (!str_to_bytes(m->memory, 1 << 20, &n) || n < 16 << 20)
            return err_set(err, E_USAGE, "--memory: '%s' is not a size like 512M",
                           m->memory);
        p->memory_bytes = n;
    }
    if (m->vcpus) {
        if (!str_to_u64(m->vcpus, &n) || n < 1 || n > 4096)
            return err_set(err, E_USAGE, "--vcpus: '%s' is not a number of CPUs",
                           m->vcpus);
        p->vcpus = n;
    }
    if (m->append) {
        char *all =
            p->append ? str_printf("%s %s", p->append, m->append) : strdup(m->append);
        if (!all)
            return err_oom(err);
        free(p->append);
        p->append = all;
    }
    return 0;
}

static int from_image(const char *what, struct profile **out, struct err *err)
{
    struct err none;
    AUTO(image) image = NULL;
    if (image_find(what, &image, &none) < 0)
        return -1; /* err keeps what the store of profiles said */
    AUTO(profile) p = profile_new();
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(what, "@"), what);
    if (!p)
        return err_oom(err);
    free(p->name);
    p->name = strdup(str_is_name(name) ? name : "vm");
    p->image = strdup(what);
    if (!p->name || !p->image)
        return err_oom(err);
    *out = move(p);
    return 0;
}

int vm_make_profile(struct cli *cli, const struct vm_make *m, const char *what,
                    struct profile **out, struct err *err)
{
    AUTO(profile) p = NULL;
    if (strchr(what, '/') || str_ends(what, ".xml")) {
        struct profile_problems problems = {0};
        int r = profile_parse_file(what, &p, &problems, err);
        if (r < 0 && problems.errors)
            profile_problems_err(&problems, what, err);
        profile_problems_done(&problems);
        if (r < 0)
            return -1;
    } else {
        AUTO_JSON answer = NULL;
        struct err why = {0};
        int r = cli_call(cli, "profile.show", json_pack("{s:s}", "name", what), &answer,
                         &why);
        if (r == 0)
            r = profile_from_json(json_object_get(answer, "profile"), &p, &why);
        if (r < 0 && (why.code != E_NOENT || from_image(what, &p, &why) < 0)) {
            if (err)
                *err = why;
            return -1;
        }
    }
    assert(p);
    if (put_over(m, p, err) < 0)
        return -1;
    *out = move(p);
    return 0;
}
