/* SPDX-License-Identifier: Apache-2.0 */
/* The command line: nouns, each with verbs, all in tables. Help, completion and the
 * check that everything is documented are made from these tables. */
#pragma once
#include "base/err.h"

#include <argp.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct dispatch;
struct hostlist;
struct rpc_client;

/* What every verb gets, filled from the options that all verbs share. */
struct cli {
    bool json;
    bool noheader;
    bool parsable; /* -P: KEY="value" lines */
    bool raw;      /* --raw: no padding */
    bool dry_run;
    bool force;          /* -f: ask nothing */
    const char *columns; /* -o: "a,b" or "+c" */
    const struct cli_noun *noun;
    const struct cli_verb *verb;
    /* Kept by out.c and call.c; main lets go of them. */
    json_t *data;   /* of --json, an array; NULL: nothing was printed by a table */
    json_t *errors; /* of --json */
    int status;     /* of the first error told by cli_error() */
    struct dispatch *dispatch;
    struct rpc_client *lodged;
};

/* For max_args: any number of names, options anywhere between them; or a command: what
 * follows the first argument is not looked at. */
enum { CLI_ANY = -1, CLI_COMMAND = -2 };

struct cli_verb {
    const char *name;
    const char *args;       /* as shown in the usage: "PROFILE [FILE...]"; the words in
                               capitals are what completion goes by, see complete.c */
    const char *help;       /* one line, small first letter, no full stop */
    int min_args, max_args; /* or CLI_ANY, CLI_COMMAND */
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
/* main's options that every verb has; for completion and the check of the docs. */
extern const struct argp_option cli_shared_options[];

/* --- output (out.c) ------------------------------------------------------------------
 * A verb gathers rows as JSON objects and gives them to cli_table() with a description
 * of the columns; that serves the table, -P, --raw, -o and --json alike. */
enum cli_kind {
    CLI_TEXT,
    CLI_NUM,
    CLI_BYTES, /* integer, shown as 1.5G */
    CLI_MS,    /* integer, milliseconds, shown as 90s */
    CLI_TIME,  /* integer, wall clock milliseconds, shown as ISO date */
    CLI_BOOL,  /* shown as yes and no */
    CLI_STATE, /* text, with colour on a terminal */
};
struct cli_column {
    const char *name; /* the key in the row; the header is this in capitals */
    enum cli_kind kind;
    bool extra; /* only shown when -o asks for it */
    const char *help;
};
/* Print rows (an array of objects, borrowed; a missing key is an empty cell). columns
 * end with a NULL name. With --json the rows are printed whole, times as ISO texts. */
/* A sentence of which `indent` columns are used already, and a new line. On a terminal it goes
 * on below itself where it is too long. */
void cli_text(FILE *to, int indent, const char *text);
int cli_table(struct cli *cli, const struct cli_column *columns, json_t *rows,
              struct err *err);
/* One object, a line for each of its columns; --json and -P as above. */
int cli_show(struct cli *cli, const struct cli_column *columns, json_t *row,
             struct err *err);
/* Tell an error and go on (the other names of a hostlist); the exit status is the first
 * one's. Clears err. */
void cli_error(struct cli *cli, struct err *err);
/* "profile 'a' added": one line of success; silent with --json and -P. */
void cli_say(struct cli *cli, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* May it be done? Asks only on a terminal, never with -f; elsewhere yes. */
bool cli_confirm(struct cli *cli, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* For an option's value while options are read: tells what is wrong and ends lodge. */
_Noreturn void cli_wrong_option(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));
/* Is `to` a terminal that shall have colours (NO_COLOR, TERM=dumb)? */
bool cli_colour(FILE *to);
/* Names from arguments that are each a hostlist: a[1-3] b. The caller's. */
int cli_names(int nargs, char **args, struct hostlist **out, struct err *err);
/* For main: print what --json gathered, with r's error; the exit status. */
int cli_finish(struct cli *cli, int r, const struct err *err);

/* --- methods of the controller (call.c) ----------------------------------------------
 * Steals params (NULL: none). Asks lodged if its socket answers
 * ($LODGE_CONTROLLER_SOCKET, lodged.sock in the run directory, the system's), else runs
 * the very same method in this process on the user's own store. */
int cli_call(struct cli *cli, const char *method, json_t *params, json_t **result,
             struct err *err);
void cli_call_done(struct cli *cli);

/* --- completion (complete.c) ---------------------------------------------------------
 */
/* lodge __complete WORD...: print the words that may stand for the last one. */
int cli_complete(int nargs, char **args);
/* Names that live now for a word in capitals (names.c): "PROFILE", "VM", ... */
void cli_complete_names(const char *what, const char *start);
/* lodge __doc [NOUN]: asciidoc of the tables for the man pages (doc.c). */
int cli_doc(int nargs, char **args);
