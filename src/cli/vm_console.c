/* SPDX-License-Identifier: Apache-2.0 */
/* lodge vm console: raw bytes both ways until ctrl-] or the machine's end. */
#include "cli/vm.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"

enum { KEY_NODE = 0x2500, ESCAPE = 0x1d };

const struct argp_option vm_console_options[] = {
    {"node", KEY_NODE, "NODE", 0, "of this node of the cluster"},
    {"job", 'j', "JOB", 0, "of the machine of this job; in the place of VM"},
    {"read-only", 'r', 0, 0, "watch only"},
    {0},
};

/* Its own without "read-only". */
const struct argp_option vm_cp_options[] = {
    {"node", KEY_NODE, "NODE", 0, "of this node of the cluster"},
    {"job", 'j', "JOB", 0, "the machine of this job, which is then :PATH"},
    {0},
};

error_t vm_console_parse(int key, char *arg, struct argp_state *state)
{
    struct vm_console_input *c = state->input;
    if (key == KEY_NODE)
        c->node = arg;
    else if (key == 'j')
        c->job = arg;
    else if (key == 'r')
        c->read_only = true;
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

/* False: the end. Copies what is there, but for the escape key. */
static bool pump(int from, int to, bool keys, struct err *err)
{
    char part[4096];
    ssize_t n = read(from, part, sizeof part);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    if (n == 0)
        return false;
    char *escape = keys ? memchr(part, ESCAPE, n) : NULL;
    size_t len = escape ? (size_t)(escape - part) : (size_t)n;
    return fd_write_all(to, part, len, err) == 0 && !escape;
}

static void relay(int fd, bool write, struct err *err)
{
    bool keys = isatty(0), input = true;
    for (;;) {
        struct pollfd p[2] = {{.fd = fd, .events = POLLIN},
                              {.fd = input ? 0 : -1, .events = POLLIN}};
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return;
        if (p[0].revents && !pump(fd, 1, false, err))
            return;
        /* Watching only: keys are read for the escape alone. */
        if (p[1].revents && !pump(0, fd, keys, err)) {
            if (keys)
                return;
            input = false; /* a pipe that ended: go on watching */
        }
    }
}

int vm_run_console(struct cli *cli, int nargs, char **args, struct err *err)
{
    const struct vm_console_input *c = cli->verb->input;
    AUTO(rpc_client) agent = NULL;
    if (!nargs == !c->job)
        return err_set(err, E_USAGE, "give a machine, or -j JOB");
    vm_agent_node(c->node);
    if (vm_agent_again(&agent, err) < 0 ||
        rpc_client_call(agent, "vm.console",
                        json_pack("{s:s, s:b}", c->job ? "job" : "vm",
                                  c->job ? c->job : args[0], "write", !c->read_only),
                        NULL, NULL, err) < 0)
        return -1;
    char *rest = NULL;
    size_t len = 0;
    AUTO_FD fd = rpc_client_take_fd(agent, &rest, &len);
    AUTO_STR own = rest;
    struct termios was;
    bool raw = isatty(0) && tcgetattr(0, &was) == 0;
    if (raw) {
        struct termios now = was;
        cfmakeraw(&now);
        now.c_oflag |= OPOST;
        fprintf(stderr, "lodge: console of '%s'; ctrl-] leaves it\n",
                c->job ? c->job : args[0]);
        tcsetattr(0, TCSANOW, &now);
    }
    if (!len || fd_write_all(1, own, len, err) == 0)
        relay(fd, !c->read_only, err);
    if (raw)
        tcsetattr(0, TCSANOW, &was);
    return 0;
}
