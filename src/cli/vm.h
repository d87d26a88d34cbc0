/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of noun vm and of run. */
#pragma once
#include "cli/cli.h"
#include "profile/profile.h"
#include "proto/client.h"

/* vm_make.c: how a machine is made, options of `vm start` and of `run`. */
struct vm_make {
    const char *node, *name, *type, *memory, *vcpus, *append;
};
enum { VM_KEY_NODE = 0x2000, VM_KEY_NAME, VM_KEY_MEMORY, VM_KEY_VCPUS, VM_KEY_APPEND };
/* clang-format off */
#define VM_MAKE_OPTIONS                                                                      \
    {"node", VM_KEY_NODE, "NODE", 0, "on this node of the cluster"},                         \
    {"name", VM_KEY_NAME, "NAME", 0, "the machine's name; the profile's if not given"},      \
    {"type", 't', "TYPE", 0, "instead of the profile's: auto, hpc, kvm, qemu, lxc, ..."},    \
    {"memory", VM_KEY_MEMORY, "SIZE", 0, "instead of the profile's"},                        \
    {"vcpus", VM_KEY_VCPUS, "COUNT", 0, "instead of the profile's"},                         \
    {"append", VM_KEY_APPEND, "WORDS", 0, "more words for the kernel's command line"}
/* clang-format on */
error_t vm_make_parse(struct vm_make *m, int key, char *arg, struct argp_state *state);
/* The profile that `what` names: a file, a profile of the store, else an image; with the
 * options put over it. */
int vm_make_profile(struct cli *cli, const struct vm_make *m, const char *what,
                    struct profile **out, struct err *err);
/* To the agent of this machine or of a node. */
int vm_agent(const char *node, struct rpc_client **out, struct err *err);
/* For client_exec's connect: the agent of the node said last. */
void vm_agent_node(const char *node);
int vm_agent_again(struct rpc_client **out, struct err *err);

/* vm_exec.c, vm_console.c, vm_top.c */
int vm_run_exec(struct cli *cli, int nargs, char **args, struct err *err);
int vm_run_cp(struct cli *cli, int nargs, char **args, struct err *err);
int vm_run_console(struct cli *cli, int nargs, char **args, struct err *err);
int vm_run_top(struct cli *cli, int nargs, char **args, struct err *err);
extern const struct argp_option vm_exec_options[];
error_t vm_exec_parse(int key, char *arg, struct argp_state *state);
extern const struct argp_option vm_console_options[], vm_cp_options[];
error_t vm_console_parse(int key, char *arg, struct argp_state *state);
struct vm_exec_input {
    const char *node, *job, *cwd, *user;
    char *env[256];
    size_t nenv;
    int pty; /* 1, 0, -1: if we have a terminal */
};
struct vm_console_input { /* and of cp */
    const char *node, *job;
    bool read_only;
};
struct command;
/* The command in the words behind a machine's or profile's name, after a "--" if there is
 * one; NULL with what is wrong. */
char **vm_words(const char *name, char **words, struct err *err);
/* What the options and the words after them say. *out is the caller's. */
int vm_command(const struct vm_exec_input *x, char **argv, struct command **out,
               struct err *err);
/* Run it with our standard input and outputs; *status is waitpid's. */
int vm_exec(const char *vm, const struct command *command, int *status,
            struct err *err);
/* A stages line: "defined 0 ms, staged 3 ms, ..." */
void vm_print_stages(FILE *to, const json_t *vm);
