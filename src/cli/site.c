/* SPDX-License-Identifier: Apache-2.0 */
/* lodge site: set up the controller's machine, and say what is missing. */
#include "cli/nouns.h"

#include <string.h>

#include "base/own.h"
#include "controller/site.h"

OWN_CLEANUP(json_t, json_decref)

static int run_init(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO_T(json_t) made = NULL;
    size_t i;
    json_t *path;
    if (site_init(&made, err) < 0)
        return -1;
    json_array_foreach (made, i, path)
        cli_say(cli, "wrote %s", json_string_value(path));
    if (!json_array_size(made))
        cli_say(cli, "everything is there already");
    else
        cli_say(cli, "next: systemctl enable --now lodged (or run lodged); what nodes "
                     "need is in "
                     "node-setup.txt");
    return 0;
}

static const struct cli_column columns[] = {
    {"code", CLI_TEXT, .help = "stable name of the gap; lodge-site(1) explains each"},
    {"grade", CLI_STATE, .help = "fail or warn"},
    {"what", CLI_TEXT, .help = "what is missing"},
    {"way_out", CLI_TEXT, .help = "what mends it"},
    {0},
};

static int run_verify(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO_T(json_t) gaps = NULL;
    size_t i;
    json_t *gap;
    bool fails = false;
    if (site_verify(&gaps, err) < 0)
        return -1;
    json_array_foreach (gaps, i, gap)
        fails |= !strcmp(json_string_value(json_object_get(gap, "grade")), "fail");
    if (!json_array_size(gaps))
        cli_say(cli, "the site is complete");
    else if (cli_table(cli, columns, gaps, err) < 0)
        return -1;
    return fails;
}

static const struct cli_verb verbs[] = {
    {"init", "", "write configuration and keys that are missing", 0, 0,
     .run = run_init},
    {"verify", "", "list every gap of the site; status 1 if one matters", 0, 0,
     .run = run_verify},
    {0},
};

const struct cli_noun cli_noun_site = {"site", "the controller's own set-up", verbs};
