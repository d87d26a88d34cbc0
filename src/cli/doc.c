/* SPDX-License-Identifier: Apache-2.0 */
/* lodge __doc NOUN: its verbs, options and columns in asciidoc, from the tables; the man
 * pages include it, so an option's help is written once. lodge __doc alone lists nouns,
 * "common" is the options all verbs have, "status" the exit statuses, "conf" the keys of
 * lodge.conf. */
#include "cli/cli.h"

#include <ctype.h>
#include <string.h>

#include "base/conf.h"
#include "base/err.h"

/* Verbatim, whatever markup it looks like. */
static void put_literal(const char *s)
{
    fputs("pass:c[", stdout);
    for (; *s; s++) {
        if (*s == ']')
            putchar('\\');
        putchar(*s);
    }
    putchar(']');
}

static void put_text(const char *s)
{
    char first[2] = {(char)toupper((unsigned char)*s), '\0'};
    fputs(first, stdout);
    if (*s)
        put_literal(s + 1);
}

static void doc_options(const struct argp_option *o)
{
    for (; o && (o->name || o->key || o->doc); o++) {
        if (!o->name || o->flags & OPTION_HIDDEN)
            continue;
        if (o->key > ' ' && o->key < 127)
            printf("*-%c*%s%s%s, ", o->key, o->arg ? " _" : "", o->arg ? o->arg : "",
                   o->arg ? "_" : "");
        printf("**--%s**", o->name);
        if (o->arg)
            printf("=_%s_", o->arg);
        printf("::\n");
        put_text(o->doc ? o->doc : "");
        printf(".\n\n");
    }
}

static void doc_verb(const struct cli_noun *noun, const struct cli_verb *v)
{
    printf("=== lodge %s%s%s", noun->name, *v->name ? " " : "", v->name);
    printf("\n\n*lodge %s%s%s* [_OPTION_...] ", noun->name, *v->name ? " " : "",
           v->name);
    if (v->args && *v->args)
        put_literal(v->args);
    printf("\n\n");
    put_text(v->help);
    printf(".\n\n");
    doc_options(v->options);
}

static int doc_status(void)
{
    static const struct {
        enum err_code code;
        const char *name;
        int status;
    } codes[] = {
#define X(code, name, status) {code, name, status},
        ERR_CODES(X)
#undef X
    };
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        printf("*%d*:: %s\n", codes[i].status, codes[i].name);
    return 0;
}

static int doc_conf(void)
{
    static const struct {
        const char *name;
        enum conf_kind kind;
        const char *value, *help;
    } keys[] = {
#define X(key, name, kind, value, help) {name, kind, value, help},
        CONF_KEYS(X)
#undef X
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        printf("*%s* (%s; default: %s)::\n", keys[i].name, conf_wants[keys[i].kind],
               *keys[i].value ? keys[i].value : "empty");
        put_text(keys[i].help);
        printf(".\n");
    }
    return 0;
}

int cli_doc(int nargs, char **args)
{
    if (!nargs) {
        for (const struct cli_noun *const *n = cli_nouns; *n; n++)
            puts((*n)->name);
        return 0;
    }
    if (!strcmp(args[0], "common")) {
        doc_options(cli_shared_options);
        return 0;
    }
    if (!strcmp(args[0], "status"))
        return doc_status();
    if (!strcmp(args[0], "conf"))
        return doc_conf();
    if (!strcmp(args[0], "nouns")) {
        for (const struct cli_noun *const *n = cli_nouns; *n; n++) {
            printf("*%s*::\n", (*n)->name);
            put_text((*n)->help);
            printf("; see *lodge-%s*(1).\n", (*n)->name);
        }
        return 0;
    }
    for (const struct cli_noun *const *n = cli_nouns; *n; n++)
        if (!strcmp((*n)->name, args[0])) {
            for (const struct cli_verb *v = (*n)->verbs; v->name; v++)
                doc_verb(*n, v);
            return 0;
        }
    fprintf(stderr, "lodge: __doc: no noun '%s'\n", args[0]);
    return 64;
}
