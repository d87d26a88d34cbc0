/* SPDX-License-Identifier: Apache-2.0 */
/* How a node is reached: from its row to a transport; see hub.h. Apart from hub.c, so that
 * who only checks a row does not link SSH. */
#include "controller/hub.h"

#include <stdlib.h>
#include <string.h>

#include "base/dirs.h"
#include "proto/rpc.h"

void hub_spec_done(struct hub_spec *s)
{
    free(s->identity);
    free(s->known_hosts);
    free(s->argv);
    *s = (struct hub_spec){0};
}

static int parse_command(json_t *command, struct hub_spec *out, struct err *err)
{
    size_t n = json_array_size(command);
    if (!n)
        return err_set(err, E_INPUT, "transport exec needs a command");
    if (!(out->argv = calloc(n + 1, sizeof *out->argv)))
        return err_oom(err);
    for (size_t i = 0; i < n; i++)
        if (!(out->argv[i] = json_string_value(json_array_get(command, i))))
            return err_set(err, E_INPUT, "a command is a list of strings");
    out->to.argv = out->argv;
    return 0;
}

static int site_default(const char **value, char **own, const char *leaf,
                        struct err *err)
{
    if (*value)
        return 0;
    if (!(*own = dirs_path(DIRS_CONFIG, "%s", leaf)))
        return err_oom(err);
    *value = *own;
    return 0;
}

static int parse_kind(json_t *spec, struct hub_spec *out, struct err *err)
{
    struct transport_spec *to = &out->to;
    if (!strcmp(to->kind, "exec")) {
        json_t *command = NULL;
        if (rpc_unpack(spec, err, "node", "{s:s, s:o !}", "transport", &to->kind,
                       "command", &command) < 0)
            return -1;
        return parse_command(command, out, err);
    }
    if (!strcmp(to->kind, "unix"))
        return rpc_unpack(spec, err, "node", "{s:s, s?s !}", "transport", &to->kind,
                          "path", &to->path);
    if (strcmp(to->kind, "ssh"))
        return err_set(err, E_INPUT, "transport '%s' is not one of ssh, exec, unix",
                       to->kind);
    int port = 0;
    if (rpc_unpack(spec, err, "node", "{s:s, s:s, s?i, s?s, s?s, s?s !}", "transport",
                   &to->kind, "host", &to->host, "port", &port, "user", &to->user,
                   "identity", &to->identity, "known_hosts", &to->known_hosts) < 0)
        return -1;
    if (port < 0 || port > 65535)
        return err_set(err, E_INPUT, "port %d is not between 1 and 65535", port);
    to->port = port;
    return site_default(&to->identity, &out->identity, "id_ed25519", err) < 0
               ? -1
               : site_default(&to->known_hosts, &out->known_hosts, "known_hosts", err);
}

int hub_spec_parse(json_t *spec, struct hub_spec *out, struct err *err)
{
    struct hub_spec got = {0};
    if (rpc_unpack(spec, err, "node", "{s:s}", "transport", &got.to.kind) < 0 ||
        parse_kind(spec, &got, err) < 0) {
        hub_spec_done(&got);
        return -1;
    }
    *out = got;
    return 0;
}
