/* SPDX-License-Identifier: Apache-2.0 */
/* Live names for completion. Quiet and quick: what cannot be had is not offered. */
#include "cli/ckpt.h"

#include <string.h>

#include "base/own.h"
#include "base/str.h"
#include "client/agent.h"
#include "profile/profile.h"
#include "profile/types.h"

static void offer_words(const char *const *words, const char *start)
{
    for (; *words; words++)
        if (str_starts(*words, start))
            puts(*words);
}

static void offer_types(const char *start)
{
    for (int t = 0; t < PROFILE_TYPE_COUNT; t++)
        if (profile_type_is_known(t) && str_starts(profile_type_names[t], start))
            puts(profile_type_names[t]);
}

/* The word, the method that lists, and the key of the name in its rows. */
static const struct {
    const char *what, *method, *key;
} lists[] = {
    {"PROFILE", "profile.list", "name"},
    {"CLUSTER", "cluster.list", "name"},
    {"IMAGE", "image.list", "name"},
    {"NODE", "node.list", "name"},
    {"OP", "op.list", "id"},
};

static void offer_rows(const json_t *rows, const char *key, const char *start)
{
    size_t i;
    json_t *row;
    json_array_foreach (rows, i, row) {
        const json_t *v = json_object_get(row, key);
        char number[32] = "";
        if (json_is_integer(v))
            snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT,
                     json_integer_value(v));
        const char *text = json_is_string(v) ? json_string_value(v) : number;
        if (*text && str_starts(text, start))
            puts(text);
    }
}

/* Of this machine; no agent is started to say that there are none. */
static void offer_machines(const char *start)
{
    const struct rpc_client_opts soon = {.timeout_ms = 2000};
    AUTO(rpc_client) agent = NULL;
    json_t *answer = NULL;
    if (client_agent_find(&agent, NULL) < 0 ||
        rpc_client_call(agent, "vm.list", NULL, &soon, &answer, NULL) < 0)
        return;
    offer_rows(json_object_get(answer, "vms"), "name", start);
    json_decref(answer);
}

void cli_complete_names(const char *what, const char *start)
{
    static const char *const modes[] = {"read", "map", "uffd", NULL};
    if (!strcmp(what, "TYPE"))
        offer_types(start);
    if (!strcmp(what, "MODE"))
        offer_words(modes, start);
    if (!strcmp(what, "CKPT"))
        ckpt_offer(start);
    if (!strcmp(what, "VM"))
        offer_machines(start);
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        struct cli cli = {0};
        json_t *rows = NULL;
        if (!strcmp(lists[i].what, what) &&
            cli_call(&cli, lists[i].method, NULL, &rows, NULL) == 0)
            offer_rows(rows, lists[i].key, start);
        json_decref(rows);
        cli_call_done(&cli);
    }
}
