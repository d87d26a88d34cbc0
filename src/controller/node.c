/* SPDX-License-Identifier: Apache-2.0 */
/* node.*: which nodes there are and how to reach them. Only the rows: lodged adds what its
 * connections know (live.c). Everybody may look, root may change. */
#include "controller/handlers.h"

#include <stdio.h>
#include <string.h>

#include "base/dirs.h"
#include "base/fd.h"
#include "base/str.h"
#include "controller/hub.h"
#include "proto/rpc.h"
#include "store/nodes.h"

static int root_only(const struct dispatch_call *c, struct err *err)
{
    if (c->uid == 0 || c->embedded)
        return 0;
    return err_set(err, E_PERM, "only root may change the site's nodes");
}

/* The names parameter: at least one. */
static int names_of(const struct dispatch_call *c, json_t **out, struct err *err)
{
    json_t *names = json_object_get(c->params, "names");
    size_t i;
    json_t *name;
    if (!json_array_size(names))
        return err_set(err, E_USAGE, "parameter 'names' is missing");
    json_array_foreach (names, i, name)
        if (!json_is_string(name) || !str_is_name(json_string_value(name)))
            return err_set(err, E_INPUT, "'%s' cannot be the name of a node",
                           json_is_string(name) ? json_string_value(name) : "");
    *out = names;
    return 0;
}

/* The spec for one node: without a host it is the node's own name. */
static json_t *spec_for(const char *name, json_t *spec)
{
    json_t *own = spec ? json_deep_copy(spec) : json_object();
    if (own && !json_object_get(own, "transport"))
        json_object_set_new(own, "transport", json_string("ssh"));
    const char *kind = json_string_value(json_object_get(own, "transport"));
    if (kind && !strcmp(kind, "ssh") && !json_object_get(own, "host"))
        json_object_set_new(own, "host", json_string(name));
    return own;
}

static int spec_check(json_t *spec, struct err *err)
{
    struct hub_spec parsed;
    if (hub_spec_parse(spec, &parsed, err) < 0)
        return -1;
    hub_spec_done(&parsed);
    return 0;
}

/* Put "host key" as known for the node's host and port; an older key of it goes. */
static int learn_host_key(json_t *spec, const char *key, struct err *err)
{
    const char *host = json_string_value(json_object_get(spec, "host"));
    int port = (int)json_integer_value(json_object_get(spec, "port"));
    if (!host || strchr(key, '\n') ||
        (strncmp(key, "ssh-", 4) && strncmp(key, "ecdsa-", 6)))
        return err_set(
            err, E_INPUT,
            "a host key is one line of the node's /etc/ssh/ssh_host_*_key.pub");
    AUTO_STR at =
        port && port != 22 ? str_printf("[%s]:%d", host, port) : str_printf("%s", host);
    AUTO_STR path = dirs_path(DIRS_CONFIG, "known_hosts");
    AUTO_STR old = NULL;
    AUTO_BUF b = {0};
    if (!at || !path)
        return err_oom(err);
    if (dirs_make(DIRS_CONFIG, err) < 0)
        return -1;
    if (fd_read_file(path, 16 << 20, &old, NULL, NULL) == 0)
        for (char *line = old, *end; *line; line = end) {
            end = line + strcspn(line, "\n");
            end += *end == '\n';
            size_t n = strlen(at);
            if (strncmp(line, at, n) || line[n] != ' ')
                str_buf_add(&b, line, end - line);
        }
    str_buf_printf(&b, "%s %s\n", at, key);
    return b.failed ? err_oom(err) : fd_replace_file(path, b.data, b.len, 0644, err);
}

static int node_add(const struct dispatch_call *c, json_t **result, struct err *err)
{
    static const char *const known[] = {"names", "spec", "host_key", NULL};
    struct store *s;
    json_t *names, *name, *spec = json_object_get(c->params, "spec");
    const char *key;
    size_t i;
    if (root_only(c, err) < 0 || dispatch_only(c, known, err) < 0 ||
        names_of(c, &names, err) < 0 ||
        dispatch_text(c, "host_key", false, &key, err) < 0 ||
        dispatch_store(c, &s, err) < 0)
        return -1;
    if (spec && !json_is_object(spec))
        return err_set(err, E_INPUT, "parameter 'spec' must be an object");
    json_array_foreach (names, i, name) {
        const char *n = json_string_value(name);
        AUTO_JSON own = spec_for(n, spec);
        if (!own)
            return err_oom(err);
        if (spec_check(own, err) < 0 || (key && learn_host_key(own, key, err) < 0) ||
            store_node_put(s, n, own, c->uid, err) < 0)
            return err_at(err, "node '%s'", n);
    }
    *result = json_pack("{s:O}", "added", names);
    return 0;
}

static int node_list(const struct dispatch_call *c, json_t **result, struct err *err)
{
    static const char *const known[] = {NULL};
    struct store *s;
    if (dispatch_only(c, known, err) < 0 || dispatch_store(c, &s, err) < 0)
        return -1;
    return store_node_list(s, result, err);
}

static int each(const struct dispatch_call *c, json_t **result, struct err *err,
                int (*fn)(struct store *s, const char *name, const char *why, uid_t who,
                          struct err *err))
{
    static const char *const known[] = {"names", "reason", NULL};
    struct store *s;
    json_t *names, *name;
    const char *why;
    size_t i;
    if (root_only(c, err) < 0 || dispatch_only(c, known, err) < 0 ||
        names_of(c, &names, err) < 0 ||
        dispatch_text(c, "reason", false, &why, err) < 0 ||
        dispatch_store(c, &s, err) < 0)
        return -1;
    json_array_foreach (names, i, name)
        if (fn(s, json_string_value(name), why, c->uid, err) < 0)
            return -1;
    *result = json_pack("{s:O}", "names", names);
    return 0;
}

static int drain_one(struct store *s, const char *name, const char *why, uid_t who,
                     struct err *err)
{
    if (str_empty(why))
        return err_set(err, E_USAGE, "a node is drained for a reason: give --reason");
    return store_node_drain(s, name, why, who, err);
}

static int resume_one(struct store *s, const char *name, const char *why, uid_t who,
                      struct err *err)
{
    return store_node_drain(s, name, NULL, who, err);
}

static int remove_one(struct store *s, const char *name, const char *why, uid_t who,
                      struct err *err)
{
    return store_node_remove(s, name, err);
}

static int node_drain(const struct dispatch_call *c, json_t **result, struct err *err)
{
    return each(c, result, err, drain_one);
}

static int node_resume(const struct dispatch_call *c, json_t **result, struct err *err)
{
    return each(c, result, err, resume_one);
}

static int node_remove(const struct dispatch_call *c, json_t **result, struct err *err)
{
    return each(c, result, err, remove_one);
}

const struct dispatch_method dispatch_node[] = {
    {"node.add", node_add, true, "add nodes, or change how they are reached"},
    {"node.list", node_list, .help = "the nodes"},
    {"node.drain", node_drain, true, "no new machines on these nodes"},
    {"node.resume", node_resume, true, "new machines again"},
    {"node.remove", node_remove, true, "forget nodes that have no machines"},
    {0},
};
