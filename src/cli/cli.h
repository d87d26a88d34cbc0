/* SPDX-License-Identifier: Apache-2.0 */
/* The command line: nouns, each with verbs, all in tables. Help, completion and the
 * check that everything is documented are made from these tables. */
#pragma once
#include "base/err.h"

#include <argp.h>
#include <stdbool.h>

/* What every verb gets, filled from the options that all verbs share. */
struct cli {
    bool json;
    bool noheader;
    bool parsable; /* -P: KEY="value" lines */
    bool dry_run;
    bool force;          /* -f: ask nothing */
    const char *columns; /* -o: "a,b" or "+c" */
    const struct cli_noun *noun;
    const struct cli_verb *verb;
};

struct cli_verb {
    const char *name;
    const char *args;       /* as shown in the usage: "NAME [FILE...]" */
    const char *help;       /* one line, small first letter, no full stop */
    int min_args, max_args; /* max -1: any number */
    /* The verb's own options and their parser (argp: state->input is `input`); both may
     * be NULL. The shared options are added to them. `input` is storage the verb owns.
     */
    const struct argp_option *options;
    argp_parser_t parse;
    void *input;
    /* Do it. args are what is left after the options. */
    int (*run)(struct cli *cli, int nargs, char **args, struct err *err);
};

struct cli_noun {
    const char *name;
    const char *help;
    const struct cli_verb *verbs; /* ends with a NULL name; one verb named "" may stand
                                     for the noun itself (lodge run ...) */
};

/* In the order of `lodge --help`. */
extern const struct cli_noun *const cli_nouns[];
