/* SPDX-License-Identifier: Apache-2.0 */
/* lodge ticket: the right to boot a profile for a job. The plugin of a batch system
 * asks lodged; where none runs, it runs this. */
#include "cli/nouns.h"

#include <stdio.h>
#include <unistd.h>

#include "base/own.h"

OWN_CLEANUP(json_t, json_decref)

/* What was asked for is one JSON object: the parameters of "ticket.issue" as they are,
 * and the answer is its result as it is, on one line. */
static int run_issue(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO_T(json_t) answer = NULL;
    json_error_t where;
    json_t *params = json_loads(args[0], JSON_REJECT_DUPLICATES, &where);

    if (!json_is_object(params)) {
        json_decref(params);
        return err_set(err, E_USAGE,
                       "the request is not a JSON object; for example "
                       "'{\"profile\": \"NAME\", \"vms\": 1}'");
    }
    /* The group of a machine's owner: the caller's, when nothing else was said. */
    if (!json_object_get(params, "gid"))
        json_object_set_new(params, "gid", json_integer((json_int_t)getegid()));
    if (!json_object_get(params, "vms"))
        json_object_set_new(params, "vms", json_integer(1));
    if (cli_call(cli, "ticket.issue", params, &answer, err) < 0)
        return -1;
    if (json_dumpf(answer, stdout, JSON_COMPACT) < 0 || putchar('\n') == EOF)
        return err_set(err, E_IO, "the ticket cannot be written");
    return 0;
}

static const struct cli_verb verbs[] = {
    {"issue", "REQUEST", "sign the right to boot a profile; prints the ticket", 1, 1,
     .run = run_issue},
    {0},
};

const struct cli_noun cli_noun_ticket = {
    "ticket", "tickets: the right to boot a profile for a job", verbs};
