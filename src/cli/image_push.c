/* SPDX-License-Identifier: Apache-2.0 */
/* lodge image push: an image of the controller's store to nodes, with progress. */
#include "cli/image.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/hostlist.h"
#include "base/own.h"

OWN_CLEANUP(json_t, json_decref)

static const char *text(const json_t *row, const char *key)
{
    const char *s = json_string_value(json_object_get(row, key));
    return s ? s : "";
}

/* Tell each step that has ended since `last`; on a terminal also how far the others are. */
static void tell(struct cli *cli, const json_t *steps, const json_t *last)
{
    bool live = isatty(STDERR_FILENO) && !cli->json;
    json_t *s;
    size_t i;
    json_array_foreach (steps, i, s) {
        const char *state = text(s, "state"), *node = text(s, "node");
        if (json_equal(s, json_array_get(last, i)))
            continue;
        if (!strcmp(state, "done"))
            cli_say(cli, "%s: has it", node);
        else if (!strcmp(state, "failed"))
            cli_say(cli, "%s: failed: %s", node, text(s, "detail"));
        else if (live && *text(s, "detail"))
            fprintf(stderr, "%s: %s\n", node, text(s, "detail"));
    }
}

static int follow(struct cli *cli, json_int_t op, struct err *err)
{
    enum { LOOK_MS = 200 };
    AUTO_T(json_t) last = NULL;
    for (;;) {
        AUTO_T(json_t) row = NULL;
        AUTO_T(json_t) steps = NULL;
        if (cli_call(cli, "op.show", json_pack("{s:I}", "id", op), &row, err) < 0 ||
            cli_call(cli, "op.steps", json_pack("{s:I}", "id", op), &steps, err) < 0)
            return -1;
        tell(cli, steps, last);
        const char *state = text(row, "state");
        if (!strcmp(state, "done"))
            return 0;
        if (strcmp(state, "running"))
            return err_set(err, E_FAIL, "operation %lld %s: %s", (long long)op, state,
                           text(row, "error"));
        json_decref(last);
        last = move(steps);
        usleep(LOOK_MS * 1000);
    }
}

int cli_image_push(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO(hostlist) names = NULL;
    AUTO_T(json_t) nodes = json_array();
    AUTO_T(json_t) op = NULL;
    if (cli_names(nargs - 1, args + 1, &names, err) < 0)
        return -1;
    for (size_t i = 0; i < names->count; i++)
        json_array_append_new(nodes, json_string(names->names[i]));
    if (cli->dry_run) {
        cli_say(cli, "image '%s' would be sent to %zu node%s", args[0], names->count,
                names->count == 1 ? "" : "s");
        return 0;
    }
    if (cli_call(
            cli, "image.push",
            json_pack("{s:s, s:O, s:b}", "image", args[0], "nodes", nodes, "wait", 0),
            &op, err) < 0) {
        if (err->code == E_PROTO && !cli->lodged)
            err_set(err, E_UNAVAIL,
                    "images are sent by lodged, which does not run here");
        return -1;
    }
    return follow(cli, json_integer_value(json_object_get(op, "op")), err);
}
