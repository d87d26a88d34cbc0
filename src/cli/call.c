/* SPDX-License-Identifier: Apache-2.0 */
/* The controller's methods from the command line: by lodged, or in this process. */
#include "cli/cli.h"

#include <unistd.h>

#include "client/controller.h"
#include "controller/dispatch.h"

/* Without lodged, in this process. */
static int find_lodged(struct cli *cli, struct err *err)
{
    if (client_controller_find(&cli->lodged, err) < 0)
        return -1;
    return cli->lodged ? 0 : dispatch_new(NULL, &cli->dispatch, err);
}

int cli_call(struct cli *cli, const char *method, json_t *params, json_t **result,
             struct err *err)
{
    if (!cli->lodged && !cli->dispatch && find_lodged(cli, err) < 0) {
        json_decref(params);
        return -1;
    }
    if (cli->lodged)
        return rpc_client_call(cli->lodged, method, params, NULL, result, err);
    json_t *got = NULL;
    int r = dispatch_call(cli->dispatch, geteuid(), true, method, params, &got, err);
    json_decref(params);
    if (r == 0 && result)
        *result = got;
    else
        json_decref(got);
    return r;
}

void cli_call_done(struct cli *cli)
{
    rpc_client_free(cli->lodged);
    dispatch_free(cli->dispatch);
    cli->lodged = NULL;
    cli->dispatch = NULL;
}
