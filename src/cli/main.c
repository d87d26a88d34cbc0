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

/* All options of a verb, its own first; the ends of lists are not among them. */
static size_t all_options(const struct cli_verb *verb, const struct argp_option **out)
{
    static const struct argp_option help[] = {
        {"help", '?', 0, 0, 0}, {"usage", 0, 0, 0, 0}, {0}};
    const struct argp_option *const lists[] = {verb->options, cli_shared_options, help};
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        for (const struct argp_option *o = lists[i];
             o && (o->name || o->key || o->doc) && n < NAMES_MAX - 1; o++)
            if (o->name)
                out[n++] = o;
    return n;
}

static int find_long(const struct argp_option *const *all, size_t count,
                     const char *name, const struct argp_option **out, struct err *err)
{
    const char *names[NAMES_MAX] = {NULL};
    const struct argp_option *found = NULL;
    size_t len = strlen(name);
    for (size_t i = 0; i < count; i++) {
        names[i] = all[i]->name;
        if (!strcmp(names[i], name)) {
            *out = all[i];
            return 0;
        }
    }
    for (size_t i = 0; i < count; i++) { /* getopt takes what is unambiguous */
        if (strncmp(all[i]->name, name, len))
            continue;
        if (found)
            return err_set(err, E_USAGE, "option '--%s' may be '--%s' or '--%s'", name,
                           found->name, all[i]->name);
        found = all[i];
    }
    if ((*out = found))
        return 0;
    const char *near = str_nearest(name, names);
    return err_set(err, E_USAGE,
                   near ? "unknown option '--%s'; did you mean '--%s'?"
                        : "unknown option '--%s'; see --help",
                   name, near);
}

/* A word of short options; *value: the last one's is the next word. */
static int check_short(const struct argp_option *const *all, size_t count,
                       const char *word, bool more, bool *value, struct err *err)
{
    for (const char *c = word + 1; *c; c++) {
        const struct argp_option *o = NULL;
        for (size_t i = 0; i < count && !o; i++)
            if (all[i]->key == *c)
                o = all[i];
        if (!o)
            return err_set(err, E_USAGE, "unknown option '-%s'; see --help", c);
        if (!o->arg)
            continue;
        *value = !c[1];
        if (*value && !more)
            return err_set(err, E_USAGE, "-%c is without its %s", *c, o->arg);
        break;
    }
    return 0;
}

static int check_long(const struct argp_option *const *all, size_t count,
                      const char *word, bool more, bool *value, struct err *err)
{
    const struct argp_option *o = NULL;
    const char *given = strchr(word, '=');
    AUTO_STR name = strndup(word + 2, strcspn(word + 2, "="));
    if (!name)
        return err_oom(err);
    if (find_long(all, count, name, &o, err) < 0)
        return -1;
    if (!o->arg && given)
        return err_set(err, E_USAGE, "--%s takes no value, not '%s'", o->name,
                       given + 1);
    *value = o->arg && !given;
    if (*value && !more)
        return err_set(err, E_USAGE, "--%s is without its %s", o->name, o->arg);
    return 0;
}

/* argp would tell in three lines what is wrong, and not what was meant. */
static int check_options(const struct cli_verb *verb, int argc, char **argv,
                         struct err *err)
{
    const struct argp_option *all[NAMES_MAX];
    size_t count = all_options(verb, all);
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
        bool more = i + 1 < argc, value = false;
        if (*argv[i] != '-' || !argv[i][1]) {
            if (verb->max_args == CLI_COMMAND)
                break; /* a command to run follows */
            continue;
        }
        if (!strcmp(argv[i], "-h")) /* as for a noun */
            argv[i] = (char *)"--help";
        if (argv[i][1] == '-' ? check_long(all, count, argv[i], more, &value, err)
                              : check_short(all, count, argv[i], more, &value, err))
            return -1;
        i += value;
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
