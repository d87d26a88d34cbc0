/* SPDX-License-Identifier: Apache-2.0 */
/* lodge node enrol: what the enrolment key of a site is tied to. A node that boots sends
 * one line about itself, is added, and is told the key that lodged comes with. Whoever
 * has the enrolment key may do this and nothing else:
 *
 *   restrict,command="lodge node enrol" ssh-ed25519 AAAA... enrolment */
#include "cli/node_site.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/dirs.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/str.h"

OWN_CLEANUP(json_t, json_decref)

enum { LINE_MAX_ = 4096 };

static bool is_host(const char *s)
{
    if (!isalnum((unsigned char)*s) && *s != ':')
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr(".:-", *s))
            return false;
    return true;
}

/* Where the node called from: "ADDRESS PORT PORT". */
static char *caller(void)
{
    const char *from = getenv("SSH_CLIENT");
    return from ? strndup(from, strcspn(from, " ")) : NULL;
}

static int read_line(json_t **out, struct err *err)
{
    char line[LINE_MAX_];
    json_error_t je;
    if (!fgets(line, sizeof line, stdin))
        return err_set(err, E_INPUT, "no line on standard input");
    if (!(*out = json_loads(line, JSON_REJECT_DUPLICATES, &je)))
        return err_set(err, E_INPUT, "standard input: %s", je.text);
    return 0;
}

int node_enrol(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO_T(json_t) said = NULL;
    AUTO_STR from = caller();
    AUTO_STR path = dirs_path(DIRS_CONFIG, "id_ed25519.pub");
    AUTO_STR key = NULL;
    const char *name, *host_key, *host = from;
    int port = 22;
    json_error_t je;
    if (!path)
        return err_oom(err);
    if (read_line(&said, err) < 0)
        return -1;
    if (json_unpack_ex(said, &je, 0, "{s:s, s:s, s?s, s?i !}", "name", &name,
                       "host_key", &host_key, "host", &host, "port", &port) < 0)
        return err_set(err, E_INPUT, "standard input: %s", je.text);
    if (!host || !is_host(host) || port < 1 || port > 65535)
        return err_set(err, E_INPUT, "node '%s': '%s' port %d is no address", name,
                       host ? host : "", port);
    if (fd_read_file(path, LINE_MAX_, &key, NULL, err) < 0)
        return err_at(err, "the site has no key yet; 'lodge site init' makes it");
    json_t *params =
        json_pack("{s:[s], s:{s:s, s:s, s:i}, s:s}", "names", name, "spec", "transport",
                  "ssh", "host", host, "port", port, "host_key", host_key);
    if (!params)
        return err_oom(err);
    if (cli_call(cli, "node.add", params, NULL, err) < 0)
        return -1;
    fputs(key, stdout);
    return 0;
}
