/* SPDX-License-Identifier: Apache-2.0 */
/* lodge node list, show, add, drain, resume, remove: the nodes of the site. What this machine
 * is (check, facts) is in node.c. */
#include "cli/node_site.h"

#include <string.h>

#include "base/fd.h"
#include "base/hostlist.h"
#include "base/own.h"
#include "base/str.h"

OWN_CLEANUP(json_t, json_decref)

static const struct cli_column columns[] = {
    {"name", CLI_TEXT, .help = "name"},
    {"link", CLI_STATE, .help = "up, down, connecting; unknown without lodged"},
    {"state", CLI_STATE, .help = "ready, or drained: takes no new machines"},
    {"heard", CLI_TIME, .help = "when it last said something"},
    {"why", CLI_TEXT, .help = "why it is down or drained"},
    {"transport", CLI_TEXT, true, "ssh, exec or unix"},
    {"host", CLI_TEXT, true, "where it is reached"},
    {"added", CLI_TIME, true, "when it was added"},
    {"changed", CLI_TIME, true, "when it was last changed"},
    {"who", CLI_NUM, true, "user number of who changed it"},
    {0},
};

/* From the controller's row to what is shown. */
static void dress(json_t *row)
{
    json_t *spec = json_object_get(row, "spec");
    json_t *drained = json_object_get(row, "drained");
    bool out = json_is_string(drained);
    if (!json_object_get(row, "link"))
        json_object_set_new(row, "link", json_string("unknown"));
    json_object_set_new(row, "state", json_string(out ? "drained" : "ready"));
    if (out)
        json_object_set(row, "why", drained);
    json_object_set(row, "transport", json_object_get(spec, "transport"));
    json_object_set(row, "host", json_object_get(spec, "host"));
}

/* Rows of the nodes named (none: all); each name that is not there is told. */
static int fetch(struct cli *cli, int nargs, char **args, json_t **out, struct err *err)
{
    AUTO_T(json_t) all = NULL;
    AUTO_T(json_t) some = json_array();
    AUTO(hostlist) names = NULL;
    size_t i;
    json_t *row;
    if (cli_call(cli, "node.list", NULL, &all, err) < 0)
        return -1;
    json_array_foreach (all, i, row)
        dress(row);
    if (!nargs) {
        *out = move(all);
        return 0;
    }
    if (cli_names(nargs, args, &names, err) < 0)
        return -1;
    for (size_t n = 0; n < names->count; n++) {
        bool found = false;
        json_array_foreach (all, i, row)
            if (!strcmp(json_string_value(json_object_get(row, "name")),
                        names->names[n])) {
                json_array_append(some, row);
                found = true;
            }
        if (!found) {
            err_set(err, E_NOENT, "no node '%s'; see 'lodge node list'",
                    names->names[n]);
            cli_error(cli, err);
        }
    }
    *out = move(some);
    return 0;
}

int node_site_list(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO_T(json_t) rows = NULL;
    return fetch(cli, nargs, args, &rows, err) < 0 ? -1
                                                   : cli_table(cli, columns, rows, err);
}

int node_site_show(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO_T(json_t) rows = NULL;
    size_t i;
    json_t *row;
    if (fetch(cli, nargs, args, &rows, err) < 0)
        return -1;
    cli->columns = cli->columns ? cli->columns : "+transport,host,added,changed,who";
    json_array_foreach (rows, i, row)
        if (cli_show(cli, columns, row, err) < 0)
            return -1;
    return 0;
}

struct node_site_add {
    const char *host, *port, *user, *identity, *host_key, *transport;
};
struct node_site_add node_site_add_input;

const struct argp_option node_site_add_options[] = {
    {"host", 'H', "HOST", 0,
     "name or address to reach it by; its own name if not given"},
    {"port", 'p', "PORT", 0, "of its SSH server; 22 if not given"},
    {"user", 'u', "USER", 0, "to log in as; root if not given"},
    {"identity", 'i', "FILE", 0, "private key; the site's if not given"},
    {"host-key", 'k', "FILE", 0,
     "public host keys of the nodes: a file like /etc/ssh/ssh_known_hosts or "
     "what ssh-keyscan prints, or one node's /etc/ssh/ssh_host_*.pub"},
    {"transport", 't', "COMMAND", 0,
     "reach its agent through this command, words separated by blanks, instead of SSH"},
    {0},
};

error_t node_site_add_parse(int key, char *arg, struct argp_state *state)
{
    struct node_site_add *o = state->input;
    const char **to = key == 'H'   ? &o->host
                      : key == 'p' ? &o->port
                      : key == 'u' ? &o->user
                      : key == 'i' ? &o->identity
                      : key == 'k' ? &o->host_key
                      : key == 't' ? &o->transport
                                   : NULL;
    if (!to)
        return ARGP_ERR_UNKNOWN;
    *to = arg;
    return 0;
}

static json_t *words(const char *text)
{
    json_t *list = json_array();
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, " ");
        if (n)
            json_array_append_new(list, json_stringn(p, n));
        p += n + (p[n] == ' ');
    }
    return list;
}

static int add_spec(const struct node_site_add *o, json_t **out, struct err *err)
{
    AUTO_T(json_t) spec = json_object();
    uint64_t port = 0;
    if (o->port && (!str_to_u64(o->port, &port) || port < 1 || port > 65535))
        return err_set(err, E_USAGE, "--port: '%s' is not between 1 and 65535",
                       o->port);
    if (o->transport) {
        if (o->host || o->port || o->user || o->identity || o->host_key)
            return err_set(err, E_USAGE,
                           "--transport gives the whole way: no option of SSH with it");
        json_object_set_new(spec, "transport", json_string("exec"));
        json_object_set_new(spec, "command", words(o->transport));
    } else {
        json_object_set_new(spec, "transport", json_string("ssh"));
        if (o->host)
            json_object_set_new(spec, "host", json_string(o->host));
        if (port)
            json_object_set_new(spec, "port", json_integer((json_int_t)port));
        if (o->user)
            json_object_set_new(spec, "user", json_string(o->user));
        if (o->identity)
            json_object_set_new(spec, "identity", json_string(o->identity));
    }
    *out = move(spec);
    return 0;
}

static json_t *to_json(const struct hostlist *names)
{
    json_t *list = json_array();
    for (size_t i = 0; i < names->count; i++)
        json_array_append_new(list, json_string(names->names[i]));
    return list;
}

/* Does a comma-separated list of names of known_hosts have this one? */
static bool list_has(const char *list, size_t len, const char *name)
{
    size_t want = strlen(name);
    for (const char *p = list, *end = list + len; p < end;) {
        size_t n = strcspn(p, ", ");
        if (n == want && !strncmp(p, name, n))
            return true;
        p += n + 1;
    }
    return false;
}

/* A type of ours, and the base64 that every key begins with. */
static bool is_key(const char *text)
{
    return (str_starts(text, "ssh-") || str_starts(text, "ecdsa-")) &&
           str_starts(text + strcspn(text, " \n"), " AAAA");
}

/* The key of a node called `at`: text is a public key, then it is every node's, or the
 * lines of a known_hosts file or of ssh-keyscan. *out is the caller's. */
static int key_of(const char *text, const char *file, const char *at, char **out,
                  struct err *err)
{
    bool one = is_key(text);
    const char *found = one ? text : NULL;
    for (const char *l = text; !one && *l; l += strcspn(l, "\n"), l += *l == '\n') {
        size_t n = strcspn(l, " \n");
        const char *key = l + n + (l[n] == ' ');
        if (*l != '#' && list_has(l, n, at) && is_key(key) &&
            (!found || str_starts(key, "ssh-ed25519 ")))
            found = key;
    }
    if (!found)
        return err_set(err, E_INPUT,
                       "'%s' has no key of '%s': give the node's own "
                       "/etc/ssh/ssh_host_ed25519_key.pub, or what 'ssh-keyscan %s' "
                       "prints",
                       file, at, at);
    *out = strndup(found, strcspn(found, "\n"));
    return *out ? 0 : err_oom(err);
}

/* The names that share `spec` and a key; `names` is stolen. */
static int add_some(struct cli *cli, json_t *names, json_t *spec, const char *key,
                    struct err *err)
{
    json_t *params =
        json_pack("{s:o, s:O, s:s*}", "names", names, "spec", spec, "host_key", key);
    if (cli->dry_run) {
        json_decref(params);
        return 0;
    }
    return cli_call(cli, "node.add", params, NULL, err);
}

/* Each with its own key: all are looked up before the first is added. */
static int add_each(struct cli *cli, const struct node_site_add *o,
                    const struct hostlist *names, json_t *spec, const char *text,
                    struct err *err)
{
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < names->count; i++) {
            const char *name = names->names[i], *host = o->host ? o->host : name;
            AUTO_STR at = o->port && strcmp(o->port, "22")
                              ? str_printf("[%s]:%s", host, o->port)
                              : strdup(host);
            AUTO_STR key = NULL;
            if (!at)
                return err_oom(err);
            if (key_of(text, o->host_key, at, &key, err) < 0 ||
                (pass && add_some(cli, json_pack("[s]", name), spec, key, err) < 0))
                return -1;
        }
    return 0;
}

int node_site_add(struct cli *cli, int nargs, char **args, struct err *err)
{
    enum { KEYS_MAX = 16 << 20 };
    const struct node_site_add *o = cli->verb->input;
    AUTO(hostlist) names = NULL;
    AUTO_T(json_t) spec = NULL;
    AUTO_STR keys = NULL;
    if (cli_names(nargs, args, &names, err) < 0 || add_spec(o, &spec, err) < 0)
        return -1;
    if (o->host_key && fd_read_file(o->host_key, KEYS_MAX, &keys, NULL, err) < 0)
        return -1;
    if (keys ? add_each(cli, o, names, spec, keys, err) < 0
             : add_some(cli, to_json(names), spec, NULL, err) < 0)
        return -1;
    cli_say(cli, "%zu node%s %s", names->count, names->count == 1 ? "" : "s",
            cli->dry_run ? "would be added" : "added");
    return 0;
}

const char *node_site_drain_input;
const struct argp_option node_site_drain_options[] = {
    {"reason", 'r', "TEXT", 0, "why; shown by 'lodge node list'"}, {0}};

error_t node_site_drain_parse(int key, char *arg, struct argp_state *state)
{
    if (key != 'r')
        return ARGP_ERR_UNKNOWN;
    *(const char **)state->input = arg;
    return 0;
}

static int change(struct cli *cli, int nargs, char **args, const char *method,
                  const char *reason, const char *done, struct err *err)
{
    AUTO(hostlist) names = NULL;
    if (cli_names(nargs, args, &names, err) < 0)
        return -1;
    json_t *params = json_pack("{s:o}", "names", to_json(names));
    if (reason)
        json_object_set_new(params, "reason", json_string(reason));
    if (cli->dry_run)
        json_decref(params);
    else if (cli_call(cli, method, params, NULL, err) < 0)
        return -1;
    cli_say(cli, "%zu node%s %s%s", names->count, names->count == 1 ? "" : "s",
            cli->dry_run ? "would be " : "", done);
    return 0;
}

int node_site_drain(struct cli *cli, int nargs, char **args, struct err *err)
{
    if (str_empty(node_site_drain_input))
        return err_set(err, E_USAGE, "a node is drained for a reason: give --reason");
    return change(cli, nargs, args, "node.drain", node_site_drain_input, "drained",
                  err);
}

int node_site_resume(struct cli *cli, int nargs, char **args, struct err *err)
{
    return change(cli, nargs, args, "node.resume", NULL, "resumed", err);
}

int node_site_remove(struct cli *cli, int nargs, char **args, struct err *err)
{
    if (!cli_confirm(cli, "remove node '%s'?", args[0]))
        return err_set(err, E_CANCELLED, "nothing was removed");
    return change(cli, nargs, args, "node.remove", NULL, "removed", err);
}
