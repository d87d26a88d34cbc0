/* SPDX-License-Identifier: Apache-2.0 */
/* liblodge: the blocking client for programs of others; see lodge.h, which is the contract. */
#include "client/lodge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "base/str.h"
#include "client/agent.h"
#include "client/controller.h"
#include "config.h"

struct lodge {
    struct rpc_client *rpc;
};

/* After these the connection carries something else than lines. */
static const char *const streams[] = {"vm.exec", "vm.cp", "vm.console", "vm.load",
                                      "node.stream"};

static int tell(const struct err *err, struct lodge_error *why)
{
    if (why) {
        *why = (struct lodge_error){.status = err_exit_status(err)};
        snprintf(why->code, sizeof why->code, "%s", err_code_name(err->code));
        snprintf(why->text, sizeof why->text, "%s", err->text);
    }
    return -1;
}

const char *lodge_version(void)
{
    return PACKAGE_VERSION;
}

static int connect_to(const char *where, struct rpc_client **out, struct err *err)
{
    if (!where || !strcmp(where, "agent"))
        return client_agent_find(out, err);
    if (!strcmp(where, "controller"))
        return client_controller_open(out, err);
    if (str_starts(where, "node:") && where[5])
        return client_agent_open_node(where + 5, out, err);
    if (strchr(where, '/'))
        return rpc_client_connect(where, out, err);
    return err_set(
        err, E_USAGE,
        "'%s' is none of \"agent\", \"controller\", \"node:NAME\" and a path", where);
}

int lodge_open(const char *where, struct lodge **out, struct lodge_error *why)
{
    struct err err = {0};
    struct lodge *l = calloc(1, sizeof *l);
    if (!l) {
        err_oom(&err);
        return tell(&err, why);
    }
    if (connect_to(where, &l->rpc, &err) < 0) {
        free(l);
        return tell(&err, why);
    }
    *out = l;
    return 0;
}

static int call(struct lodge *l, const char *method, const char *params, int timeout_ms,
                char **result, struct err *err)
{
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++)
        if (!strcmp(method, streams[i]))
            return err_set(err, E_USAGE,
                           "'%s' makes a stream of the connection, which liblodge does "
                           "not carry; run 'lodge'",
                           method);
    AUTO_JSON object = NULL;
    AUTO_JSON got = NULL;
    json_error_t wrong;
    if (params && !(object = json_loads(params, JSON_REJECT_DUPLICATES, &wrong)))
        return err_set(err, E_INPUT, "parameters of '%s': %s", method, wrong.text);
    if (object && !json_is_object(object))
        return err_set(err, E_INPUT, "parameters of '%s' are no JSON object", method);
    struct rpc_client_opts opts = {.timeout_ms = timeout_ms};
    if (rpc_client_call(l->rpc, method, move(object), &opts, &got, err) < 0)
        return -1;
    if (!result)
        return 0;
    char *text = got ? json_dumps(got, JSON_COMPACT | JSON_ENCODE_ANY) : strdup("null");
    if (!text)
        return err_oom(err);
    *result = text;
    return 0;
}

int lodge_call(struct lodge *l, const char *method, const char *params, int timeout_ms,
               char **result, struct lodge_error *why)
{
    struct err err = {0};
    return call(l, method, params, timeout_ms, result, &err) < 0 ? tell(&err, why) : 0;
}

int lodge_event(struct lodge *l, int timeout_ms, char **event, struct lodge_error *why)
{
    struct err err = {0};
    AUTO_JSON got = NULL;
    if (rpc_client_wait_event(l->rpc, timeout_ms > 0 ? timeout_ms : -1, &got, &err) < 0)
        return tell(&err, why);
    char *text = json_dumps(got, JSON_COMPACT);
    if (!text) {
        err_oom(&err);
        return tell(&err, why);
    }
    *event = text;
    return 0;
}

void lodge_close(struct lodge *l)
{
    if (l)
        rpc_client_free(l->rpc);
    free(l);
}
