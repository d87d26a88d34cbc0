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

static int run(struct client_exec *x, struct command *c, char **argv,
               const char *script, bool calls)
{
    struct err err;
    int status = 0;
    size_t n = 0;
    while (argv[n])
        n++;
    if (!(c->argv = calloc(n + 1, sizeof *c->argv)))
        return err_oom(&err), trouble(&err);
    for (size_t i = 0; i < n; i++)
        if (!(c->argv[i] = strdup(argv[i])))
            return err_oom(&err), trouble(&err);
    if (calls && call_serve(x->vm, x->job, &err) < 0)
        return trouble(&err);
    if (command_from_self(c, &err) < 0 || call_adopt(c, &err) < 0 ||
        command_draw_token(c, &err) < 0 ||
        (script && command_load_script(c, script, &err) < 0))
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

int main(int argc, char **argv)
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
    struct client_exec x = {.fds = {0, 1, 2}};
    AUTO(command) c = command_new();
    const char *script = NULL;
    bool calls = false;
    int opt;
    if (!c)
        return TROUBLE;
    /* What was closed must not become one of our own sockets. */
    for (int fd = 0; fd < 3;)
        if (fcntl(fd, F_GETFD) >= 0)
            fd++;
        else if (open("/dev/null", O_RDWR) < 0)
            return TROUBLE;
    c->pty = isatty(0) && isatty(1);
    while ((opt = getopt_long(argc, argv, "+", longs, NULL)) >= 0) {
        switch (opt) {
        case 'v':
            x.vm = optarg;
            break;
        case 'j':
            x.job = optarg;
            break;
        case 's':
            script = optarg;
            break;
        case 'S':
            setenv("LODGE_AGENT_SOCKET", optarg, 1);
            break;
        case 'r':
            requeue_wait_s = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'c':
            calls = true;
            break;
        case 'p':
            c->pty = true;
            break;
        case 'n':
            c->pty = false;
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
    if (optind >= argc) {
        fputs(usage, stderr);
        return TROUBLE;
    }
    if (!x.vm && !x.job)
        x.job = getenv("SLURM_JOB_ID");
    if (!x.vm && !x.job) {
        fputs("lodge: which VM? give --vm NAME or --job ID\n", stderr);
        return TROUBLE;
    }
    return run(&x, c, argv + optind, script, calls);
}
