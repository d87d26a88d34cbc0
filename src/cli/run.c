/* SPDX-License-Identifier: Apache-2.0 */
/* lodge run: a machine for one command. It is leased: a second process of ours holds it
 * at the agent, so that it goes away also when we are killed. */
#include "cli/vm.h"
#include "client/agent.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "cli/nouns.h"
#include "client/exec.h"

static struct run_input {
    struct vm_make make;
    struct vm_exec_input exec;
    bool timings;
} run_input = {.exec = {.pty = -1}};

enum {
    KEY_CWD = 0x2301, /* vm_exec_parse's */
    KEY_TIMINGS = 0x2400,
    KEY_TTY
};

static const struct argp_option options[] = {
    VM_MAKE_OPTIONS,
    {"cwd", KEY_CWD, "DIRECTORY", 0, "start there; else in the home directory"},
    {"env", 'e', "NAME=VALUE", 0, "put it into the environment (again and again)"},
    {"tty", KEY_TTY, 0, 0, "with a terminal; the default when we have one"},
    {"no-tty", 'T', 0, 0, "without a terminal"},
    {"timings", KEY_TIMINGS, 0, 0, "say how long each stage of the start took"},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct run_input *in = state->input;
    struct argp_state sub = *state;
    sub.input = &in->exec;
    switch (key) {
    case KEY_TIMINGS:
        in->timings = true;
        return 0;
    case KEY_TTY:
        in->exec.pty = 1;
        return 0;
    case KEY_CWD:
    case 'e':
    case 'T':
        return vm_exec_parse(key, arg, &sub);
    default:
        return vm_make_parse(&in->make, key, arg, state);
    }
}

/* Hold the machine as long as our parent lives, also over a restart of the agent. */
static void keeper(const char *id, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGINT, SIG_IGN); /* the terminal's: it is for the command */
    signal(SIGQUIT, SIG_IGN);
    signal(SIGTSTP, SIG_IGN);
    while (getppid() == parent) {
        struct rpc_client *agent = NULL;
        struct err err = {0};
        if (vm_agent_again(&agent, &err) == 0) {
            int r = rpc_client_call(agent, "vm.hold", json_pack("{s:s}", "vm", id),
                                    NULL, NULL, &err);
            rpc_client_free(agent);
            if (r == 0 || err.code == E_NOENT)
                break;
        }
        usleep(100000);
    }
    _exit(0);
}

static pid_t start_keeper(const char *id)
{
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        keeper(id, parent);
    return pid;
}

static int deploy(struct run_input *in, const struct profile *p, json_t **vm,
                  struct err *err)
{
    AUTO(rpc_client) agent = NULL;
    if (client_agent_bring(in->make.node, p->image, err) < 0 ||
        vm_agent(in->make.node, &agent, err) < 0)
        return -1;
    json_t *params = json_pack("{s:o, s:s*, s:b, s:b}", "profile", profile_to_json(p),
                               "name", in->make.name, "leased", 1, "wait", 0);
    return rpc_client_call(agent, "vm.deploy", params, NULL, vm, err);
}

static void take_away(const char *id, bool timings)
{
    AUTO(rpc_client) agent = NULL;
    if (vm_agent_again(&agent, NULL) < 0)
        return;
    AUTO_JSON vm = NULL;
    if (timings && rpc_client_call(agent, "vm.status", json_pack("{s:s}", "vm", id),
                                   NULL, &vm, NULL) == 0)
        vm_print_stages(stderr, vm);
    rpc_client_call(agent, "vm.destroy", json_pack("{s:s}", "vm", id), NULL, NULL,
                    NULL);
}

static int run(struct cli *cli, int nargs, char **args, struct err *err)
{
    struct run_input *in = cli->verb->input;
    AUTO(profile) p = NULL;
    AUTO(command) command = NULL;
    AUTO_JSON vm = NULL;
    char **argv = vm_words(args[0], args + 1, err);
    if (!argv)
        return -1;
    if (!*argv)
        return err_set(err, E_USAGE, "a command is missing");
    vm_agent_node(in->make.node);
    if (vm_make_profile(cli, &in->make, args[0], &p, err) < 0 ||
        vm_command(&in->exec, argv, &command, err) < 0)
        return -1;
    if (cli->dry_run) {
        cli_say(cli, "would run '%s' in a machine of profile '%s', type %s", argv[0],
                p->name, profile_type_names[p->type]);
        return 0;
    }
    if (deploy(in, p, &vm, err) < 0)
        return -1;
    AUTO_STR id = strdup(json_string_value(json_object_get(vm, "id")));
    if (!id)
        return err_oom(err);
    pid_t keeping = start_keeper(id);
    int status = 0, r = vm_exec(id, command, &status, err);
    take_away(id, in->timings);
    if (keeping > 0) {
        kill(keeping, SIGKILL);
        waitpid(keeping, NULL, 0);
    }
    if (r < 0)
        return -1;
    client_exec_end(status);
}

static const struct cli_verb verbs[] = {
    {"", "PROFILE COMMAND [ARG...]",
     "run a command in a machine that is made for it and taken away afterwards", 2,
     CLI_COMMAND, options, parse, &run_input, run},
    {0},
};

const struct cli_noun cli_noun_run = {"run", "run one command in a machine of its own",
                                      verbs};
