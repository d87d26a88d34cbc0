/* SPDX-License-Identifier: Apache-2.0 */
/* The controller's methods from the command line: by lodged, or in this process. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/dirs.h"
#include "base/own.h"
#include "base/str.h"
#include "controller/dispatch.h"
#include "proto/client.h"

#define SYSTEM_SOCKET "/run/lodge/lodged.sock"

static bool exists(const char *path)
{
    return path && access(path, F_OK) == 0;
}

/* On a submit host the site's configuration names the controller. */
static int find_far(struct cli *cli, bool *found, struct err *err)
{
    AUTO(conf) conf = NULL;
    if (conf_load(NULL, &conf, err) < 0)
        return -1;
    const char *where = conf_text(conf, CONF_CONTROLLER);
    *found = !str_empty(where);
    if (!*found)
        return 0;
    AUTO_STR path = str_printf("tcp:%s", where);
    return path ? rpc_client_connect(path, &cli->lodged, err) : err_oom(err);
}

/* A socket that somebody named must answer; one that is only left over may be dead. */
static int find_lodged(struct cli *cli, struct err *err)
{
    const char *named = getenv("LODGE_CONTROLLER_SOCKET");
    if (!str_empty(named))
        return rpc_client_connect(named, &cli->lodged, err);
    AUTO_STR own = dirs_path(DIRS_RUN, "lodged.sock");
    if (exists(own) && rpc_client_connect(own, &cli->lodged, NULL) == 0)
        return 0;
    /* With directories of its own (tests, a private set-up) it is not the system's. */
    if (str_empty(getenv("LODGE_STATE_DIR")) && str_empty(getenv("LODGE_RUN_DIR")) &&
        exists(SYSTEM_SOCKET) &&
        rpc_client_connect(SYSTEM_SOCKET, &cli->lodged, NULL) == 0)
        return 0;
    bool far;
    if (find_far(cli, &far, err) < 0 || far)
        return cli->lodged ? 0 : -1;
    return dispatch_new(NULL, &cli->dispatch, err);
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
