/* SPDX-License-Identifier: Apache-2.0 */
/* Finding and starting the agent; see the header. */
#include "client/agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/dirs.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/proc.h"
#include "base/str.h"
#include "client/controller.h"

#define SYSTEM_SOCKET "/run/lodge/agent.sock"
enum { START_MS = 15000, SAID_MAX = 65536 };

static bool absent(const struct err *err)
{
    return err->sys == ENOENT || err->sys == ECONNREFUSED || err->sys == EACCES;
}

/* 1: connected, 0: nobody there, -1: err. */
static int try_socket(const char *path, struct rpc_client **out, struct err *err)
{
    struct err why = {0};
    if (rpc_client_connect(path, out, &why) == 0)
        return 1;
    if (err)
        *err = why;
    return absent(&why) ? 0 : -1;
}

int client_agent_find(struct rpc_client **out, struct err *err)
{
    const char *env = getenv("LODGE_AGENT_SOCKET");
    AUTO_STR own = dirs_path(DIRS_RUN, "agent.sock");
    struct err why = {0};
    if (!own)
        return err_oom(err);
    if (str_empty(env) && dirs_ours(DIRS_RUN, err) < 0)
        return -1;
    int r = try_socket(str_empty(env) ? own : env, out, &why);
    if (r == 0 && str_empty(env) && geteuid() != 0 && !getenv("LODGE_RUN_DIR"))
        r = try_socket(SYSTEM_SOCKET, out, &why);
    if (r > 0)
        return 0;
    if (r == 0)
        return err_set(err, E_UNAVAIL,
                       "no lodge-agent answers on '%s'; 'lodge run' starts one",
                       str_empty(env) ? own : env);
    if (err)
        *err = why;
    return -1;
}

/* What it said before it ended, as the error. */
static int start_failed(const char *log, struct err *err)
{
    AUTO_STR text = NULL;
    if (fd_read_file(log, SAID_MAX, &text, NULL, NULL) < 0 || !*text)
        return err_set(err, E_UNAVAIL, "lodge-agent ended at once; see '%s'", log);
    text[strcspn(text, "\n")] = '\0';
    return err_set(err, E_UNAVAIL, "lodge-agent could not start: %s", text);
}

static int start(struct rpc_client **out, struct err *err)
{
    AUTO_STR program = dirs_path(DIRS_LIBEXEC, "lodge-agent");
    AUTO_STR log = dirs_path(DIRS_STATE, "agent.log");
    if (!program || !log)
        return err_oom(err);
    if (dirs_make(DIRS_STATE, err) < 0 || dirs_make(DIRS_RUN, err) < 0)
        return -1;
    AUTO_FD said = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (said < 0)
        return err_sys(err, "'%s'", log);
    const char *const argv[] = {program, "--verbose", NULL};
    const int fds[] = {-1, said, said};
    struct proc_spec spec = {
        .argv = argv, .fds = fds, .nfds = 3, .new_session = true, .cwd = "/"};
    AUTO_FD pidfd = -1;
    if (proc_spawn(&spec, &pidfd, NULL, err) < 0)
        return -1;
    uint64_t end = clock_ms() + START_MS;
    for (unsigned nap_us = 500; clock_ms() < end; usleep(nap_us)) {
        int status, r = client_agent_find(out, NULL);
        if (r == 0)
            return 0;
        /* It may have ended because another one was faster: then that one answers. */
        if (proc_wait(pidfd, 0, &status, NULL) == 0)
            return client_agent_find(out, NULL) == 0 ? 0 : start_failed(log, err);
        nap_us = nap_us < 50000 ? nap_us * 2 : nap_us;
    }
    return err_set(err, E_TIMEOUT,
                   "lodge-agent was started but does not answer; see '%s'", log);
}

int client_agent_open(struct rpc_client **out, struct err *err)
{
    struct err why = {0};
    if (client_agent_find(out, &why) == 0)
        return 0;
    if (why.code != E_UNAVAIL || !str_empty(getenv("LODGE_AGENT_SOCKET"))) {
        if (err)
            *err = why;
        return -1;
    }
    return start(out, err);
}

int client_agent_bring(const char *node, const char *image, struct err *err)
{
    AUTO(rpc_client) hub = NULL;
    if (!node || !image)
        return 0;
    if (client_controller_open(&hub, err) < 0)
        return err_at(err, "node '%s' is reached by lodged", node);
    return rpc_client_call(hub, "image.bring",
                           json_pack("{s:s, s:s}", "image", image, "node", node), NULL,
                           NULL, err);
}

/* Does an agent of ours have machines, whether it runs now or not? */
static bool has_machines(void)
{
    AUTO_STR path = dirs_path(DIRS_STATE, "agent");
    DIR *d = path ? opendir(path) : NULL;
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));)
        found = str_ends(e->d_name, ".json");
    if (d)
        closedir(d);
    return found;
}

int client_agent_again(struct rpc_client **out, struct err *err)
{
    struct err why = {0};
    if (client_agent_find(out, &why) == 0)
        return 0;
    /* Where systemd runs the system's agent, it also starts it again. */
    bool cared_for = geteuid() == 0 && access("/run/systemd/system", F_OK) == 0;
    if (why.code == E_UNAVAIL && !cared_for &&
        str_empty(getenv("LODGE_AGENT_SOCKET")) && has_machines())
        return start(out, err);
    if (err)
        *err = why;
    return -1;
}

int client_agent_open_node(const char *node, struct rpc_client **out, struct err *err)
{
    if (!node)
        return client_agent_open(out, err);
    AUTO(rpc_client) hub = NULL;
    if (client_controller_open(&hub, err) < 0)
        return err_at(err, "node '%s' is reached by lodged", node);
    if (rpc_client_call(hub, "node.stream", json_pack("{s:s}", "node", node), NULL,
                        NULL, err) < 0)
        return -1;
    char *rest = NULL;
    size_t rest_len = 0;
    int fd = rpc_client_take_fd(hub, &rest, &rest_len);
    /* The agent's hello may have come together with the answer. */
    int r = rpc_client_open_after(fd, rest, rest_len, node, out, err);
    free(rest);
    return r;
}
