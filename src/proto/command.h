/* SPDX-License-Identifier: Apache-2.0 */
/* A command to run in a guest, as request "vm.exec" to the agent and as "exec", "put"
 * and "get" on the guest channel carry it (docs/protocol-guest.md). Strings are any
 * bytes but NUL; what is not UTF-8 travels as {"base64": "..."}. */
#pragma once
#include "base/err.h"
#include "base/own.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

enum { COMMAND_WORDS_MAX = 65536, COMMAND_GROUPS_MAX = 65536, COMMAND_TOKEN = 32 };
enum { COMMAND_LINGER_MS = 60000, COMMAND_LINGER_MAX_MS = 3600000 };

struct command {
    char **argv;  /* ends in NULL; exec only */
    char **env;   /* NULL: the guest chooses */
    char *path;   /* put, get */
    char *script; /* content of a file to run in the place of argv[0]; NULL: none */
    size_t script_len;
    char *cwd; /* NULL: the home directory, else / */
    bool has_ids;
    uid_t uid;
    gid_t gid;
    gid_t *groups;
    size_t ngroups;
    int umask; /* -1: 022 */
    bool has_limit[RLIMIT_NLIMITS];
    struct rlimit limit[RLIMIT_NLIMITS];
    bool pty;
    unsigned rows, cols;
    bool die;
    char token[COMMAND_TOKEN + 1]; /* "": none */
    int linger_ms;
};

struct command *command_new(void);
void command_free(struct command *c);
OWN_DEFINE(command)

/* Copies of the words, which end in NULL. */
int command_set_argv(struct command *c, char *const *argv, struct err *err);
/* Fill env, cwd, umask and limits from this process; the ids too. */
int command_from_self(struct command *c, struct err *err);
/* Take the content of the file at path as the script. */
int command_load_script(struct command *c, const char *path, struct err *err);
/* Draw a token, so that the command outlives a loss of the channel. */
int command_draw_token(struct command *c, struct err *err);

/* The members of the request, without "op" or "vm"; a new reference, NULL without
 * memory. */
json_t *command_encode(const struct command *c);
/* Members that are not a command's are left to the caller. *out is the caller's. */
int command_decode(const json_t *from, struct command **out, struct err *err);

/* A string of any bytes, and back: NULL without memory; -1 with err. */
json_t *command_text_encode(const char *s);
int command_text_decode(const json_t *from, const char *what, char **out,
                        struct err *err);
