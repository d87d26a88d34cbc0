/* SPDX-License-Identifier: Apache-2.0 */
/* lodge __complete WORD...: what may stand for the last word, one a line. All of it
 * comes from the tables of nouns, verbs and options; names that live come from the
 * store or the agent, by the word in capitals that stands in a verb's `args` or as an
 * option's argument: PROFILE, CLUSTER, IMAGE, VM, CKPT, NODE, OP, TYPE, MODE, FILE,
 * DIR. A checkpoint may be a directory as well. */
#include "cli/cli.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "base/str.h"

static void offer(const char *word, const char *start)
{
    if (str_starts(word, start))
        puts(word);
}

static void offer_options(const struct argp_option *o, const char *start)
{
    for (; o && (o->name || o->key || o->doc); o++)
        if (o->name && !(o->flags & OPTION_HIDDEN)) {
            AUTO_STR text = str_printf("--%s%s", o->name, o->arg ? "=" : "");
            if (text)
                offer(text, start);
        }
}

static const struct argp_option *find_option(const struct argp_option *o,
                                             const char *word)
{
    for (; o && (o->name || o->key || o->doc); o++) {
        if (o->name && str_starts(word, "--") && !strcmp(word + 2, o->name))
            return o;
        if (word[0] == '-' && word[1] == o->key && word[1] != '-' && !word[2])
            return o;
    }
    return NULL;
}

/* The nth group of words in capitals: "PROFILE|FILE" of "PROFILE|FILE [NAME...]"; the
 * last one goes on for ever. */
static char *placeholder(const char *args, int n)
{
    static const char capitals[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ-|";
    char *found = NULL;
    for (const char *s = args ? args : ""; *s && n >= 0;) {
        if (!isupper((unsigned char)*s)) {
            s++;
            continue;
        }
        size_t len = strspn(s, capitals);
        free(found);
        found = strndup(s, len);
        s += len;
        n--;
    }
    return found;
}

static void offer_placeholder(const char *what, const char *start)
{
    for (const char *s = what ? what : ""; *s;) {
        size_t len = strcspn(s, "|");
        AUTO_STR word = strndup(s, len);
        if (!word)
            return;
        if (!strcmp(word, "FILE"))
            puts(":files");
        if (!strcmp(word, "DIR") || !strcmp(word, "CKPT"))
            puts(":dirs");
        cli_complete_names(word, start);
        s += len + (s[len] == '|');
    }
}

static void complete_verb(const struct cli_verb *verb, int nargs, char **args)
{
    const char *last = nargs ? args[nargs - 1] : "";
    int place = 0;
    for (int i = 0; i < nargs - 1; i++) {
        const struct argp_option *o = find_option(verb->options, args[i]);
        if (!o)
            o = find_option(cli_shared_options, args[i]);
        bool takes = o && o->arg && !(o->flags & OPTION_ARG_OPTIONAL);
        if (takes && i == nargs - 2) {
            offer_placeholder(o->arg, last);
            return;
        }
        i += takes;
        if (i < nargs - 1 && *args[i] != '-' && !takes)
            place++;
    }
    const char *equals = str_starts(last, "--") ? strchr(last, '=') : NULL;
    if (equals) {
        AUTO_STR name = strndup(last, (size_t)(equals - last));
        const struct argp_option *o = name ? find_option(verb->options, name) : NULL;
        if (o && o->arg)
            offer_placeholder(o->arg, equals + 1);
    } else if (*last == '-') {
        offer_options(verb->options, last);
        offer_options(cli_shared_options, last);
        offer("--help", last);
    } else {
        AUTO_STR what = placeholder(verb->args, place);
        offer_placeholder(what, last);
    }
}

int cli_complete(int nargs, char **args)
{
    const char *last = nargs ? args[nargs - 1] : "";
    const struct cli_noun *noun = NULL;
    if (nargs <= 1) {
        for (const struct cli_noun *const *n = cli_nouns; *n; n++)
            offer((*n)->name, last);
        return 0;
    }
    for (const struct cli_noun *const *n = cli_nouns; *n; n++)
        if (!strcmp((*n)->name, args[0]))
            noun = *n;
    if (!noun)
        return 0;
    if (!*noun->verbs[0].name) {
        complete_verb(&noun->verbs[0], nargs - 1, args + 1);
        return 0;
    }
    for (const struct cli_verb *v = noun->verbs; v->name; v++) {
        if (nargs == 2)
            offer(v->name, last);
        else if (!strcmp(v->name, args[1]))
            complete_verb(v, nargs - 2, args + 2);
    }
    return 0;
}
