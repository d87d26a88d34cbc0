/* SPDX-License-Identifier: Apache-2.0 */
/* Finding lodged; see the header. */
#include "client/controller.h"

#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/dirs.h"
#include "base/own.h"
#include "base/str.h"

#define SYSTEM_SOCKET "/run/lodge/lodged.sock"

/* What is only left over may be dead. */
static bool answers(const char *path, struct rpc_client **out)
{
    return path && access(path, F_OK) == 0 && rpc_client_connect(path, out, NULL) == 0;
}

/* On a submit host the site's configuration names the controller. */
static int find_far(struct rpc_client **out, struct err *err)
{
    AUTO(conf) conf = NULL;
    if (conf_load(NULL, &conf, err) < 0)
        return -1;
    const char *where = conf_text(conf, CONF_CONTROLLER);
    if (str_empty(where))
        return 0;
    AUTO_STR path = str_printf("tcp:%s", where);
    return path ? rpc_client_connect(path, out, err) : err_oom(err);
}

int client_controller_find(struct rpc_client **out, struct err *err)
{
    *out = NULL;
    const char *named = getenv("LODGE_CONTROLLER_SOCKET");
    if (!str_empty(named)) /* what somebody named must answer */
        return rpc_client_connect(named, out, err);
    AUTO_STR own = dirs_path(DIRS_RUN, "lodged.sock");
    if (!own)
        return err_oom(err);
    if (dirs_ours(DIRS_RUN, err) < 0)
        return -1;
    if (answers(own, out))
        return 0;
    /* With directories of its own (tests, a private set-up) it is not the system's. */
    bool private =
        !str_empty(getenv("LODGE_STATE_DIR")) || !str_empty(getenv("LODGE_RUN_DIR"));
    if (!private && answers(SYSTEM_SOCKET, out))
        return 0;
    return find_far(out, err);
}

int client_controller_open(struct rpc_client **out, struct err *err)
{
    if (client_controller_find(out, err) < 0)
        return -1;
    return *out ? 0
                : err_set(err, E_UNAVAIL,
                          "no lodged answers on this machine, and lodge.conf names no "
                          "controller");
}
