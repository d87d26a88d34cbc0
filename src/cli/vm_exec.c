/* SPDX-License-Identifier: Apache-2.0 */
/* lodge vm exec and cp. */
#include "cli/vm.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "client/cp.h"
#include "client/exec.h"

enum { KEY_NODE = 0x2300, KEY_CWD, KEY_USER };

const struct argp_option vm_exec_options[] = {
    {"node", KEY_NODE, "NODE", 0, "of this node of the cluster"},
    {"job", 'j', "JOB", 0, "in the machine of this job; in the place of VM"},
    {"cwd", KEY_CWD, "DIRECTORY", 0, "start there; else in the home directory"},
    {"env", 'e', "NAME=VALUE", 0, "put it into the environment (again and again)"},
    {"user", KEY_USER, "UID", 0, "as this user number; root only"},
    {"tty", 't', 0, 0, "with a terminal; the default when we have one"},
    {"no-tty", 'T', 0, 0, "without a terminal"},
    {0},
};

error_t vm_exec_parse(int key, char *arg, struct argp_state *state)
{
    struct vm_exec_input *x = state->input;
    switch (key) {
    case KEY_NODE:
        x->node = arg;
        return 0;
    case 'j':
        x->job = arg;
        return 0;
    case KEY_CWD:
        x->cwd = arg;
        return 0;
    case KEY_USER:
        x->user = arg;
        return 0;
    case 'e':
        if (!strchr(arg, '='))
            cli_wrong_option("--env: '%s' is not NAME=VALUE", arg);
        if (x->nenv == ARRAY_SIZE(x->env) - 1)
            cli_wrong_option("--env: more than %zu of them", x->nenv);
        x->env[x->nenv++] = arg;
        return 0;
    case 't':
    case 'T':
        x->pty = key == 't';
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

char **vm_words(const char *name, char **words, struct err *err)
{
    if (!*words || **words != '-')
        return words;
    if (!strcmp(*words, "--"))
        return words + 1;
    err_set(err, E_USAGE, "'%s' is no command; options go before '%s'", *words, name);
    return NULL;
}

int vm_command(const struct vm_exec_input *x, char **argv, struct command **out,
               struct err *err)
{
    AUTO(command) c = command_new();
    if (!c)
        return err_oom(err);
    if (command_set_argv(c, argv, err) < 0)
        return -1;
    c->env = x->nenv ? calloc(x->nenv + 2, sizeof *c->env) : NULL;
    for (size_t i = 0; c->env && i < x->nenv; i++)
        if (!(c->env[i] = strdup(x->env[i])))
            return err_oom(err);
    if (c->env && !(c->env[x->nenv] = strdup("PATH=/usr/local/bin:/usr/bin:/bin:"
                                             "/usr/local/sbin:/usr/sbin:/sbin")))
        return err_oom(err);
    c->cwd = x->cwd ? strdup(x->cwd) : NULL;
    if ((x->nenv && !c->env) || (x->cwd && !c->cwd))
        return err_oom(err);
    uint64_t uid;
    if (x->user) {
        if (!str_to_u64(x->user, &uid) || uid > UINT32_MAX - 1)
            return err_set(err, E_USAGE, "--user: '%s' is not a user number", x->user);
        c->has_ids = true;
        c->uid = uid;
        c->gid = uid;
    }
    c->pty = x->pty > 0 || (x->pty < 0 && isatty(0) && isatty(1));
    c->die = true;
    if (command_draw_token(c, err) < 0)
        return -1;
    *out = move(c);
    return 0;
}

static int run_in(const char *vm, const char *job, const struct command *command,
                  int *status, struct err *err)
{
    struct client_exec x = {.vm = vm,
                            .job = job,
                            .command = command,
                            .fds = {0, 1, 2},
                            .connect = vm_agent_again};
    struct err why = {0};
    if (client_exec(&x, status, &why) < 0) {
        *err = why;
        return -1;
    }
    if (*why.text)
        fprintf(stderr, "lodge: %s\n", why.text);
    return 0;
}

int vm_exec(const char *vm, const struct command *command, int *status, struct err *err)
{
    return run_in(vm, NULL, command, status, err);
}

int vm_run_exec(struct cli *cli, int nargs, char **args, struct err *err)
{
    const struct vm_exec_input *x = cli->verb->input;
    AUTO(command) command = NULL;
    int status;
    const char *vm = x->job ? NULL : args[0];
    char **argv = vm_words(vm ? vm : "", vm ? args + 1 : args, err);
    if (!argv)
        return -1;
    if (!*argv)
        return err_set(err, E_USAGE, "give a machine and a command, or -j JOB and one");
    vm_agent_node(x->node);
    if (vm_command(x, argv, &command, err) < 0 ||
        run_in(vm, x->job, command, &status, err) < 0)
        return -1;
    client_exec_end(status);
}

/* --- cp ---------------------------------------------------------------------------------- */

/* VM:PATH; NULL: a path of ours. A colon behind a slash belongs to a path. */
static char *vm_part(const char *arg, const char **path)
{
    const char *colon = strchr(arg, ':'), *slash = strchr(arg, '/');
    if (!colon || (slash && slash < colon))
        return NULL;
    *path = colon[1] ? colon + 1 : ".";
    return strndup(arg, colon - arg);
}

static void progress(uint64_t files, uint64_t bytes, void *arg)
{
    char amount[24];
    fprintf(stderr, "\r%llu files, %s ", (unsigned long long)files,
            str_from_bytes(bytes, amount, sizeof amount));
}

int vm_run_cp(struct cli *cli, int nargs, char **args, struct err *err)
{
    const struct vm_console_input *x = cli->verb->input;
    const char *from = args[0], *to = args[1];
    AUTO_STR from_vm = vm_part(from, &from);
    AUTO_STR to_vm = vm_part(to, &to);
    if (!from_vm == !to_vm)
        return err_set(err, E_USAGE, "one of '%s' and '%s' must be VM:PATH", args[0],
                       args[1]);
    const char *vm = to_vm ? to_vm : from_vm;
    if (!*vm == !x->job)
        return err_set(err, E_USAGE, "give VM:PATH, or -j JOB and :PATH");
    vm_agent_node(x->node);
    struct client_cp c = {.vm = *vm ? vm : NULL,
                          .job = x->job,
                          .into = to_vm != NULL,
                          .from = from,
                          .to = to,
                          .connect = vm_agent_again,
                          .progress = isatty(2) ? progress : NULL};
    int r = client_cp(&c, err);
    if (c.progress)
        fputs("\n", stderr);
    return r;
}
