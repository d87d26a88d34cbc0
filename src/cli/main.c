/* SPDX-License-Identifier: Apache-2.0 */
/* lodge: find noun and verb in the tables, read the options, run, print the error, pick
 * the exit status. */
#include "cli/cli.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/own.h"
#include "base/str.h"
#include "config.h"

enum { NAMES_MAX = 64 };

static void usage(FILE *to)
{
    fprintf(to, "Usage: lodge NOUN VERB [OPTION...] [ARG...]\n\n"
                "Virtual machines for batch jobs.\n\n");
    for (const struct cli_noun *const *n = cli_nouns; *n; n++)
        fprintf(to, "  %-10s %s\n", (*n)->name, (*n)->help);
    fprintf(to, "\n'lodge NOUN --help' lists the verbs of a noun.\n");
}

static void noun_usage(const struct cli_noun *noun, FILE *to)
{
    fprintf(to, "Usage: lodge %s VERB [OPTION...] [ARG...]\n\n%s\n\n", noun->name,
            noun->help);
    int wide = 0, args = 0;
    for (const struct cli_verb *v = noun->verbs; v->name; v++) {
        int n = (int)strlen(v->name), m = v->args ? (int)strlen(v->args) : 0;
        wide = n > wide ? n : wide;
        args = m > args ? m : args;
    }
    for (const struct cli_verb *v = noun->verbs; v->name; v++) {
        fprintf(to, "  %-*s  %-*s  ", wide, v->name, args, v->args ? v->args : "");
        cli_text(to, 2 + wide + 2 + args + 2, v->help);
    }
}

static const struct cli_noun *find_noun(const char *name, struct err *err)
{
    const char *names[NAMES_MAX] = {NULL};
    for (int i = 0; cli_nouns[i] && i < NAMES_MAX - 1; i++) {
        if (!strcmp(cli_nouns[i]->name, name))
            return cli_nouns[i];
        names[i] = cli_nouns[i]->name;
    }
    const char *near = str_nearest(name, names);
    err_set(err, E_USAGE,
            near ? "unknown noun '%s'; did you mean '%s'?"
                 : "unknown noun '%s'; see 'lodge --help'",
            name, near);
    return NULL;
}

static const struct cli_verb *find_verb(const struct cli_noun *noun, const char *name,
                                        struct err *err)
{
    const char *names[NAMES_MAX] = {NULL};
    for (int i = 0; noun->verbs[i].name && i < NAMES_MAX - 1; i++) {
        if (!strcmp(noun->verbs[i].name, name) || !*noun->verbs[i].name)
            return &noun->verbs[i];
        names[i] = noun->verbs[i].name;
    }
    const char *near = str_nearest(name, names);
    err_set(err, E_USAGE,
            near ? "unknown verb '%s %s'; did you mean '%s'?"
                 : "unknown verb '%s %s'; see 'lodge %s --help'",
            noun->name, name, near ? near : noun->name);
    return NULL;
}

enum { KEY_NOHEADER = 0x1000, KEY_DRY_RUN, KEY_JSON, KEY_RAW };

const struct argp_option cli_shared_options[] = {
    {0, 0, 0, 0, "Common options:", 10},
    {"json", KEY_JSON, 0, 0,
     "print JSON: {\"schema\":1,\"data\":[...],\"errors\":[...]}"},
    {"format", 'o', "COLUMNS", 0, "columns to show; +COLUMN adds to the usual ones"},
    {"noheader", KEY_NOHEADER, 0, 0, "leave out the header line"},
    {"parsable", 'P', 0, 0, "print KEY=\"value\" lines"},
    {"raw", KEY_RAW, 0, 0, "print the table without padding"},
    {"dry-run", KEY_DRY_RUN, 0, 0, "say what would be done, and do nothing"},
    {"force", 'f', 0, 0, "do not ask"},
    {0},
};

struct parsed {
    struct cli *cli;
    int nargs;
    char **args;
};

static error_t parse_shared(int key, char *arg, struct argp_state *state)
{
    struct parsed *p = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        if (p->cli->verb->parse)
            state->child_inputs[0] = p->cli->verb->input;
        return 0;
    case KEY_JSON:
        p->cli->json = true;
        return 0;
    case 'o':
        p->cli->columns = arg;
        return 0;
    case KEY_NOHEADER:
        p->cli->noheader = true;
        return 0;
    case 'P':
        p->cli->parsable = true;
        return 0;
    case KEY_RAW:
        p->cli->raw = true;
        return 0;
    case KEY_DRY_RUN:
        p->cli->dry_run = true;
        return 0;
    case 'f':
        p->cli->force = true;
        return 0;
    case ARGP_KEY_ARGS:
        p->args = state->argv + state->next;
        p->nargs = state->argc - state->next;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static bool knows_option(const struct argp_option *options, const char *name, size_t n,
                         const char **names, size_t *count)
{
    bool known = false;
    for (const struct argp_option *o = options; o && (o->name || o->key || o->doc); o++)
        if (o->name) {
            known |= !strncmp(o->name, name, n); /* getopt takes what is unambiguous */
            if (*count < NAMES_MAX - 1)
                names[(*count)++] = o->name;
        }
    return known;
}

/* What an option takes that must have something; NULL: nothing. */
static const char *wants(const struct cli_verb *verb, const char *name)
{
    const struct argp_option *const lists[] = {verb->options, cli_shared_options};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        for (const struct argp_option *o = lists[i]; o && (o->name || o->key || o->doc);
             o++)
            if (o->name && !strcmp(o->name, name))
                return o->flags & OPTION_ARG_OPTIONAL ? NULL : o->arg;
    return NULL;
}

/* getopt only says "unrecognized"; say which option was meant. */
static int check_options(const struct cli_verb *verb, int argc, char **argv,
                         struct err *err)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
        if (verb->max_args == CLI_COMMAND && *argv[i] != '-')
            break; /* a command to run follows */
        if (strncmp(argv[i], "--", 2))
            continue;
        const char *name = argv[i] + 2,
                   *names[NAMES_MAX] = {"help", "usage", "version"};
        size_t n = strcspn(name, "="), count = 3;
        AUTO_STR word = strndup(name, n);
        if (!word)
            return err_oom(err);
        bool known = knows_option(cli_shared_options, name, n, names, &count);
        known |= knows_option(verb->options, name, n, names, &count);
        const char *value = name[n] || i + 1 < argc ? NULL : wants(verb, name);
        if (value)
            return err_set(err, E_USAGE, "--%s is without its %s", name, value);
        if (known || !strcmp(word, "help") || !strcmp(word, "usage"))
            continue;
        const char *near = str_nearest(word, names);
        if (near)
            return err_set(err, E_USAGE, "unknown option '--%s'; did you mean '--%s'?",
                           word, near);
        return err_set(err, E_USAGE, "unknown option '--%s'; see --help", word);
    }
    return 0;
}

static int run_verb(struct cli *cli, int argc, char **argv, struct err *err)
{
    const struct cli_verb *verb = cli->verb;
    struct argp own = {.options = verb->options, .parser = verb->parse};
    struct argp_child children[] = {{.argp = &own}, {0}};
    struct parsed p = {.cli = cli};
    struct argp argp = {.options = cli_shared_options,
                        .parser = parse_shared,
                        .args_doc = verb->args,
                        .doc = verb->help,
                        .children = verb->parse ? children : NULL};
    AUTO_STR name =
        str_printf("lodge %s%s%s", cli->noun->name, *verb->name ? " " : "", verb->name);
    if (!name)
        return err_oom(err);
    argv[0] = name;
    if (check_options(verb, argc, argv, err) < 0)
        return -1;
    /* In order: what follows the first argument (a command to run) is not ours. */
    unsigned flags = verb->max_args == CLI_COMMAND ? ARGP_IN_ORDER : 0;
    if (argp_parse(&argp, argc, argv, flags, NULL, &p) != 0)
        return err_set(err, E_USAGE, "%s: wrong usage", name);
    if (p.nargs < verb->min_args || (verb->max_args >= 0 && p.nargs > verb->max_args))
        return err_set(err, E_USAGE, "%s; usage: %s %s",
                       p.nargs < verb->min_args ? "an argument is missing"
                                                : "too many arguments",
                       name, verb->args ? verb->args : "");
    return verb->run(cli, p.nargs, p.args, err);
}

static int choose_verb(struct cli *cli, int argc, char **argv, struct err *err)
{
    if (!(cli->noun = find_noun(argv[1], err)))
        return -1;
    bool bare = !*cli->noun->verbs[0].name;
    if (!bare && (argc < 3 || !strcmp(argv[2], "--help") || !strcmp(argv[2], "-h") ||
                  !strcmp(argv[2], "help"))) {
        noun_usage(cli->noun, argc < 3 ? stderr : stdout);
        return argc < 3 ? err_set(err, E_USAGE, "a verb is missing") : 0;
    }
    if (!(cli->verb = find_verb(cli->noun, bare ? "" : argv[2], err)))
        return -1;
    int skip = bare ? 1 : 2;
    return run_verb(cli, argc - skip, argv + skip, err);
}

int main(int argc, char **argv)
{
    log_open("lodge", LOG_L_WARN);
    /* What we print is UTF-8, whatever the locale: descriptions, reasons, paths. */
    if (!setlocale(LC_CTYPE, "") || MB_CUR_MAX == 1)
        setlocale(LC_CTYPE, "C.UTF-8");
    argp_err_exit_status = 64;
    if (argc >= 2 && (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V"))) {
        printf("lodge %s\n", PACKAGE_VERSION);
        return 0;
    }
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
        !strcmp(argv[1], "help")) {
        usage(argc < 2 ? stderr : stdout);
        return argc < 2 ? 64 : 0;
    }
    if (!strcmp(argv[1], "__complete"))
        return cli_complete(argc - 2, argv + 2);
    if (!strcmp(argv[1], "__doc"))
        return cli_doc(argc - 2, argv + 2);
    struct cli cli = {0};
    struct err err = {0};
    int r = choose_verb(&cli, argc, argv, &err);
    int status = cli_finish(&cli, r, &err);
    json_decref(cli.data);
    json_decref(cli.errors);
    cli_call_done(&cli);
    return status;
}
