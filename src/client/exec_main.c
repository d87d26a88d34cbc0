/* SPDX-License-Identifier: Apache-2.0 */
/* lodge-exec: stands in a task's place on the host and runs the task in its guest.
 *
 * How a scheduler's plugin calls it, as the task's user, by execve in the task's place:
 *
 *   lodge-exec [--vm NAME | --job ID] [--script FILE] [--socket PATH]
 *              [--requeue-wait SECONDS] [--calls] [--pty | --no-pty] [--] ARGV...
 *
 * The command gets ARGV as given, and environment, working directory, umask and resource
 * limits of this very process; the agent decides user and groups from who we are. Our
 * standard input, output and error are the command's, and our signals too (SIGTSTP stops
 * it, then us). Without --vm and --job the job is that of $SLURM_JOB_ID. A VM that still
 * boots is waited for. With --script FILE the content of FILE runs in the place of
 * ARGV[0], for batch scripts that the guest does not have. A terminal is made when
 * standard input and output are terminals. LODGE_AGENT_SOCKET (or --socket) names the
 * agent's socket. With --requeue-wait, when the node is to blame for a machine that did
 * not come up, we wait so long to be killed: the job is being sent elsewhere, and shall not
 * fail before. With --calls `srun` in the guest is run by us (client/call.h). The command and all its children end with us; a restart of the agent
 * they survive.
 *
 * We end as the command ended: same status, or by the same signal. Our own troubles are a
 * line "lodge: ..." on standard error and status 125; 127 and 126 are the command that is
 * not there or cannot be run. */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "client/call.h"
#include "client/exec.h"
#include "config.h"

enum { TROUBLE = 125 };

static const char usage[] =
    "usage: lodge-exec [--vm NAME | --job ID] [--script FILE] [--socket PATH]\n"
    "                  [--pty | --no-pty] [--] COMMAND [ARGUMENT]...\n"
    "Run a command in a guest as if it ran here.\n";

static unsigned requeue_wait_s;

static int trouble(const struct err *err)
{
    fprintf(stderr, "lodge: %s\n", err->text);
    if (err->code == E_UNAVAIL || err->code == E_SYS || err->code == E_HOST)
        sleep(requeue_wait_s);
    return TROUBLE;
}

struct asked {
    struct client_exec x;
    struct command *c;
    const char *script;
    bool calls;
};

static int run(struct asked *a, char **argv)
{
    struct client_exec *x = &a->x;
    struct command *c = a->c;
    struct err err;
    int status = 0;
    if (command_set_argv(c, argv, &err) < 0)
        return trouble(&err);
    if (a->calls && call_serve(x->vm, x->job, &err) < 0)
        return trouble(&err);
    if (command_from_self(c, &err) < 0 || call_adopt(c, &err) < 0 ||
        command_draw_token(c, &err) < 0 ||
        (a->script && command_load_script(c, a->script, &err) < 0))
        return trouble(&err);
    c->die = true;
    struct winsize size = {0};
    if (c->pty &&
        (ioctl(0, TIOCGWINSZ, &size) == 0 || ioctl(1, TIOCGWINSZ, &size) == 0)) {
        c->rows = size.ws_row;
        c->cols = size.ws_col;
    }
    x->command = c;
    if (client_exec(x, &status, &err) < 0)
        return trouble(&err);
    if (*err.text)
        fprintf(stderr, "lodge: %s\n", err.text);
    client_exec_end(status);
}

/* -1: go on; else the exit status. */
static int read_options(int argc, char **argv, struct asked *a)
{
    static const struct option longs[] = {
        {"vm", required_argument, NULL, 'v'},
        {"job", required_argument, NULL, 'j'},
        {"script", required_argument, NULL, 's'},
        {"socket", required_argument, NULL, 'S'},
        {"requeue-wait", required_argument, NULL, 'r'},
        {"calls", no_argument, NULL, 'c'},
        {"pty", no_argument, NULL, 'p'},
        {"no-pty", no_argument, NULL, 'n'},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {0}};
    int opt;
    while ((opt = getopt_long(argc, argv, "+", longs, NULL)) >= 0) {
        switch (opt) {
        case 'v':
            a->x.vm = optarg;
            break;
        case 'j':
            a->x.job = optarg;
            break;
        case 's':
            a->script = optarg;
            break;
        case 'S':
            setenv("LODGE_AGENT_SOCKET", optarg, 1);
            break;
        case 'r':
            requeue_wait_s = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'c':
            a->calls = true;
            break;
        case 'p':
        case 'n':
            a->c->pty = opt == 'p';
            break;
        case 'V':
            puts("lodge-exec " PACKAGE_VERSION);
            return 0;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            fputs(usage, stderr);
            return TROUBLE;
        }
    }
    return -1;
}

/* What was closed must not become one of our own sockets. */
static bool fill_standard(void)
{
    for (int fd = 0; fd < 3;)
        if (fcntl(fd, F_GETFD) >= 0)
            fd++;
        else if (open("/dev/null", O_RDWR) < 0)
            return false;
    return true;
}

int main(int argc, char **argv)
{
    AUTO(command) c = command_new();
    struct asked a = {.x.fds = {0, 1, 2}, .c = c};
    if (!c || !fill_standard())
        return TROUBLE;
    c->pty = isatty(0) && isatty(1);
    int status = read_options(argc, argv, &a);
    if (status >= 0)
        return status;
    if (optind >= argc) {
        fputs(usage, stderr);
        return TROUBLE;
    }
    if (!a.x.vm && !a.x.job)
        a.x.job = getenv("SLURM_JOB_ID");
    if (!a.x.vm && !a.x.job) {
        fputs("lodge: which VM? give --vm NAME or --job ID\n", stderr);
        return TROUBLE;
    }
    return run(&a, argv + optind);
}
