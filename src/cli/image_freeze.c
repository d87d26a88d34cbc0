/* SPDX-License-Identifier: Apache-2.0 */
/* lodge image freeze: boot a machine of the image once, and keep it as it is when it is
 * ready; the agent puts it into the store. */
#include "cli/image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/vm.h"
#include "proto/rpc.h"

enum { KEY_PROFILE = 0x2500, KEY_TYPE };
static struct {
    const char *profile, *type;
} input;

const struct argp_option cli_image_freeze_argp[] = {
    {"profile", KEY_PROFILE, "PROFILE", 0,
     "the machine to freeze; one of this shape thaws, others boot"},
    {"type", KEY_TYPE, "TYPE", 0, "instead of the profile's"},
    {0}};

error_t cli_image_freeze_parse(int key, char *arg, struct argp_state *state)
{
    switch (key) {
    case KEY_PROFILE:
        input.profile = arg;
        return 0;
    case KEY_TYPE:
        input.type = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int freeze(struct rpc_client *agent, const struct profile *p, const char *name,
                  json_t **got, struct err *err)
{
    if (rpc_client_call(agent, "vm.deploy",
                        json_pack("{s:o, s:s, s:b, s:b, s:b}", "profile",
                                  profile_to_json(p), "name", name, "boot", 1, "wait",
                                  1, "fresh", 1),
                        NULL, NULL, err) < 0)
        return -1;
    return rpc_client_call(
        agent, "vm.checkpoint",
        json_pack("{s:s, s:b, s:b}", "vm", name, "stop", 1, "freeze", 1), NULL, got,
        err);
}

int cli_image_freeze(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO(rpc_client) agent = NULL;
    AUTO(profile) p = NULL;
    AUTO_JSON got = NULL;
    const struct vm_make make = {.type = input.type};
    char name[40], size[32];
    if (!input.profile)
        return err_set(err, E_USAGE, "--profile is needed: which machine to freeze");
    if (vm_make_profile(cli, &make, input.profile, &p, err) < 0)
        return -1;
    free(p->image);
    if (!(p->image = strdup(args[0])))
        return err_oom(err);
    if (cli->dry_run) {
        cli_say(cli, "would: boot '%s' as '%s' and freeze it", args[0], p->name);
        return 0;
    }
    if (vm_agent(NULL, &agent, err) < 0)
        return -1;
    snprintf(name, sizeof name, "freeze-%d", (int)getpid());
    int r = freeze(agent, p, name, &got, err);
    rpc_client_call(agent, "vm.destroy", json_pack("{s:s}", "vm", name), NULL, NULL,
                    NULL);
    if (r < 0)
        return -1;
    cli_say(cli, "image '%s' frozen as machine '%s': '%s', %s", args[0], p->name,
            json_string_value(json_object_get(got, "path")),
            str_from_bytes(json_integer_value(json_object_get(got, "stored_bytes")),
                           size, sizeof size));
    return 0;
}
